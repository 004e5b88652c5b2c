"""Exports, saves, loads and compiles each layer; `test_export` runs this file as a program.

It is a program of its own because neither tracer goes through the type checks that the tests put
around every function. It prints a line for each layer that came out right.

    python tests/exported.py [NAME ...]     # those layers, or all
"""

import io
import logging
import sys
import warnings
from functools import partial

import torch
from torch import nn

from throughtime import state as states
from throughtime.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Regularised,
    Stack,
    build,
    make,
    names,
    parse,
)
from throughtime.model import ModelConfig, SequenceModel

STREAMABLE = {
    "rnn": lambda: RNN(3, 4),
    "lstm": lambda: LSTM(3, 4),
    "gru": lambda: GRU(3, 4, learned_initial_state=True),
    "stack": lambda: Stack([GRU(3, 4), LSTM(4, 4)], dropout=0.3, residual=True, norm=True),
    "blocks": lambda: build(parse("rg_lru:4x2:conv:block"), 3, dropout=0.3),
}
STREAMABLE |= {
    "regularised": lambda: Regularised(LSTM(3, 4), recurrent_dropout=0.2, zoneout=0.1),
    "dropped weights": lambda: Regularised(make("layer_norm_gru", 3, 4), weight_drop=0.3, span=2),
}
STREAMABLE |= {name: partial(make, name, 3, 4) for name in names() if name not in STREAMABLE}


MODEL = ModelConfig(
    symbols=9, embedding=3, embedding_dropout=0.3, layer="rg_lru:4x2:conv:block", outputs=2
)

RANDOM = ("stack", "blocks", "regularised", "dropped weights")
"""Those that compute something else in training."""


class Step(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, state, reset):
        return self.layer.step(x, state, reset=reset)


def inputs(layer, lanes):
    """Return what a layer or a model of symbols reads at a step."""
    if isinstance(layer, SequenceModel):
        return torch.randint(layer.config.symbols, (lanes,))
    return torch.randn(lanes, 3)


def reached(layer, lanes):
    """Return a state after one step, and arguments for the next."""
    with torch.no_grad():
        _, state = layer.step(inputs(layer, lanes), layer.initial_state(lanes))
    return inputs(layer, lanes), states.detach(state), torch.rand(lanes) < 0.5


def same(got, wanted):
    """Demand equal outputs and states of one tree."""
    assert torch.allclose(got[0], wanted[0], atol=1e-6)
    assert type(got[1]) is type(wanted[1])
    assert states.spec(got[1]) == states.spec(wanted[1])
    for a, b in zip(states.leaves(got[1]), states.leaves(wanted[1]), strict=True):
        assert torch.allclose(a.double(), b.double(), atol=1e-6)


def export(name, layer):
    """Export `step`, save and load it, and run it at other batch sizes."""
    lanes = torch.export.Dim("lanes", min=1)
    example = reached(layer, 2)
    free = (
        {0: lanes},
        states.tree_map(lambda _: {0: lanes}, example[1]),
        {0: lanes},
    )
    program = torch.export.export(Step(layer), example, dynamic_shapes=free)
    kernels = ("aten.gru", "aten.lstm", "aten.rnn_tanh", "aten.rnn_relu", "throughtime.")
    calls = [str(node.target) for node in program.graph.nodes]
    assert not any(call.startswith(kernels) for call in calls), "a kernel and no plain maths"
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for count in (1, 2, 5):
        arguments = reached(layer, count)
        same(loaded(*arguments), layer.step(*arguments[:2], reset=arguments[2]))
    print("exported", name, "training" if layer.training else "evaluating")


class Whole(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(layer.output_size, 2)

    def forward(self, x, state, lengths, resets):
        y, end = self.layer(x, state, lengths=lengths, resets=resets)
        return self.head(y), end


def compiled(name, layer):
    """Compile `forward` as one graph, and compare numbers and gradients."""
    torch.compiler.reset()  # One code for all layers is compiled only so often.
    model = Whole(layer)
    fast = torch.compile(model, backend="eager", fullgraph=True)
    resets = torch.tensor([[False, True, False, False], [True, False, False, True]])
    state = states.detach(layer.initial_state(2))
    arguments = (torch.randn(2, 4, 3), state, torch.tensor([4, 2]), resets)
    got, wanted = fast(*arguments), model(*arguments)
    same(got, wanted)
    slopes = [
        torch.autograd.grad(y.sum(), list(model.parameters()), allow_unused=True)
        for y, _ in (got, wanted)
    ]
    for a, b in zip(*slopes, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-5)
    print("compiled", name)


def refuse(record):
    """Fail on what torch logs, such as state classes that it does not know to be safe."""
    raise AssertionError(record.msg)


def main():
    warnings.simplefilter("error")
    logging.getLogger("torch._export.serde.serialize").addFilter(refuse)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in sys.argv[1:] or STREAMABLE:
        made = STREAMABLE[name]
        layer = made()
        export(name, layer.eval())
        if name in RANDOM:
            export(name, layer.train())
        compiled(name, made())
    for training in (True, False):
        export("model", SequenceModel(MODEL).train(training))
    compiled("bidirectional", Bidirectional(GRU(3, 4), LSTM(3, 4)))


if __name__ == "__main__":
    sys.exit(main())
