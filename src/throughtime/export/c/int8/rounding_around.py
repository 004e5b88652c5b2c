"""Stacks, blocks, convolutions and noise: from trained ones to ones in whole numbers."""

import numpy as np
import torch
from torch.nn import functional

from throughtime.errors import OptionError
from throughtime.export.c.classic import array
from throughtime.export.c.int8.around import (
    IntegerBlock,
    IntegerConvolution,
    IntegerDepthwise,
    IntegerZoneout,
)
from throughtime.export.c.int8.calibration import watch
from throughtime.export.c.int8.layer import HANDED_ON, signal_bits, whole
from throughtime.export.c.int8.maps import affine, linear, rounded_biases
from throughtime.export.c.int8.numbers import GATE_BITS, PRE_BITS, SIGNAL
from throughtime.export.c.int8.rounder import Rounder, Signal
from throughtime.layers.block import Block
from throughtime.layers.convolution import CausalConvolution
from throughtime.layers.regularised import Regularised
from throughtime.layers.stack import Stack


def add_stack(rounder: Rounder, stack: Stack, x: Signal) -> Signal:
    """Round the layers of a stack."""
    if stack.residual or len(stack.norms):
        raise OptionError("expected a Stack without residual and norm for C, got one with")
    for layer in stack._each():
        x = rounder.add(layer, x)
    return x


def add_regularised(rounder: Rounder, layer: Regularised, x: Signal) -> Signal:
    """Round a layer that was trained with noise; what is left of it is zoneout's expectation."""
    if not layer.zoneout:
        return rounder.add(layer.layer, x)
    (inner,), _ = rounder.inside(layer.layer, x)
    share = round(layer.zoneout * 2**GATE_BITS)
    made = IntegerZoneout(inner.name, inner.inputs, inner.bits, inner, share)
    return rounder.made(made, watch(layer, x.values).outputs)


def add_convolution(rounder: Rounder, layer: CausalConvolution, x: Signal) -> Signal:
    """Round a convolution; the last tap of a Conv1d is that of the present input."""
    seen = watch(layer, x.values)
    bits = signal_bits(float(seen.outputs.abs().max()))
    taps = array(layer.taps.weight.flip(2))
    bias = array(layer._bias())
    if layer.depthwise:
        made = IntegerDepthwise(
            rounder.name("convolution"),
            layer.input_size,
            bits,
            maps=affine(taps[:, 0], bias, x.bits, bits + HANDED_ON),
            dilation=layer.dilation,
        )
        return rounder.made(made, seen.outputs)
    biases, bias_bits = rounded_biases(bias, bits + HANDED_ON)
    whole_taps = [linear(each, x.bits, bits + HANDED_ON) for each in taps.transpose(2, 0, 1)]
    convolution = IntegerConvolution(
        rounder.name("convolution"),
        layer.input_size,
        bits,
        taps=tuple(whole_taps),
        biases=biases,
        bias_bits=bias_bits,
        dilation=layer.dilation,
    )
    return rounder.made(convolution, seen.outputs)


def add_block(rounder: Rounder, block: Block, x: Signal) -> Signal:
    """Round a residual block, with the layers in it."""
    name = rounder.name("block")
    lifted = block._lift(x.values)
    read = block.norms[0](lifted)
    watched = watch(block, x.values).outputs
    gains = np.stack([array(norm.weight) for norm in block.norms])  # type: ignore[arg-type]
    gain_bits = signal_bits(float(np.abs(gains).max()), headroom=1.0)
    # What is normalised has no number above the root of how many there are.
    read_bits = min(15, signal_bits(float(np.abs(gains).max()) * 4))
    layers, z = rounder.inside(block.layer, Signal(read, read_bits))
    between = block.norms[1](lifted + z.values)
    shown = functional.silu(block.gate(between)) * block.wide(between)
    shown_bits = signal_bits(float(shown.abs().max()), headroom=4.0)
    wide = torch.cat([block.gate.weight, block.wide.weight])
    lift = None
    if block.lift is not None:
        lift = affine(array(block.lift.weight), array(block.lift.bias), x.bits)
    made = IntegerBlock(
        name,
        block.input_size,
        min(PRE_BITS, signal_bits(float(watched.abs().max()))),
        x_bits=x.bits,
        lift=lift,
        gains=whole(gains, gain_bits, np.int16, SIGNAL),
        gain_bits=gain_bits,
        read_bits=read_bits,
        layers=layers,
        wide=linear(array(wide), read_bits),
        shown_bits=shown_bits,
        narrow=linear(array(block.narrow.weight), shown_bits),
    )
    return rounder.made(made, watched)
