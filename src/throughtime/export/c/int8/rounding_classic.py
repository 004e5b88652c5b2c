"""RNN, LSTM, GRU and their variants: from trained layers to ones in whole numbers."""

import math

import numpy as np
import torch
from torch import Tensor

from throughtime.errors import OptionError
from throughtime.export.c.classic import array, rows, summed_biases
from throughtime.export.c.int8.calibration import watch
from throughtime.export.c.int8.classic import IntegerGRU, IntegerLSTM, IntegerRNN
from throughtime.export.c.int8.classic_variants import IntegerPeepholeLSTM, IntegerProjectedLSTM
from throughtime.export.c.int8.layer import (
    HANDED_ON,
    SIGNAL_BITS,
    signal_bits,
    state_bits,
    whole,
)
from throughtime.export.c.int8.maps import affine, linear
from throughtime.export.c.int8.normed import IntegerLayerNormGRU, IntegerLayerNormLSTM, Norm
from throughtime.export.c.int8.numbers import GATE_BITS, PRE_BITS, SIGNAL
from throughtime.export.c.int8.rounder import Rounder, Signal
from throughtime.layers.coupled_lstm import CoupledLSTM
from throughtime.layers.echo_state import EchoState
from throughtime.layers.gru import GRU
from throughtime.layers.layer_norm_gru import LayerNormGRU
from throughtime.layers.layer_norm_lstm import LayerNormLSTM
from throughtime.layers.lstm import LSTM
from throughtime.layers.peephole_lstm import PeepholeLSTM
from throughtime.layers.projected_lstm import ProjectedLSTM
from throughtime.layers.rnn import RNN


def add_rnn(rounder: Rounder, layer: RNN | EchoState, x: Signal) -> Signal:
    """Round an RNN, or an echo state network without a leak, which is one."""
    if isinstance(layer, EchoState) and layer.leak != 1:
        raise OptionError(
            f"expected an echo_state layer with leak 1 for C, got {layer.leak}; run it in Python"
        )
    relu = isinstance(layer, RNN) and layer.nonlinearity == "relu"
    seen = watch(layer, x.values)
    bits = signal_bits(seen.leaves[0]) if relu else SIGNAL_BITS
    kind = "rnn" if isinstance(layer, RNN) else "echo_state"
    name = rounder.name(kind)
    h = array(layer.initial_state(1)[0][0])
    made = IntegerRNN(
        name,
        layer.input_size,
        bits,
        units=layer.hidden_size,
        from_x=affine(array(layer.weight_ih), summed_biases(layer, 1)[0], x.bits),
        from_h=linear(array(layer.weight_hh), bits),
        first={f"{name}_h": whole(h, bits, np.int16, SIGNAL)},
        relu=relu,
    )
    return rounder.made(made, seen.outputs)


def add_lstm(rounder: Rounder, layer: LSTM | CoupledLSTM, x: Signal) -> Signal:
    """Round an LSTM, or one with one gate for forgetting and entering."""
    coupled = isinstance(layer, CoupledLSTM)
    seen = watch(layer, x.values)
    bits = state_bits(seen.leaves[1])
    name = rounder.name("coupled_lstm" if coupled else "lstm")
    made = IntegerLSTM(
        name,
        layer.input_size,
        SIGNAL_BITS,
        units=layer.hidden_size,
        from_x=affine(array(layer.weight_ih), summed_biases(layer, layer.gates).ravel(), x.bits),
        from_h=linear(array(layer.weight_hh), SIGNAL_BITS),
        first=_hidden_and_cell(layer, name, SIGNAL_BITS, bits),
        cell_bits=bits,
        coupled=coupled,
    )
    return rounder.made(made, seen.outputs)


def add_gru(rounder: Rounder, layer: GRU, x: Signal) -> Signal:
    """Round a GRU."""
    seen = watch(layer, x.values)
    name = rounder.name("gru")
    biases = np.zeros((4, layer.hidden_size), np.float32)
    if layer.bias_ih is not None and layer.bias_hh is not None:
        of_x, of_h = rows(layer.bias_ih, 3), rows(layer.bias_hh, 3)
        biases = np.stack([of_x[0] + of_h[0], of_x[1] + of_h[1], of_x[2], of_h[2]])
    h = array(layer.initial_state(1)[0][0])
    made = IntegerGRU(
        name,
        layer.input_size,
        SIGNAL_BITS,
        units=layer.hidden_size,
        from_x=affine(array(layer.weight_ih), biases.ravel(), x.bits),
        from_h=linear(array(layer.weight_hh), SIGNAL_BITS),
        first={f"{name}_h": whole(h, GATE_BITS, np.int32, 1 << GATE_BITS)},
    )
    return rounder.made(made, seen.outputs)


def add_peephole_lstm(rounder: Rounder, layer: PeepholeLSTM, x: Signal) -> Signal:
    """Round an LSTM with peepholes."""
    seen = watch(layer, x.values)
    bits = state_bits(seen.leaves[1])
    name = rounder.name("peephole_lstm")
    peepholes = array(layer.peepholes)
    finest = signal_bits(float(np.abs(peepholes).max()), headroom=1.0)
    made = IntegerPeepholeLSTM(
        name,
        layer.input_size,
        SIGNAL_BITS,
        units=layer.hidden_size,
        from_x=affine(array(layer.weight_ih), summed_biases(layer, 4).ravel(), x.bits),
        from_h=linear(array(layer.weight_hh), SIGNAL_BITS),
        first=_hidden_and_cell(layer, name, SIGNAL_BITS, bits),
        cell_bits=bits,
        peepholes=whole(peepholes, finest, np.int16, SIGNAL),
        of_cell=bits + finest - PRE_BITS,
    )
    return rounder.made(made, seen.outputs)


def add_projected_lstm(rounder: Rounder, layer: ProjectedLSTM, x: Signal) -> Signal:
    """Round an LSTM with a projection."""
    seen = watch(layer, x.values)
    h_bits, bits = signal_bits(seen.leaves[0]), state_bits(seen.leaves[1])
    name = rounder.name("projected_lstm")
    made = IntegerProjectedLSTM(
        name,
        layer.input_size,
        h_bits,
        units=layer.cell_size,
        from_x=affine(array(layer.weight_ih), summed_biases(layer, 4).ravel(), x.bits),
        from_h=linear(array(layer.weight_hh), h_bits),
        first=_hidden_and_cell(layer, name, h_bits, bits),
        cell_bits=bits,
        projection=affine(array(layer.weight_hr), None, SIGNAL_BITS, h_bits + HANDED_ON),
    )
    return rounder.made(made, seen.outputs)


def add_layer_norm_lstm(rounder: Rounder, layer: LayerNormLSTM, x: Signal) -> Signal:
    """Round an LSTM with normalised gates."""
    seen = watch(layer, x.values)
    bits = state_bits(seen.leaves[1])
    name = rounder.name("layer_norm_lstm")
    made = IntegerLayerNormLSTM(
        name,
        layer.input_size,
        SIGNAL_BITS,
        units=layer.hidden_size,
        from_x=linear(array(layer.weight_ih), x.bits),
        from_h=linear(array(layer.weight_hh), SIGNAL_BITS),
        of_x=_norm(array(layer.gain_ih), _bias(layer.bias_ih, layer.gain_ih)),
        of_h=_norm(array(layer.gain_hh), _bias(layer.bias_hh, layer.gain_hh)),
        first=_hidden_and_cell(layer, name, SIGNAL_BITS, bits),
        cell_bits=bits,
        of_cell=_norm(array(layer.cell_gain), array(layer.cell_bias)),
    )
    return rounder.made(made, seen.outputs)


def add_layer_norm_gru(rounder: Rounder, layer: LayerNormGRU, x: Signal) -> Signal:
    """Round a GRU with normalised gates."""
    seen = watch(layer, x.values)
    name = rounder.name("layer_norm_gru")
    h = array(layer.initial_state(1)[0][0])
    made = IntegerLayerNormGRU(
        name,
        layer.input_size,
        SIGNAL_BITS,
        units=layer.hidden_size,
        from_x=linear(array(layer.weight_ih), x.bits),
        from_h=linear(array(layer.weight_hh), SIGNAL_BITS),
        of_x=_norm(array(layer.gain_ih), _bias(layer.bias_ih, layer.gain_ih)),
        of_h=_norm(array(layer.gain_hh), _bias(layer.bias_hh, layer.gain_hh)),
        first={f"{name}_h": whole(h, GATE_BITS, np.int32, 1 << GATE_BITS)},
    )
    return rounder.made(made, seen.outputs)


def _hidden_and_cell(
    layer: LSTM | CoupledLSTM | ProjectedLSTM, name: str, h_bits: int, c_bits: int
) -> dict[str, np.ndarray]:
    """Return the leaves h and c of a fresh state."""
    h, c = (array(leaf[0]) for leaf in layer.initial_state(1))
    return {
        f"{name}_h": whole(h, h_bits, np.int16, SIGNAL),
        f"{name}_c": whole(c, c_bits, np.int32),
    }


def _norm(gains: np.ndarray, biases: np.ndarray) -> Norm:
    bits = signal_bits(float(np.abs(gains).max()), headroom=1.0)
    most = float(np.abs(biases).max()) * 2.0**PRE_BITS
    bias_bits = max(0, math.ceil(math.log2(max(most, 1.0) / SIGNAL)))
    return Norm(
        whole(gains, bits, np.int16, SIGNAL),
        whole(biases, PRE_BITS - bias_bits, np.int16, SIGNAL),
        bits,
        bias_bits,
    )


def _bias(values: Tensor | None, like: Tensor) -> np.ndarray:
    return array(torch.zeros_like(like) if values is None else values)
