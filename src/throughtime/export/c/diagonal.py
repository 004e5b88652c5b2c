"""The layers with a linear recurrence in C.

Each function adds a layer to a program and returns how C gets at its output. What a layer computes
from its parameters alone, such as eigenvalues, is taken as torch computes it in float32: a factor
that is applied a thousand times in a row must be the same one, to the last bit.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime.errors import OptionError
from throughtime.export.c import layout
from throughtime.export.c.classic import array
from throughtime.export.c.layout import Array
from throughtime.export.c.program import Program
from throughtime.layers import gates
from throughtime.layers.hgrn import HGRN
from throughtime.layers.lru import LRU
from throughtime.layers.min_gru import MinGRU
from throughtime.layers.min_lstm import MinLSTM
from throughtime.layers.rg_lru import RGLRU
from throughtime.layers.s5 import S5
from throughtime.layers.selective import SelectiveSSM


def add_min_gru(program: Program, layer: MinGRU, x: str) -> str:
    """Add a MinGRU."""
    name = program.name("min_gru")
    block = program.block(2, layer.hidden_size, gates=2)
    h = program.state(f"{name}_h", layer.hidden_size, block=block)
    maps = (layer.update_gate, layer.candidate)
    of = _linear(program, name, maps, block, "min_gru, z and c")
    program.call("min_gru", of, _turn(layer), h, x)
    return h


def add_min_lstm(program: Program, layer: MinLSTM, x: str) -> str:
    """Add a MinLSTM."""
    name = program.name("min_lstm")
    block = program.block(3, layer.hidden_size, gates=3)
    h = program.state(f"{name}_h", layer.hidden_size, block=block)
    maps = (layer.forget_gate, layer.input_gate, layer.candidate)
    of = _linear(program, name, maps, block, "min_lstm, f, i and c")
    program.call("min_lstm", of, _turn(layer) - 1, h, x)
    return h


@torch.no_grad()
def add_lru(program: Program, layer: LRU, x: str) -> str:
    """Add an LRU."""
    eigenvalues, gamma = layer._eigenvalues()
    enter = gamma[:, None] * layer.enter
    return _rotation(program, "lru", eigenvalues, enter, layer.leave, layer.skip, x)


@torch.no_grad()
def add_s5(program: Program, layer: S5, x: str) -> str:
    """Add an S5."""
    eigenvalues, factor = layer._eigenvalues()
    product = factor[:, None] * torch.complex(*layer.enter)
    enter = torch.stack([product.real, product.imag])
    return _rotation(program, "s5", eigenvalues, enter, 2 * layer.leave, layer.skip, x)


@torch.no_grad()
def add_rg_lru(program: Program, layer: RGLRU, x: str) -> str:
    """Add an RG-LRU."""
    if layer.groups != 1:
        raise OptionError(f"expected an rg_lru layer of 1 group for C, got {layer.groups}")
    name, units = program.name("rg_lru"), layer.hidden_size
    block = program.block(2, units, gates=2, arrays=1, more=4)
    h = program.state(f"{name}_h", units, block=block)
    enter = program.affine(
        f"{name}_enter", array(layer.enter.weight), array(layer.enter.bias), "rg_lru, W and b"
    )
    maps = [array(layer.gate_weights[:, 0].transpose(1, 2))]
    biases = array(layer.gate_biases)
    of = program.gates(f"{name}_gates", biases, maps, block, "rg_lru, V and d", room=2)
    # c = 8 of the paper.
    log_a = 8.0 * functional.logsigmoid(layer.rate)
    rates = layout.whole_blocks(array(log_a), block)
    rate = program.table(f"{name}_rate", rates, "rg_lru, log(a) where r is 1")
    program.call("rg_lru", of, enter, rate, _turn(layer), h, x, layer.input_size)
    return h


@torch.no_grad()
def add_selective(program: Program, layer: SelectiveSSM, x: str) -> str:
    """Add a selective state space."""
    name, units, states = program.name("selective"), layer.hidden_size, layer.states
    h = program.state(f"{name}_h", units * states)
    program.need(units)
    program.most_states = max(program.most_states, states)
    step = layer.step_length
    program.most_rank = max(program.most_rank, layer.narrow.out_features)
    program.gate_numbers(2 * (units + states) + layer.narrow.out_features)
    parts = {
        "enter": (layer.enter.weight, None),
        "narrow": (layer.narrow.weight, None),
        "widen": (step.weight, step.bias),
        "write": (layer.write.weight, None),
        "read": (layer.read.weight, None),
    }
    tables = [
        program.affine(f"{name}_{part}", array(weight), None if bias is None else array(bias), part)
        for part, (weight, bias) in parts.items()
    ]
    rate = array(layer.log_rate.exp()).ravel()
    tables.append(program.table(f"{name}_rate", rate, "rates, of each unit"))
    tables.append(program.table(f"{name}_skip", array(layer.skip), "skip"))
    sizes = (layer.input_size, units, states, layer.narrow.out_features)
    fields = ", ".join(map(str, (*sizes, *tables)))
    program.layers.append(f"static const selective_layer {name} = {{{fields}}};")
    y = program.buffer(f"{name}_y", units)
    program.call("selective", f"&{name}", _turn(layer), y, h, x)
    return y


def add_hgrn(program: Program, layer: HGRN, x: str) -> str:
    """Add an HGRN."""
    name, units = program.name("hgrn"), layer.hidden_size
    block = program.block(3, units, gates=3, arrays=2, more=8)
    h = program.state(f"{name}_h", units, block=block)
    maps = (layer.forget_gate, layer.candidate, layer.output_gate)
    of = _linear(program, name, maps, block, "hgrn, f, c and g")
    gain = program.table(f"{name}_gain", array(layer.norm.weight), "gain of the norm")
    leave = program.affine(
        f"{name}_leave", array(layer.leave.weight), array(layer.leave.bias), "hgrn, L and l"
    )
    y = program.buffer(f"{name}_y", units)
    program.call("hgrn", of, float(layer.lower_bound), _turn(layer), gain, leave, y, h, x)
    return y


def _linear(program: Program, name: str, maps: Sequence[nn.Linear], block: int, about: str) -> str:
    """Add the gates that a step computes from its input alone."""
    biases = np.stack([array(each.bias) for each in maps])
    weights = np.stack([array(each.weight) for each in maps])
    return program.gates(name, biases, [weights], block, about, room=len(maps))


def _rotation(
    program: Program,
    kind: str,
    eigenvalues: Tensor,
    enter: Tensor,
    leave: Tensor,
    skip: Tensor,
    x: str,
) -> str:
    """Add a recurrence of complex states: enter (2, N, F), leave (2, N, D), skip (D, F)."""
    name = program.name(kind)
    states, inputs, outputs = enter.shape[1], enter.shape[2], len(skip)
    block = program.block(2, states, gates=2, arrays=-(-outputs // states))
    real, imaginary = program.complex_state(name, states, block)
    program.gate_numbers(2 * states)
    program.widths |= layout.widths(states, block, 2)
    program.widths |= layout.widths(outputs, layout.COLUMNS)
    zeros = np.zeros((2, states), np.float32)
    into: Array = layout.gates(zeros, [array(enter)], block, 2 * block)
    out: Array = layout.panels([array(leave[0].T), array(-leave[1].T), array(skip)])
    tables = [
        program.table(f"{name}_enter", into, f"{kind}, B"),
        *(
            program.table(f"{name}_factor_{part}", layout.whole_blocks(array(values), block), about)
            for part, values, about in (
                ("real", eigenvalues.real, "real parts of a"),
                ("imaginary", eigenvalues.imag, "imaginary parts of a"),
            )
        ),
        program.table(f"{name}_leave", out, f"{kind}, C and D"),
    ]
    fields = ", ".join(map(str, (inputs, states, outputs, *tables)))
    program.layers.append(f"static const rotation_layer {name} = {{{fields}}};")
    y = program.buffer(f"{name}_y", outputs)
    program.call("rotation", f"&{name}", y, real, imaginary, x)
    return y


def _turn(layer: MinGRU | MinLSTM | RGLRU | HGRN | SelectiveSSM) -> float:
    """Return what C multiplies the lost share of a state by: 2 where it can be turned around."""
    return gates.scale(negative=layer.negative_eigenvalues)
