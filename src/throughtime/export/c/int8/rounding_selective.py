"""The selective state space: from a trained one to one in whole numbers."""

import numpy as np
import torch

from throughtime.export.c.classic import array
from throughtime.export.c.int8.calibration import watch
from throughtime.export.c.int8.layer import HANDED_ON, signal_bits, state_bits, whole
from throughtime.export.c.int8.maps import affine, linear
from throughtime.export.c.int8.numbers import LENGTH_BITS, SIGNAL
from throughtime.export.c.int8.rounder import Rounder, Signal, check_options
from throughtime.export.c.int8.selective import IntegerSelective, rounded_rates
from throughtime.layers.selective import SelectiveSSM


def add_selective(rounder: Rounder, layer: SelectiveSSM, x: Signal) -> Signal:
    """Round a selective state space.

    What is made of other numbers is counted no finer than they are: a state than the products that
    enter it, an output than what is added up in it.
    """
    check_options(layer)
    seen = watch(layer, x.values)
    (most,) = seen.leaves
    u = layer.enter(x.values)
    u_bits = _bits_of(u)
    few_bits, into_bits, out_bits = (
        _bits_of(map(u)) for map in (layer.narrow, layer.write, layer.read)
    )
    h_bits = min(state_bits(most), LENGTH_BITS + u_bits + into_bits)
    skips = array(layer.skip)
    skip_bits = signal_bits(float(np.abs(skips).max()), headroom=1.0)
    finest = min(out_bits + h_bits, skip_bits + u_bits) - HANDED_ON
    rates, rate_bits = rounded_rates(array(layer.log_rate.exp()))
    step = layer.step_length
    made = IntegerSelective(
        rounder.name("selective"),
        layer.input_size,
        min(_bits_of(seen.outputs), finest),
        states=rates.size,
        state_bits=h_bits,
        enter=linear(array(layer.enter.weight), x.bits, u_bits + HANDED_ON),
        u_bits=u_bits,
        condense=linear(array(layer.narrow.weight), u_bits, few_bits + HANDED_ON),
        widen=affine(array(step.weight), array(step.bias), few_bits),
        into=linear(array(layer.write.weight), u_bits, into_bits + HANDED_ON),
        into_bits=into_bits,
        out=linear(array(layer.read.weight), u_bits, out_bits + HANDED_ON),
        out_bits=out_bits,
        rates=rates,
        rate_bits=rate_bits,
        skips=whole(skips, skip_bits, np.int16, SIGNAL),
        skip_bits=skip_bits,
    )
    return rounder.made(made, seen.outputs)


def _bits_of(values: torch.Tensor) -> int:
    return signal_bits(float(values.abs().max()))
