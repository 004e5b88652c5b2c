"""The selective state space in whole numbers: the twin of `source/selective.c`."""

import math
from dataclasses import dataclass

import numpy as np

from throughtime.export.c.int8.diagonal import Diagonal
from throughtime.export.c.int8.layer import HANDED_ON, Lanes, define, write_affine, write_map
from throughtime.export.c.int8.maps import IntegerAffine, IntegerMap
from throughtime.export.c.int8.numbers import (
    GATE_BITS,
    LENGTH_BITS,
    Whole,
    decay_of,
    narrowed,
    rate_of,
    rounded,
    saturated,
    step_length,
    times,
)
from throughtime.export.c.layout import Array
from throughtime.export.c.program import Program

_ONE = 1 << GATE_BITS
_LARGEST_RATE = 4095 << 15
"""What `rate_of` has of the largest number of 15 bits."""


@dataclass(frozen=True)
class IntegerSelective(Diagonal):
    """The selective state space: `source/selective.c`. `states` are those of all units, H N.

    Attributes:
        enter: from x to u.
        u_bits: u is in units of 2^-u_bits.
        condense: from u to the few numbers that step lengths are made of.
        widen: from those to what softplus makes step lengths of.
        into: from u to B.
        into_bits: B is in units of 2^-into_bits.
        out: from u to C.
        out_bits: C is in units of 2^-out_bits.
        rates: (H, N) int16, as `rate_of` reads them.
        rate_bits: what it reads is in units of 2^-rate_bits.
        skips: (H,) int16, in units of 2^-skip_bits.
        skip_bits: see `skips`.
    """

    enter: IntegerMap
    u_bits: int
    condense: IntegerMap
    widen: IntegerAffine
    into: IntegerMap
    into_bits: int
    out: IntegerMap
    out_bits: int
    rates: np.ndarray
    rate_bits: int
    skips: np.ndarray
    skip_bits: int

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: h = exp(-d rate) h + d u B, y = C h + skip u."""
        u = narrowed(self.enter.product(x), HANDED_ON)
        few, into, out = (
            narrowed(map.product(u), HANDED_ON) for map in (self.condense, self.into, self.out)
        )
        length = step_length(saturated(self.widen.sum(few)))
        fades = rounded(length[:, :, None] * rate_of(self.rates), self.rate_bits)
        lost = _ONE - decay_of(saturated(fades))
        entered = rounded((length * u)[:, :, None] * into[:, None, :], self._enter_down)
        h = state[self.leaf].reshape(lost.shape)
        h = saturated(h - times(lost, h) + entered)
        state[self.leaf] = h.reshape(len(h), -1)
        sums = rounded((out[:, None, :] * h).sum(2), self._out_down)
        return narrowed(sums + rounded(self.skips * u, self._skip_down), HANDED_ON)

    @property
    def _enter_down(self) -> int:
        return LENGTH_BITS + self.u_bits + self.into_bits - self.state_bits

    @property
    def _out_down(self) -> int:
        return self.out_bits + self.state_bits - self.bits - HANDED_ON

    @property
    def _skip_down(self) -> int:
        return self.skip_bits + self.u_bits - self.bits - HANDED_ON

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        name, (units, each), rank = self.name, self.rates.shape, len(self.condense.weights)
        program.need(units)
        program.most_states = max(program.most_states, each, 2)  # Below 2 nothing is written of it.
        program.most_rank = max(program.most_rank, rank)
        program.gate_numbers(2 * (units + each) + rank)
        maps = [
            write_map(program, f"{name}_{part}", map, f"{name}, {part}")
            for part, map in (
                ("enter", self.enter),
                ("condense", self.condense),
                ("into", self.into),
                ("out", self.out),
            )
        ]
        widen = write_affine(program, f"{name}_widen", self.widen, f"{name}, widen")
        rates = program.table(f"{name}_rates", self.rates.ravel(), f"rates of {name}")
        skips = program.table(f"{name}_skips", self.skips, f"skips of {name}")
        downs = (self.rate_bits, self._enter_down, self._out_down, self._skip_down)
        fields = (units, each, rank, *downs, *maps, widen, rates, skips)
        of = define(program, "integer_selective", name, *fields)
        y = program.buffer(f"{name}_y", units)
        program.call("selective", of, y, self.state(program), x)
        return y


def rounded_rates(rates: Array) -> tuple[np.ndarray, int]:
    """Return rates as `rate_of` reads them, and the bits of the units that it gives them in.

    All are right to 1 part in 4096 down to 2^-15 of the largest; far smaller ones are not reached.
    """
    most = min(max(float(rates.max()), 1e-9), _LARGEST_RATE)
    bits = math.floor(math.log2(_LARGEST_RATE / most))
    values = np.clip(rates.astype(np.float64) * 2.0**bits, 2048, _LARGEST_RATE)
    doublings = np.floor(np.log2(values)) - 11
    # What is rounded up to 4096 is the first one of the next doubling.
    found = (doublings - 1) * 2048 + np.rint(values / 2.0**doublings)
    return found.clip(0, 32767).astype(np.int16), bits
