"""A network as a step and over whole sequences: what is around its layers, and the layers.

Here are values in a graph; what a file has for inputs and outputs is in `layer`, `forecast` and
`language`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from throughtime.errors import OptionError
from throughtime.export.onnx.graph import Graph
from throughtime.export.onnx.operators import Writer
from throughtime.export.onnx.recording import record
from throughtime.export.onnx.sequence import SequenceWriter
from throughtime.export.onnx.states import Layout
from throughtime.model import SequenceModel
from throughtime.recurrent import Recurrent

LANES, STEPS = "lanes", "steps"
"""Names of the sizes that vary."""


def _nothing(rows: Tensor) -> Tensor:
    return rows


@dataclass
class Network:
    """Layers, with what makes rows for them and of them.

    Attributes:
        layer: the recurrent part.
        example: (1, ...), what a lane reads at a step.
        output_size: numbers that it puts out at a step.
        encode: from what is read to what the layers read.
        head: from what the layers put out to the outputs.
        layout: of the layers' state.
    """

    layer: Recurrent
    example: Tensor
    output_size: int
    encode: Callable[[Tensor], Tensor] = _nothing
    head: Callable[[Tensor], Tensor] = _nothing
    layout: Layout = field(init=False)

    def __post_init__(self) -> None:
        self.layout = Layout(self.layer)
        numbers = [self.example, *(leaf.initial for leaf in self.layout.leaves)]
        numbers += self.layer.parameters()
        if any(each.is_floating_point() and each.dtype != torch.float32 for each in numbers):
            raise OptionError(
                "expected weights and states in float32 for ONNX, got others; "
                "convert the layer by layer.float()"
            )


def of_layer(layer: Recurrent) -> Network:
    """Return the network of a layer alone."""
    return Network(layer, torch.ones(1, layer.input_size), layer.output_size)


def of_model(model: SequenceModel) -> Network:
    """Return the network of a model."""
    embedding = model.embedding
    example = torch.zeros(1, dtype=torch.int64)
    if embedding is None:
        example = torch.ones(1, model.layers.input_size)
    return Network(
        model.layers,
        example,
        model.config.outputs,
        _nothing if embedding is None else embedding,
        model.head,
    )


def add_past(graph: Graph, network: Network) -> list[str]:
    """Add an input for each leaf of the state, and return them."""
    leaves = network.layout.leaves
    return [graph.input(leaf.past, leaf.kind, [LANES, *leaf.shape]) for leaf in leaves]


def add_present(graph: Graph, network: Network, present: Sequence[str]) -> None:
    """Make the leaves after a call outputs."""
    for leaf, name in zip(network.layout.leaves, present, strict=True):
        graph.output(graph.rename(name, leaf.present), leaf.kind, [LANES, *leaf.shape])


def write_step(
    graph: Graph, network: Network, x: str, reset: str, past: Sequence[str]
) -> tuple[str, list[str]]:
    """Write a step.

    Args:
        graph: where nodes go.
        network: what is written.
        x: (B, ...).
        reset: (B,) bool, lanes that start afresh.
        past: the leaves of the state.

    Returns:
        Outputs (B, O) and the leaves after the step.
    """
    layout, layer = network.layout, network.layer

    def step(x: Tensor, *leaves: Tensor) -> list[Tensor]:
        y, after = layer.update(network.encode(x), layout.build(leaves, len(x)))
        return [network.head(y), *layout.take(after)]

    def examples(lanes: int) -> list[Tensor]:
        example = network.example
        return [example.repeat(lanes, *[1] * (example.dim() - 1)), *layout.example(lanes)]

    made = record(step, examples)
    names = {made.inputs[0].number: x}
    for value, leaf, name in zip(made.inputs[1:], layout.leaves, past, strict=True):
        flags = graph.add("Reshape", reset, graph.whole([-1] + [1] * len(leaf.shape)))
        names[value.number] = graph.add("Where", flags, graph.constant(leaf.numbers), name)
    writer = Writer(graph, dict(names), graph.add("Shape", reset))
    writer.write(made.calls)
    outputs, *after = (writer.real(output) for output in made.outputs)
    return outputs, after


def write_sequence(
    graph: Graph, network: Network, x: str, lengths: str, resets: str, past: Sequence[str] | None
) -> tuple[str, list[str]]:
    """Write a run over whole sequences.

    Args:
        graph: where nodes go.
        network: what is written.
        x: (B, T, ...).
        lengths: (B,) int64, steps that are there.
        resets: (B, T) bool, steps before which a lane starts afresh.
        past: the leaves of the state; those before the first step when None.

    Returns:
        Outputs (B, T, O), zeros where a step is not there, and the leaves after the last one.
    """
    writer = SequenceWriter(graph, lengths, resets)
    example, shape = network.example, network.example.shape[1:]
    rows = writer.absent_are_zero(writer.rows(x, shape), example.dtype, example.dim())
    if network.encode is not _nothing:
        rows = writer.of_rows(network.encode, rows, example)
    if past is None:
        past = [
            graph.add(
                "Expand",
                graph.constant(leaf.numbers),
                graph.add("Concat", writer.lanes, graph.whole([1] * len(leaf.shape)), axis=0),
            )
            for leaf in network.layout.leaves
        ]
    y, after = writer.run(network.layer, rows, past)
    if network.head is not _nothing:
        y = writer.of_rows(network.head, y, torch.ones(1, network.layer.output_size))
    y = writer.absent_are_zero(y, torch.float32, 2)
    return writer.lanes_first(y, [network.output_size]), after
