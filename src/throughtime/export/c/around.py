"""What layers are put together with, in C: stacks, residual blocks, convolutions, noise."""

from collections.abc import Callable
from typing import Any

import numpy as np

from throughtime.errors import OptionError
from throughtime.export.c import classic, diagonal, layout
from throughtime.export.c.classic import array
from throughtime.export.c.program import Program
from throughtime.layers.block import Block
from throughtime.layers.convolution import CausalConvolution
from throughtime.layers.coupled_lstm import CoupledLSTM
from throughtime.layers.echo_state import EchoState
from throughtime.layers.gru import GRU
from throughtime.layers.hgrn import HGRN
from throughtime.layers.layer_norm_gru import LayerNormGRU
from throughtime.layers.layer_norm_lstm import LayerNormLSTM
from throughtime.layers.lru import LRU
from throughtime.layers.lstm import LSTM
from throughtime.layers.min_gru import MinGRU
from throughtime.layers.min_lstm import MinLSTM
from throughtime.layers.peephole_lstm import PeepholeLSTM
from throughtime.layers.projected_lstm import ProjectedLSTM
from throughtime.layers.regularised import Regularised
from throughtime.layers.rg_lru import RGLRU
from throughtime.layers.rnn import RNN
from throughtime.layers.s5 import S5
from throughtime.layers.selective import SelectiveSSM
from throughtime.layers.stack import Stack
from throughtime.recurrent import Recurrent

_NOISE = 2
"""Leaves of a noise: a seed and a step."""


def add(program: Program, layer: Recurrent, x: str) -> str:
    """Add a layer to a program.

    Args:
        program: what is below it.
        layer: of one of the supported classes.
        x: how C gets at its input.

    Returns:
        How C gets at its output.

    Raises:
        OptionError: for a layer that there is no C for.
    """
    adder = _ADDERS.get(type(layer))
    if adder is None:
        raise OptionError(
            f"expected layers among {', '.join(SUPPORTED)} for C, got {type(layer).__name__}; "
            "train one of those, or run this one by `throughtime stream`"
        )
    output: str = adder(program, layer, x)
    return output


def _add_stack(program: Program, stack: Stack, x: str) -> str:
    if stack.residual or len(stack.norms):
        raise OptionError("expected a Stack without residual and norm for C, got one with")
    for layer in stack._each():
        x = add(program, layer, x)
    if stack.dropout:
        program.leaves += [None] * _NOISE
    return x


def _add_regularised(program: Program, layer: Regularised, x: str) -> str:
    """Add a layer that was trained with noise; what is left of it is zoneout's expectation."""
    before = len(program.leaves)
    place = len(program.calls)
    y = add(program, layer.layer, x)
    leaves = [leaf for leaf in program.leaves[before:] if leaf is not None]
    program.leaves += [None] * (2 * _NOISE)
    if layer.zoneout:
        for leaf in leaves:
            (name,) = leaf.names
            kept = program.buffer(f"{name}_before", leaf.size)
            size = f"{leaf.size} * sizeof *{kept}"
            program.calls.insert(place, f"memcpy({kept}, state->{name}, {size});")
            program.call("zoneout", f"state->{name}", kept, leaf.size, float(layer.zoneout))
    return y


def _add_convolution(program: Program, layer: CausalConvolution, x: str) -> str:
    kind = "depthwise_convolution" if layer.depthwise else "convolution"
    name = program.name("convolution")
    past = program.state(f"{name}_past", layer.kept * layer.input_size)
    # The last tap of a Conv1d is that of the present input.
    taps = array(layer.taps.weight.flip(2)).transpose(2, 0, 1)
    bias = np.zeros(layer.output_size, np.float32)
    if layer.taps.bias is not None:
        bias = array(layer.taps.bias)
    if layer.depthwise:
        rows, sizes = taps[:, :, 0].ravel(), [layer.input_size]
        described = "depthwise_layer"
    else:
        rows, sizes = layout.panels(list(taps)), [layer.input_size, layer.output_size]
        described = "convolution_layer"
        program.widths |= layout.widths(layer.output_size, layout.COLUMNS)
    program.gate_numbers(layer.output_size)
    weights = program.table(f"{name}_weights", np.concatenate([bias, rows]), "b, W_0, W_1, ...")
    fields = ", ".join(map(str, (*sizes, len(taps), layer.dilation, weights)))
    program.layers.append(f"static const {described} {name} = {{{fields}}};")
    y = program.buffer(f"{name}_y", layer.output_size)
    program.call(kind, f"&{name}", y, past, x)
    return y


def _add_block(program: Program, block: Block, x: str) -> str:
    name, size = program.name("block"), block.output_size
    y = program.buffer(f"{name}_y", size)
    read = program.buffer(f"{name}_read", size)
    if block.lift is None:
        program.calls.append(f"memcpy({y}, {x}, {size} * sizeof *{y});")
    else:
        weight, bias = array(block.lift.weight), array(block.lift.bias)
        lift = program.affine(f"{name}_lift", weight, bias, "block, W_0 and its bias")
        program.call("affine", y, lift, x, block.input_size, size)
    gains = [array(norm.weight) for norm in block.norms]  # type: ignore[arg-type]
    tables = [
        program.table(f"{name}_gain_{place}", gain, "gain of a norm")
        for place, gain in enumerate(gains)
    ]
    program.call("root_mean_square_norm", read, tables[0], y, size)
    program.call("add", y, add(program, block.layer, read), size)
    program.call("root_mean_square_norm", read, tables[1], y, size)
    maps = [np.stack([array(block.gate.weight), array(block.wide.weight)])]
    block_size = program.block(2, maps[0].shape[1], gates=2)
    of = program.gates(f"{name}_network", None, maps, block_size, "block, W_1 and W_2")
    narrow = array(block.narrow.weight).T.ravel()
    last = program.table(f"{name}_narrow", narrow, "block, W_3")
    program.call("gated_network", of, last, y, read)
    return y


_ADDERS: dict[type[Recurrent], Callable[[Program, Any, str], str]] = {
    RNN: classic.add_rnn,
    LSTM: classic.add_lstm,
    GRU: classic.add_gru,
    LayerNormLSTM: classic.add_layer_norm_lstm,
    LayerNormGRU: classic.add_layer_norm_gru,
    PeepholeLSTM: classic.add_peephole_lstm,
    CoupledLSTM: classic.add_coupled_lstm,
    ProjectedLSTM: classic.add_projected_lstm,
    EchoState: classic.add_rnn,
    MinGRU: diagonal.add_min_gru,
    MinLSTM: diagonal.add_min_lstm,
    LRU: diagonal.add_lru,
    RGLRU: diagonal.add_rg_lru,
    S5: diagonal.add_s5,
    SelectiveSSM: diagonal.add_selective,
    HGRN: diagonal.add_hgrn,
    CausalConvolution: _add_convolution,
    Block: _add_block,
    Stack: _add_stack,
    Regularised: _add_regularised,
}

SUPPORTED = (
    *("rnn", "lstm", "gru", "layer_norm_lstm", "layer_norm_gru", "peephole_lstm"),
    *("coupled_lstm", "projected_lstm", "echo_state", "min_gru", "min_lstm", "lru", "rg_lru"),
    *("s5", "selective", "hgrn", "convolution"),
)
"""Layers that there is C for, by the names that `layers.make` takes; with `:conv` and `:block`."""
