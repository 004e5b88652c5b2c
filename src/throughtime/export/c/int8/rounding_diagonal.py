"""The layers with a linear recurrence: from trained ones to ones in whole numbers."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime.errors import OptionError
from throughtime.export.c.classic import array
from throughtime.export.c.int8.calibration import watch
from throughtime.export.c.int8.diagonal import (
    IntegerHGRN,
    IntegerMinGRU,
    IntegerMinLSTM,
    IntegerRGLRU,
    IntegerRotation,
)
from throughtime.export.c.int8.layer import HANDED_ON, signal_bits, state_bits, whole
from throughtime.export.c.int8.maps import IntegerAffine, affine, linear
from throughtime.export.c.int8.numbers import GATE_BITS, SIGNAL
from throughtime.export.c.int8.rounder import Rounder, Signal, check_options
from throughtime.layers.hgrn import HGRN
from throughtime.layers.lru import LRU
from throughtime.layers.min_gru import MinGRU
from throughtime.layers.min_lstm import MinLSTM
from throughtime.layers.rg_lru import RGLRU
from throughtime.layers.s5 import S5

_RATE_BITS = 26


def add_min_gru(rounder: Rounder, layer: MinGRU, x: Signal) -> Signal:
    """Round a MinGRU."""
    check_options(layer)
    seen = watch(layer, x.values)
    (most,) = seen.leaves
    made = IntegerMinGRU(
        rounder.name("min_gru"),
        layer.input_size,
        signal_bits(most),
        states=layer.hidden_size,
        state_bits=state_bits(most),
        gates=_joined((layer.update_gate, layer.candidate), x.bits),
    )
    return rounder.made(made, seen.outputs)


def add_min_lstm(rounder: Rounder, layer: MinLSTM, x: Signal) -> Signal:
    """Round a MinLSTM."""
    check_options(layer)
    seen = watch(layer, x.values)
    (most,) = seen.leaves
    made = IntegerMinLSTM(
        rounder.name("min_lstm"),
        layer.input_size,
        signal_bits(most),
        states=layer.hidden_size,
        state_bits=state_bits(most),
        gates=_joined((layer.forget_gate, layer.input_gate, layer.candidate), x.bits),
    )
    return rounder.made(made, seen.outputs)


def add_rg_lru(rounder: Rounder, layer: RGLRU, x: Signal) -> Signal:
    """Round an RG-LRU."""
    check_options(layer)
    if layer.groups != 1:
        raise OptionError(f"expected an rg_lru layer of 1 group for C, got {layer.groups}")
    seen = watch(layer, x.values)
    (most,) = seen.leaves
    u_bits = signal_bits(_largest(layer.enter(x.values)))
    gates = array(layer.gate_weights[:, 0].transpose(1, 2).flatten(0, 1))
    # c = 8 of the paper.
    rates = -8.0 * functional.logsigmoid(layer.rate)
    made = IntegerRGLRU(
        rounder.name("rg_lru"),
        layer.input_size,
        signal_bits(most),
        states=layer.hidden_size,
        state_bits=state_bits(most),
        enter=_map_of(layer.enter, x.bits, u_bits + HANDED_ON),
        enter_bits=u_bits,
        gates=affine(gates, array(layer.gate_biases).ravel(), u_bits),
        rates=whole(array(rates), _RATE_BITS, np.int32),
    )
    return rounder.made(made, seen.outputs)


def add_hgrn(rounder: Rounder, layer: HGRN, x: Signal) -> Signal:
    """Round an HGRN."""
    check_options(layer)
    seen = watch(layer, x.values, inner=layer.leave)
    (most,) = seen.leaves
    shown_bits = min(16, signal_bits(seen.inner))
    bits = signal_bits(_largest(seen.outputs))
    gains = array(layer.norm.weight)
    gain_bits = signal_bits(float(np.abs(gains).max()), headroom=1.0)
    made = IntegerHGRN(
        rounder.name("hgrn"),
        layer.input_size,
        bits,
        states=layer.hidden_size,
        state_bits=state_bits(most),
        open=round((1 - layer.lower_bound) * 2**GATE_BITS),
        gates=_joined((layer.forget_gate, layer.candidate, layer.output_gate), x.bits),
        gains=whole(gains, gain_bits, np.int16, SIGNAL),
        gain_bits=gain_bits,
        shown_bits=shown_bits,
        leave=_map_of(layer.leave, shown_bits, bits + HANDED_ON),
    )
    return rounder.made(made, seen.outputs)


def add_lru(rounder: Rounder, layer: LRU, x: Signal) -> Signal:
    """Round an LRU."""
    eigenvalues, gamma = layer._eigenvalues()
    enter = gamma[:, None] * layer.enter
    return _rotation(rounder, "lru", layer, x, (eigenvalues, enter, layer.leave))


def add_s5(rounder: Rounder, layer: S5, x: Signal) -> Signal:
    """Round an S5."""
    eigenvalues, factor = layer._eigenvalues()
    product = factor[:, None] * torch.complex(*layer.enter)
    enter = torch.stack([product.real, product.imag])
    return _rotation(rounder, "s5", layer, x, (eigenvalues, enter, 2 * layer.leave))


def _rotation(
    rounder: Rounder,
    kind: str,
    layer: LRU | S5,
    x: Signal,
    parts: tuple[Tensor, Tensor, Tensor],
) -> Signal:
    """Round a recurrence of eigenvalues (N,), maps in (2, N, F) and maps out (2, N, D)."""
    eigenvalues, enter, leave = parts
    seen = watch(layer, x.values)
    (most,) = seen.leaves
    read_bits, h_bits = signal_bits(most), state_bits(most)
    bits = signal_bits(_largest(seen.outputs))
    factors = np.concatenate([array(eigenvalues.real), array(eigenvalues.imag)])
    made = IntegerRotation(
        rounder.name(kind),
        layer.input_size,
        bits,
        states=len(factors),
        state_bits=h_bits,
        outputs=layer.output_size,
        read_bits=read_bits,
        enter=linear(array(enter.flatten(0, 1)), x.bits, h_bits),
        leave=linear(array(torch.cat([leave[0], -leave[1]]).T), read_bits, bits + HANDED_ON),
        skip=linear(array(layer.skip), x.bits, bits + HANDED_ON),
        factors=whole(factors, GATE_BITS, np.int32),
    )
    return rounder.made(made, seen.outputs)


def _joined(maps: tuple[nn.Linear, ...], x_bits: int) -> IntegerAffine:
    """Round maps of one input as one."""
    weights = np.concatenate([array(each.weight) for each in maps])
    return affine(weights, np.concatenate([array(each.bias) for each in maps]), x_bits)


def _map_of(map: nn.Linear, x_bits: int, y_bits: int) -> IntegerAffine:
    return affine(array(map.weight), array(map.bias), x_bits, y_bits)


def _largest(values: Tensor) -> float:
    return float(values.abs().max())
