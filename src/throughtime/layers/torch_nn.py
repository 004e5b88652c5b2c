"""Weights from torch.nn's recurrent modules to these layers, and back, without a changed number."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from throughtime.errors import OptionError
from throughtime.layers.bidirectional import Bidirectional
from throughtime.layers.classic import Classic
from throughtime.layers.gru import GRU
from throughtime.layers.lstm import LSTM
from throughtime.layers.rnn import RNN
from throughtime.layers.stack import Stack
from throughtime.recurrent import Recurrent


def from_torch(module: nn.Module) -> Recurrent:
    """Make the layer that computes what an `nn.RNN`, `nn.LSTM` or `nn.GRU` computes.

    Args:
        module: any number of layers, one or two directions, with or without biases and dropout.
            Its `batch_first` does not matter: the result takes (B, T, F).

    Returns:
        A layer for one `num_layers`, a `Stack` for more; each `Bidirectional` where the module is.
        The weights are copies, in the module's dtype and on its device.

    Raises:
        OptionError: for another module, or an LSTM with projections.

    Example:
        >>> layer = from_torch(nn.GRU(3, 5, num_layers=2, bidirectional=True))
        >>> layer(torch.ones(2, 7, 3))[0].shape
        torch.Size([2, 7, 10])
    """
    if not isinstance(module, nn.RNN | nn.LSTM | nn.GRU):
        raise OptionError(f"expected an nn.RNN, nn.LSTM or nn.GRU, got {type(module).__name__}")
    if module.proj_size:
        raise OptionError(
            f"expected an nn.LSTM without projection, got proj_size={module.proj_size}; "
            "train it without, or follow it by a linear layer"
        )
    directions = 2 if module.bidirectional else 1
    layers: list[Recurrent] = []
    for place in range(module.num_layers):
        input_size = module.hidden_size * directions if place else module.input_size
        pair = [
            _single(module, input_size, suffix)
            for suffix in (f"_l{place}", f"_l{place}_reverse")[:directions]
        ]
        layers.append(Bidirectional(*pair) if module.bidirectional else pair[0])
    whole = layers[0] if len(layers) == 1 else Stack(layers, dropout=module.dropout)
    return whole.train(module.training)


def to_torch(layer: Recurrent) -> nn.RNNBase:
    """Make the torch.nn module that computes what an RNN, LSTM, GRU or a stack of them computes.

    Args:
        layer: an RNN, LSTM or GRU, a Bidirectional of two alike, or a plain Stack of equals.

    Returns:
        The module, with `batch_first=True` and copies of the weights.

    Raises:
        OptionError: when torch.nn has no equal (sizes that differ, residual, norm, learned state).
    """
    layers = list(layer.layers) if isinstance(layer, Stack) else [layer]
    if isinstance(layer, Stack) and (layer.residual or len(layer.norms)):
        raise OptionError(
            "expected a Stack without residual and norm, got one with: no torch equal"
        )
    rows = [list(_directions(part)) for part in layers]
    first = rows[0][0]
    for part in (part for row in rows for part in row):
        alike = (
            type(part) is type(first)
            and part.hidden_size == first.hidden_size
            and (part.bias_ih is None) == (first.bias_ih is None)
            and getattr(part, "nonlinearity", None) == getattr(first, "nonlinearity", None)
        )
        if not alike or len({len(row) for row in rows}) > 1:
            raise OptionError("expected layers of one kind, size and direction for torch.nn")
        if part.initial is not None:
            raise OptionError("expected zeros as initial state for torch.nn, got a learned one")
    kind: dict[type[Classic], Any] = {RNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}
    options = {"nonlinearity": first.nonlinearity} if isinstance(first, RNN) else {}
    module = kind[type(first)](
        first.input_size,
        first.hidden_size,
        num_layers=len(rows),
        bias=first.bias_ih is not None,
        batch_first=True,
        dropout=layer.dropout if isinstance(layer, Stack) else 0.0,
        bidirectional=len(rows[0]) == 2,
        device=first.weight_hh.device,
        dtype=first.weight_hh.dtype,
        **options,
    )
    with torch.no_grad():
        for place, row in enumerate(rows):
            for part, suffix in zip(row, (f"_l{place}", f"_l{place}_reverse"), strict=False):
                for name, value in part.named_parameters():
                    getattr(module, name + suffix).copy_(value)
    trained: nn.RNNBase = module.train(layer.training)
    return trained


def _single(module: nn.RNNBase, input_size: int, suffix: str) -> Classic:
    layer: Classic
    if isinstance(module, nn.RNN):
        layer = RNN(
            input_size,
            module.hidden_size,
            bias=module.bias,
            nonlinearity=module.nonlinearity,
        )
    else:
        kind = LSTM if isinstance(module, nn.LSTM) else GRU
        layer = kind(input_size, module.hidden_size, bias=module.bias)
    source = getattr(module, "weight_hh" + suffix)
    layer = layer.to(source.device, source.dtype)
    with torch.no_grad():
        for name, value in layer.named_parameters():
            value.copy_(getattr(module, name + suffix))
    return layer


def _directions(layer: nn.Module) -> Iterator[Classic]:
    pair = (
        (layer.forward_layer, layer.backward_layer)
        if isinstance(layer, Bidirectional)
        else (layer,)
    )
    for part in pair:
        if not isinstance(part, Classic):
            raise OptionError(f"expected RNN, LSTM or GRU, got {type(part).__name__}")
        yield part
