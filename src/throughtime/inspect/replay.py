"""Every state and gate of every step, from one more product and not from a loop.

What a layer puts out says what each of its steps started from. With that in place of lanes, all
steps are one step of many lanes, and their gates are one product.
"""

from typing import Any

import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime import state as states
from throughtime.inspect.leaves import float_leaves
from throughtime.inspect.watch import Call, watched
from throughtime.layers import (
    GRU,
    LSTM,
    MLSTM,
    RNN,
    RWKV7,
    SLSTM,
    CoupledLSTM,
    GatedDeltaNet,
    LayerNormGRU,
    LayerNormLSTM,
    PeepholeLSTM,
    ProjectedLSTM,
    Regularised,
)
from throughtime.layers.classic import Classic
from throughtime.layers.lstm import LSTMState
from throughtime.layers.regularised import RegularisedState
from throughtime.layers.rwkv7 import RWKV7State, with_last
from throughtime.recurrent import LinearRecurrent, Recurrent
from throughtime.state import State

_CLASSIC = (
    *(RNN, GRU, LSTM, LayerNormGRU, LayerNormLSTM),
    *(CoupledLSTM, PeepholeLSTM, ProjectedLSTM),
)
"""Layers whose gates are those of `gate_values`; a subclass may compute others."""


def replay(model: nn.Module, *given: Any, **named: Any) -> dict[str, Tensor]:
    """Run a model and return what its recurrent layers computed at every step.

    Shape letters: B lanes, T steps.

    Args:
        model: a layer, or any module with some of ours or `nn.RNN`, `nn.LSTM`, `nn.GRU` in it.
        given: what it is called with.
        named: what it is called with by name.

    Returns:
        (B, T, ...) by name: the leaves of the state after each step, and the gates that led there
        (i, f, g, o of an LSTM; r, z, n of a GRU; the coefficients a, b of a linear recurrence; of
        other layers those in their equations, an exponential gate i as log i). The
        layer's name in the model comes before, and the number of the call where there were some.
        Zero where a step is not there. A layer that reads backwards is in the order that it reads.

    Example:
        >>> from throughtime.layers import LSTM
        >>> found = replay(LSTM(3, 4), torch.ones(2, 7, 3))
        >>> sorted(found), found["f"].shape
        (['c', 'f', 'g', 'h', 'i', 'o'], torch.Size([2, 7, 4]))
    """
    with torch.no_grad(), watched(model) as calls:
        model(*given, **named)
    found = {}
    with torch.no_grad():
        for name, of_layer in calls.items():
            for number, call in enumerate(of_layer):
                place = [name] if name else []
                place += [str(number)] if len(of_layer) > 1 else []
                for tap, numbers in taps(call).items():
                    found[".".join([*place, tap])] = numbers
    return found


def taps(call: Call) -> dict[str, Tensor]:
    """Return the states after each step of a call, and its gates, (B, T, ...) each, by name."""
    layer = call.layer
    if type(layer) in _CLASSIC:
        found = _of_classic(call)
    elif isinstance(layer, LinearRecurrent):
        found = _of_linear(call)
    else:
        found = _in_a_loop(call)
        if isinstance(layer, MLSTM | GatedDeltaNet):
            found |= layer.gate_values(call.x)
        elif isinstance(layer, RWKV7):
            assert isinstance(call.state, RWKV7State)
            found |= layer.gate_values(with_last(call.x, call.state.previous, call.resets))
        elif isinstance(layer, SLSTM):
            before = _before(found["h"], call, 0)
            gates = layer.gate_values(call.x.flatten(0, 1), before.flatten(0, 1))
            found |= {name: gate.view_as(before) for name, gate in gates.items()}
        elif isinstance(layer, Regularised) and not layer.training:
            found |= _gates_within(layer, call, found)
    if call.lengths is None:
        return found
    present = torch.arange(call.x.shape[1], device=call.x.device) < call.lengths[:, None]
    return {
        name: each.masked_fill(~present.view(*present.shape, *[1] * (each.dim() - 2)), 0)
        for name, each in found.items()
    }


def _of_classic(call: Call) -> dict[str, Tensor]:
    layer, y = call.layer, call.y
    assert isinstance(layer, Classic)
    if isinstance(layer, RNN):
        return {"h": y}
    if isinstance(layer, PeepholeLSTM):
        # Its gates see the cells, which only a loop has.
        found = _in_a_loop(call)
        return found | _gates(layer, call, found)
    before = _before(y, call, 0)
    gates = layer.gate_values(layer.from_input(call.x), layer.from_hidden(before), None)
    if not isinstance(call.state, LSTMState):
        return {"h": y, **gates}
    c, _ = kernels.linear_recurrence(
        gates["f"],
        gates["i"] * gates["g"],
        call.state.c,
        restart=None if call.resets is None else states.leaves(layer.restart(call.state))[1],
        lengths=call.lengths,
        resets=call.resets,
    )
    return {"h": y, "c": c, **gates}


def _gates_within(layer: Regularised, call: Call, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gates of the layer that noise was put into, where there is none."""
    inner = layer.layer
    if isinstance(inner, RNN):
        return {}
    assert isinstance(call.state, RegularisedState)
    of_inner = call._replace(layer=inner, state=call.state.layer)
    return _gates(
        inner, of_inner, {name.removeprefix("layer."): each for name, each in found.items()}
    )


def _gates(layer: Classic, call: Call, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gates of a layer from its states after each step."""
    names = states.names(call.state)
    before = [_before(found[name], call, place) for place, name in enumerate(names)]
    state = type(call.state)(*before)
    return layer.gate_values(layer.from_input(call.x), layer.from_hidden(before[0]), state)


def _before(after: Tensor, call: Call, place: int) -> Tensor:
    """Return what each step started from, (B, T, ...), of a leaf that is `after` each step."""
    leaf = states.leaves(call.state)[place]
    before = torch.cat([leaf[:, None], after], 1)[:, :-1]
    if call.resets is None:
        return before
    restart = states.leaves(call.layer.restart(call.state))[place]
    return torch.where(call.resets[:, :, None], restart[:, None], before)


def _of_linear(call: Call) -> dict[str, Tensor]:
    layer, state = call.layer, call.state
    assert isinstance(layer, LinearRecurrent)
    assert isinstance(state, Tensor)
    a, b = layer.coefficients(call.x)
    restart = None if call.resets is None else layer.restart(state)
    paired = a.is_complex() and not state.is_complex()
    if paired:
        state = kernels.as_complex(state)
        restart = None if restart is None else kernels.as_complex(restart)
    b = b.to(state.dtype).expand(*call.x.shape[:2], state.shape[1])
    a = a.to(state.dtype)
    h, _ = kernels.linear_recurrence(
        a, b, state, restart=restart, lengths=call.lengths, resets=call.resets
    )
    return {"state": kernels.as_pairs(h) if paired else h, "a": a.expand_as(b), "b": b}


def _in_a_loop(call: Call) -> dict[str, Tensor]:
    layer: Recurrent = call.layer
    current: State = call.state
    passed = []
    for t in range(call.x.shape[1]):
        reset = None if call.resets is None else call.resets[:, t]
        _, current = layer.step(call.x[:, t], current, reset=reset)
        passed.append(float_leaves(current))
    return {
        name: torch.stack([step[name] for step in passed], 1)
        for name in (passed[0] if passed else ())
    }
