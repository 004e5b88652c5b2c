"""ONNX's own recurrent layers, where they compute exactly what ours do.

They take whole sequences with lengths. In a file the weights are as torch has them, once, and a few
nodes put their gates into ONNX's order; a runtime does so when it loads the file.
"""

from collections.abc import Sequence
from typing import Any

import torch

from throughtime.export.onnx.graph import Graph
from throughtime.layers.echo_state import EchoState
from throughtime.layers.gru import GRU
from throughtime.layers.lstm import LSTM
from throughtime.layers.rnn import RNN
from throughtime.recurrent import Recurrent

_GATES = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""Where ONNX's gates are among torch's: i o f g among i f g o, z r n among r z n."""

_OPERATORS: dict[type[Recurrent], str] = {RNN: "RNN", LSTM: "LSTM", GRU: "GRU", EchoState: "RNN"}


def has_operator(layer: Recurrent) -> bool:
    """Tell whether ONNX has an operator that computes what a layer does."""
    # A subclass may have maths of its own.
    return type(layer) in _OPERATORS and getattr(layer, "leak", 1.0) == 1


def write(
    graph: Graph, layer: Recurrent, x: str, past: Sequence[str], lengths: str
) -> tuple[str, list[str]]:
    """Write a layer over whole sequences.

    Args:
        graph: where nodes go.
        layer: one that has an operator.
        x: (T, B, F).
        past: (B, H), the leaves of its state before the first step.
        lengths: (B,) int64.

    Returns:
        Outputs as rows (T B, H), and the leaves after the last step that is there.
    """
    operator, units = _OPERATORS[type(layer)], layer.output_size
    first = graph.whole([0])
    weights = [_gates(graph, layer, name, operator) for name in ("weight_ih", "weight_hh")]
    biases = ""
    if layer.bias_ih is not None:
        parts = [_gates(graph, layer, name, operator) for name in ("bias_ih", "bias_hh")]
        biases = graph.add("Concat", *parts, axis=1)
    before = [graph.add("Unsqueeze", name, first) for name in past]
    after = [graph.name("last") for _ in past]
    activation = getattr(layer, "nonlinearity", "tanh").capitalize()
    options: dict[str, dict[str, Any]] = {
        "RNN": {"activations": [activation]},
        "GRU": {"linear_before_reset": 1},
    }
    (y, *_) = graph.add_several(
        operator,
        [x, *weights, biases, graph.cast(lengths, "int32"), *before],
        [graph.name(operator.lower()), *after],
        hidden_size=units,
        **options.get(operator, {}),
    )
    ends = [graph.add("Squeeze", name, first) for name in after]
    # What an operator says of lanes without a step is not settled.
    there = graph.add("Greater", lengths, graph.constant(0, "int64"))
    flags = graph.add("Reshape", there, graph.whole([-1, 1]))
    held = [graph.add("Where", flags, *pair) for pair in zip(ends, past, strict=True)]
    return graph.add("Reshape", y, graph.whole([-1, units])), held


def _gates(graph: Graph, layer: Recurrent, name: str, operator: str) -> str:
    """Return a parameter (1, G H, ...) with its gates in ONNX's order."""
    values, order = getattr(layer, name), _GATES[operator]
    if values is None:  # A reservoir has one bias and no second.
        values = torch.zeros(len(order) * layer.output_size)
    numbers = values.detach().numpy()
    size = list(numbers.shape[1:])
    constant = graph.constant(numbers)
    if len(order) == 1:
        return graph.add("Unsqueeze", constant, graph.whole([0]))
    apart = graph.add("Reshape", constant, graph.whole([len(order), -1, *size]))
    ordered = graph.add("Gather", apart, graph.whole(order), axis=0)
    return graph.add("Reshape", ordered, graph.whole([1, len(numbers), *size]))
