"""The layers of Elman's kind in C: RNN, LSTM, GRU and their variants.

Each function adds a layer to a program and returns how C gets at its output.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from throughtime.errors import OptionError
from throughtime.export.c import layout
from throughtime.export.c.layout import Array
from throughtime.export.c.program import Program
from throughtime.layers.classic import Classic
from throughtime.layers.coupled_lstm import CoupledLSTM
from throughtime.layers.echo_state import EchoState
from throughtime.layers.gru import GRU
from throughtime.layers.layer_norm_gru import LayerNormGRU
from throughtime.layers.layer_norm_lstm import LayerNormLSTM
from throughtime.layers.lstm import LSTM
from throughtime.layers.peephole_lstm import PeepholeLSTM
from throughtime.layers.projected_lstm import ProjectedLSTM
from throughtime.layers.rnn import RNN


def array(values: Tensor) -> Array:
    """Return a tensor as an array of float32."""
    numbers: Array = values.detach().float().numpy()
    return numbers


def add_rnn(program: Program, layer: RNN | EchoState, x: str) -> str:
    """Add an RNN, or an echo state network without a leak, which is one."""
    if isinstance(layer, EchoState) and layer.leak != 1:
        raise OptionError(
            f"expected an echo_state layer with leak 1 for C, got {layer.leak}; run it in Python"
        )
    kind = "rnn" if isinstance(layer, RNN) else "echo_state"
    relu = isinstance(layer, RNN) and layer.nonlinearity == "relu"
    name = program.name(kind)
    (h,) = _states(program, name, layer, ("h",), block=1)
    maps = [_by_gates(layer.weight_ih, 1), _by_gates(layer.weight_hh, 1)]
    biases, about = summed_biases(layer, 1), f"{kind}, W and V"
    of = program.gates(name, biases, maps, layout.COLUMNS, about)
    program.call("rnn_relu" if relu else "rnn", of, h, x)
    return h


def add_lstm(program: Program, layer: LSTM, x: str) -> str:
    """Add an LSTM."""
    name = program.name("lstm")
    h, c, of, _ = _lstm(program, layer, name, gates=4)
    program.call("lstm", of, h, c, x)
    return h


def add_coupled_lstm(program: Program, layer: CoupledLSTM, x: str) -> str:
    """Add an LSTM with one gate for forgetting and entering."""
    name = program.name("coupled_lstm")
    h, c, of, _ = _lstm(program, layer, name, gates=3)
    program.call("coupled_lstm", of, h, c, x)
    return h


def add_peephole_lstm(program: Program, layer: PeepholeLSTM, x: str) -> str:
    """Add an LSTM with peepholes, which lie by blocks of units as the gates do."""
    name = program.name("peephole_lstm")
    h, c, of, block = _lstm(program, layer, name, gates=4)
    weights = array(layer.peepholes)
    whole = np.stack([layout.whole_blocks(each, block) for each in weights])
    by_blocks = whole.reshape(3, -1, block).swapaxes(0, 1).ravel()
    peepholes = program.table(f"{name}_peepholes", by_blocks, "peepholes of i, f, o")
    program.call("peephole_lstm", of, peepholes, h, c, x)
    return h


def add_projected_lstm(program: Program, layer: ProjectedLSTM, x: str) -> str:
    """Add an LSTM with a projection of its cells."""
    name = program.name("projected_lstm")
    h, c, of, _ = _lstm(program, layer, name, gates=4, more=8)
    projection = program.affine(f"{name}_projection", array(layer.weight_hr), None, "projection")
    program.call("projected_lstm", of, projection, layer.hidden_size, h, c, x)
    return h


def add_gru(program: Program, layer: GRU, x: str) -> str:
    """Add a GRU: of its sums x adds to n, r, z, and h to r, z, n."""
    name = program.name("gru")
    block = program.block(4, layer.hidden_size, gates=3, arrays=1)
    (h,) = _states(program, name, layer, ("h",), block=block)
    r, z, n = range(3)
    from_x, from_h = _by_gates(layer.weight_ih, 3), _by_gates(layer.weight_hh, 3)
    biases = np.zeros((4, layer.hidden_size), np.float32)
    if layer.bias_ih is not None and layer.bias_hh is not None:
        of_x, of_h = rows(layer.bias_ih, 3), rows(layer.bias_hh, 3)
        biases = np.stack([of_x[n], of_x[r] + of_h[r], of_x[z] + of_h[z], of_h[n]])
    maps = [from_x[[n, r, z]], from_h[[r, z, n]]]
    of = program.gates(name, biases, maps, block, "gru, W of n, r, z and V of r, z, n", room=4)
    program.call("gru", of, h, x)
    return h


def add_layer_norm_lstm(program: Program, layer: LayerNormLSTM, x: str) -> str:
    """Add an LSTM with normalised gates."""
    name = program.name("layer_norm_lstm")
    h, c = _states(program, name, layer, ("h", "c"), block=1)
    of = _normalised(program, name, layer, gates=4)
    gains = np.concatenate([array(layer.cell_gain), array(layer.cell_bias)])
    of_cell = program.table(f"{name}_cell", gains, "gain and bias of the cell")
    program.call("layer_norm_lstm", of, of_cell, h, c, x)
    return h


def add_layer_norm_gru(program: Program, layer: LayerNormGRU, x: str) -> str:
    """Add a GRU with normalised gates."""
    name = program.name("layer_norm_gru")
    (h,) = _states(program, name, layer, ("h",), block=1)
    program.call("layer_norm_gru", _normalised(program, name, layer, gates=3), h, x)
    return h


def _lstm(
    program: Program, layer: Classic, name: str, gates: int, more: int = 0
) -> tuple[str, str, str, int]:
    """Add the states h and c and the gates of a layer with cells; gates are in torch's order.

    Returns:
        How C gets at h, at c and at the gates, and the units of a block.
    """
    cells = layer.leaf_sizes()[1]
    block = program.block(gates, cells, gates=gates, arrays=1, more=more)
    h, c = _states(program, name, layer, ("h", "c"), block=block)
    maps = [_by_gates(layer.weight_ih, gates), _by_gates(layer.weight_hh, gates)]
    biases, about = summed_biases(layer, gates), f"{name}, W and V"
    return h, c, program.gates(name, biases, maps, block, about, room=gates), block


def _normalised(
    program: Program, name: str, layer: LayerNormLSTM | LayerNormGRU, gates: int
) -> str:
    """Add a `normalised_layer`."""
    units, inputs = layer.hidden_size, layer.input_size
    from_x, from_h = _by_gates(layer.weight_ih, gates), _by_gates(layer.weight_hh, gates)
    gains = (layer.gain_ih, layer.bias_ih, layer.gain_hh, layer.bias_hh)
    by_gate = [rows(each, gates) for each in gains if each is not None]
    parts: list[Array] = []
    for gate in range(gates):
        parts += [layout.affine(from_x[gate], None), layout.affine(from_h[gate], None)]
        parts += [each[gate] for each in by_gate]
    program.widths |= layout.widths(units, layout.COLUMNS)
    program.gate_numbers(gates * units)
    program.need(units)
    weights = program.table(f"{name}_weights", np.concatenate(parts), "gates, one by one")
    program.layers.append(
        f"static const normalised_layer {name} = {{{inputs}, {units}, {weights}}};"
    )
    return f"&{name}"


def _states(
    program: Program, name: str, layer: Classic | EchoState, names: Sequence[str], block: int
) -> list[str]:
    """Add the leaves of a layer's state, with what they start from."""
    found = zip(names, layer.initial_state(1), strict=True)
    return [
        program.state(f"{name}_{leaf}", start.shape[1], array(start[0]), block=block)
        for leaf, start in found
    ]


def _by_gates(weight: Tensor, gates: int) -> Array:
    """Return weights (G*H, N) as (G, H, N)."""
    return array(weight).reshape(gates, -1, weight.shape[1])


def rows(values: Tensor, gates: int) -> Array:
    """Return numbers (G*H,) as (G, H)."""
    return array(values).reshape(gates, -1)


def summed_biases(layer: Classic | EchoState, gates: int) -> Array:
    """Return the sum of both biases as (G, H)."""
    total = np.zeros((gates, len(layer.weight_ih) // gates), np.float32)
    for bias in (layer.bias_ih, layer.bias_hh):
        if bias is not None:
            total = total + rows(bias, gates)
    return total
