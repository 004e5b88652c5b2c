"""A torch.nn module beside its accelerated twin, and all that both give back for one call."""

import copy
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from throughtime.layers import accelerate

KINDS = {
    "rnn_tanh": (nn.RNN, {}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
}
FEATURES, UNITS = 3, 4


def make(kind, layers=1, *, dtype=torch.float64, **options):
    cls, more = KINDS[kind]
    return cls(FEATURES, UNITS, layers, dtype=dtype, **more, **options)


def twins(module):
    """Give a module and an accelerated copy of it."""
    return module, accelerate(copy.deepcopy(module))


def hidden(module, *lanes, dtype=torch.float64):
    """Draw an hx, with gradients."""
    directions = 2 if module.bidirectional else 1
    shape = (module.num_layers * directions, *lanes, UNITS)
    draw = [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(2)]
    return tuple(draw) if isinstance(module, nn.LSTM) else draw[0]


def packed(x, lengths):
    """Pack x (B, T, F), in the order in which it comes."""
    return pack_padded_sequence(x, torch.as_tensor(lengths), batch_first=True, enforce_sorted=False)


class Results(NamedTuple):
    """What a call gives: the output, the ends, and the gradients of everything that went in."""

    output: object
    ends: tuple[torch.Tensor, ...]
    gradients: tuple[torch.Tensor, ...]


def call(module, input, hx=None, *, seed=0):
    """Run forward and backward, from a random-looking loss on outputs and ends."""
    torch.manual_seed(seed)
    output, end = module(input, hx)
    ends = end if isinstance(end, tuple) else (end,)
    data = output.data if isinstance(output, PackedSequence) else output
    loss = sum((ramp(part) * part.double()).sum() for part in (data, *ends))
    given = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
    source = input.data if isinstance(input, PackedSequence) else input
    inputs = [each for each in (source, *given) if each.requires_grad]
    gradients = torch.autograd.grad(loss, [*inputs, *module.parameters()])
    return Results(output, ends, gradients)


def ramp(tensor):
    return torch.cos(torch.arange(tensor.numel(), dtype=torch.float64)).view(tensor.shape)


def close(got, wanted, tolerance):
    """Compare two Results, type by type and number by number."""
    assert type(got.output) is type(wanted.output)
    if isinstance(wanted.output, PackedSequence):
        same_numbers(got.output.data, wanted.output.data, tolerance)
        for mine, theirs in zip(got.output[1:], wanted.output[1:], strict=True):
            assert (mine is None) == (theirs is None)
            assert mine is None or torch.equal(mine, theirs)
    else:
        same_numbers(got.output, wanted.output, tolerance)
    for mine, theirs in zip(got.ends, wanted.ends, strict=True):
        same_numbers(mine, theirs, tolerance)
    for mine, theirs in zip(got.gradients, wanted.gradients, strict=True):
        same_numbers(mine, theirs, 10 * tolerance)


def same_numbers(got, wanted, tolerance):
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    assert ((got - wanted).abs() <= tolerance * (1 + wanted.abs())).all()
