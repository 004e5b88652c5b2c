"""A layer of its own as ONNX: written, and held against the layer before it is done."""

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from throughtime import kernels
from throughtime.check.comparison import Comparison, difference
from throughtime.export.exported import Exported
from throughtime.export.gate import Verdict, demand
from throughtime.export.onnx.graph import Graph
from throughtime.export.onnx.metadata import describe_states
from throughtime.export.onnx.network import (
    LANES,
    STEPS,
    Network,
    add_past,
    add_present,
    of_layer,
    write_sequence,
    write_step,
)
from throughtime.export.onnx.sessions import Session
from throughtime.export.onnx.size import GraphSize
from throughtime.export.placing import folder_to_export_to, put_files
from throughtime.layers.sizes import parameter_count
from throughtime.recurrent import Recurrent

STEP, SEQUENCE = "step.onnx", "sequence.onnx"

_BATCHES = ((1, 33), (3, 20), (6, 9))
"""Lanes and steps that are compared; the graphs were recorded with others."""

_CUT = 7
_RESETS = 0.1
_MARGIN = 20.0


def layer_to_onnx(layer: Recurrent, out: str | os.PathLike[str]) -> Exported:
    """Export a layer as ONNX: `step.onnx` and `sequence.onnx`.

    The step has the inputs `x` (B, F) and `reset` (B,), and gives `y` (B, D). The sequence has `x`
    (B, T, F), `lengths` (B,) and `resets` (B, T), and gives `y` (B, T, D). Both take the state as
    `past_<layer>_<kind>` and give it as `present_<layer>_<kind>`. A stream begins with zeros for a
    state and True for a reset. Both were run in ONNX Runtime, with other lanes and steps, in chunks
    with carried state, before anything is written.

    Args:
        layer: any layer, or stack of some. One that needs the future has no step and takes no
            state.
        out: the folder; created if it is not there.

    Returns:
        What was written, with the largest error.

    Raises:
        OptionError: the layer's step is no plain maths of float32, or onnx and onnxruntime are not
            installed.
        MismatchError: a graph gives other numbers than the layer.

    Example:
        >>> import tempfile, throughtime as tt
        >>> folder = tempfile.mkdtemp()
        >>> tt.export.layer_to_onnx(tt.GRU(3, 5), folder).files
        ('step.onnx', 'sequence.onnx')
    """
    folder = folder_to_export_to(out)
    training = layer.training
    layer.eval()
    try:
        models = write_models(layer)
        verdict = verify_layer(layer, models)
    finally:
        layer.train(training)
    contents = {name: model.SerializeToString() for name, model in models.items()}
    put_files(folder, contents)
    size = GraphSize(parameter_count(layer), {name: len(each) for name, each in contents.items()})
    return Exported(folder, tuple(models), verdict, size)


def write_models(layer: Recurrent) -> dict[str, Any]:
    """Return the graphs of a layer by the names of their files."""
    network = of_layer(layer)
    metadata = {"states": describe_states(network.layout)}
    made = {SEQUENCE: _sequence(network, metadata)}
    return {STEP: _step(network, metadata), **made} if layer.streamable else made


def _step(network: Network, metadata: Mapping[str, str]) -> Any:
    graph = Graph()
    x = graph.input("x", "float32", [LANES, network.layer.input_size])
    reset = graph.input("reset", "bool", [LANES])
    y, present = write_step(graph, network, x, reset, add_past(graph, network))
    graph.output(graph.rename(y, "y"), "float32", [LANES, network.output_size])
    add_present(graph, network, present)
    return graph.model("step", "One step of a recurrent layer.", metadata)


def _sequence(network: Network, metadata: Mapping[str, str]) -> Any:
    graph = Graph()
    x = graph.input("x", "float32", [LANES, STEPS, network.layer.input_size])
    lengths = graph.input("lengths", "int64", [LANES])
    resets = graph.input("resets", "bool", [LANES, STEPS])
    past = add_past(graph, network) if network.layer.streamable else None
    y, present = write_sequence(graph, network, x, lengths, resets, past)
    graph.output(graph.rename(y, "y"), "float32", [LANES, STEPS, network.output_size])
    add_present(graph, network, present)
    return graph.model("sequence", "A recurrent layer over whole sequences.", metadata)


@torch.no_grad()
def verify_layer(layer: Recurrent, models: Mapping[str, Any]) -> Verdict:
    """Demand that graphs give the numbers of a layer.

    Args:
        layer: in evaluation mode.
        models: its graphs, by the names of their files.

    Returns:
        How far they lie from it.

    Raises:
        MismatchError: one lies further away than 1e-5, relative to 1 + |value|, and further from
            float64 than torch's float32 allows.
    """
    comparison, count = Comparison("export"), 0
    generator = torch.Generator().manual_seed(0)
    exact = copy.deepcopy(layer).double()
    sessions = {name: Session(model) for name, model in models.items()}
    for lanes, steps in _BATCHES:
        x = torch.randn(lanes, steps, layer.input_size, generator=generator)
        lengths = torch.randint(0, steps + 1, (lanes,), generator=generator)
        lengths[0] = steps
        resets = torch.rand(lanes, steps, generator=generator) < _RESETS
        with kernels.use("reference"):
            y, end = layer(x, lengths=lengths, resets=resets)
            sharp, sharp_end = exact(x.double(), lengths=lengths, resets=resets)
        leaves = of_layer(layer).layout
        wanted = [y, *leaves.take(end)]
        sharper = [sharp, *leaves.take(sharp_end)]
        for name, session in sessions.items():
            got = _run(session, name, layer, (x, lengths, resets))
            fair = _fair(got, wanted, sharper)
            comparison.outputs(fair[0], wanted[0], lengths, what=f"outputs of {name}")
            for leaf, a, b in zip(leaves.leaves, fair[1:], wanted[1:], strict=True):
                comparison.leaf(leaf.name, a, b, lengths, how=f" of {name}")
            demand(comparison, "the layer")
            count += int(lengths.sum())
    return Verdict(comparison.largest or 0.0, count)


def _fair(got: Sequence[Tensor], wanted: Sequence[Tensor], exact: Sequence[Tensor]) -> list[Tensor]:
    """Return what was got, as wanted where it is as near to float64 as torch's float32 is."""
    fair = []
    for a, b, sharp in zip(got, wanted, exact, strict=True):
        lost = float(difference(b, sharp).max()) if b.numel() else 0.0
        near = difference(a, sharp) <= _MARGIN * lost
        fair.append(torch.where(near & (difference(a, b) > 1e-5), b, a))
    return fair


def _run(
    session: Session, name: str, layer: Recurrent, given: tuple[Tensor, Tensor, Tensor]
) -> list[Tensor]:
    """Run a graph over (x, lengths, resets) from the first step; return y and the end state."""
    x, lengths, resets = given
    layout = of_layer(layer).layout
    if not layer.streamable:
        made = session.run({"x": x, "lengths": lengths, "resets": resets})
        return [made["y"], *(made[leaf.present] for leaf in layout.leaves)]
    state = [torch.zeros_like(leaf) for leaf in layout.example(len(x))]
    # A graph takes zeros and a reset for a beginning; a lane without a step never begins.
    begun = [
        torch.where((lengths > 0).view(-1, *[1] * (each.dim() - 1)), each, first)
        for each, first in zip(state, layout.example(len(x)), strict=True)
    ]
    resets = resets.clone()
    resets[:, 0] = True
    outputs, state = [], begun
    for start in range(0, x.shape[1], _CUT if name == SEQUENCE else 1):
        piece = slice(start, start + (_CUT if name == SEQUENCE else 1))
        there = (lengths - start).clamp(0, x[:, piece].shape[1])
        past = {leaf.past: each for leaf, each in zip(layout.leaves, state, strict=True)}
        if name == SEQUENCE:
            made = session.run(
                {"x": x[:, piece], "lengths": there, "resets": resets[:, piece], **past}
            )
            state = [made[leaf.present] for leaf in layout.leaves]
            outputs.append(made["y"])
            continue
        made = session.run({"x": x[:, start], "reset": resets[:, start], **past})
        here = there > 0
        state = [
            torch.where(here.view(-1, *[1] * (old.dim() - 1)), made[leaf.present], old)
            for leaf, old in zip(layout.leaves, state, strict=True)
        ]
        outputs.append(torch.where(here[:, None], made["y"], 0)[:, None])
    return [torch.cat(outputs, dim=1), *state]
