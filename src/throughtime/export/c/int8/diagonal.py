"""Linear recurrences in whole numbers: each class is the twin of the C file of its name."""

from dataclasses import dataclass

import numpy as np

from throughtime.export.c.int8.layer import (
    HANDED_ON,
    IntegerLayer,
    Lanes,
    define,
    write_affine,
    write_map,
)
from throughtime.export.c.int8.maps import IntegerAffine, IntegerMap
from throughtime.export.c.int8.numbers import (
    GATE_BITS,
    PRE_BITS,
    Whole,
    by_root_mean_square,
    decay_of,
    fading,
    moved,
    narrowed,
    portion,
    rounded,
    saturated,
    sigmoid,
    silu,
    times,
    whole_root,
)
from throughtime.export.c.program import Program

_ONE = 1 << GATE_BITS

SMALL_EPSILON = 1099512
"""1e-6 in units of 2^-40."""


@dataclass(frozen=True)
class Diagonal(IntegerLayer):
    """A layer whose only leaf is h, from zeros on.

    Attributes:
        states: N, numbers of the state.
        state_bits: h is in units of 2^-state_bits.
    """

    states: int
    state_bits: int

    @property
    def leaf(self) -> str:
        """The name of h."""
        return f"{self.name}_h"

    @property
    def up(self) -> int:
        """Bits by which h is finer than a sum."""
        return self.state_bits - PRE_BITS

    @property
    def down(self) -> int:
        """Bits by which h is finer than y."""
        return self.state_bits - self.bits

    def start(self) -> dict[str, np.ndarray]:
        """Return the leaves of a fresh state."""
        return {self.leaf: np.zeros(self.states, np.int32)}

    def state(self, program: Program) -> str:
        """Add h to a program; return how C gets at it."""
        return program.state(self.leaf, self.states, self.start()[self.leaf])


@dataclass(frozen=True)
class IntegerMinGRU(Diagonal):
    """The minimal GRU: `source/min_gru.c`. The gates z and c have H outputs each."""

    gates: IntegerAffine

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: h = h + z (c - h)."""
        h = state[self.leaf]
        z, c = np.split(saturated(self.gates.sum(x)), 2, axis=1)
        state[self.leaf] = h + times(sigmoid(z), moved(c, self.up) - h)
        return narrowed(state[self.leaf], self.down)

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        return _write_minimal(self, program, "min_gru", x)


@dataclass(frozen=True)
class IntegerMinLSTM(Diagonal):
    """The minimal LSTM: `source/min_lstm.c`. The gates f, i and c have H outputs each."""

    gates: IntegerAffine

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: h = (f h + i c) / (f + i)."""
        f, i, sums = np.split(saturated(self.gates.sum(x)), 3, axis=1)
        c = moved(sums, self.up)
        apart = np.minimum(i, 0) - np.minimum(f, 0)
        forget, enter = _ONE + fading(np.abs(i)), _ONE + fading(np.abs(f))
        share = fading(np.abs(apart))
        enter = np.where(apart < 0, times(share, enter), enter)
        forget = np.where(apart < 0, forget, times(share, forget))
        state[self.leaf] = c + times(portion(forget, enter), state[self.leaf] - c)
        return narrowed(state[self.leaf], self.down)

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        return _write_minimal(self, program, "min_lstm", x)


def _write_minimal(
    layer: IntegerMinGRU | IntegerMinLSTM, program: Program, function: str, x: str
) -> str:
    program.gate_numbers(len(layer.gates.map.weights))
    inner = write_affine(program, layer.name, layer.gates, layer.name)
    program.layers.append(f"static const integer_affine {layer.name} = {inner};")
    y = program.buffer(f"{layer.name}_y", layer.states)
    h = layer.state(program)
    program.call(function, f"&{layer.name}", layer.states, layer.up, layer.down, y, h, x)
    return y


@dataclass(frozen=True)
class IntegerRGLRU(Diagonal):
    """The real-gated linear recurrent unit: `source/rg_lru.c`.

    Attributes:
        enter: from x to u.
        enter_bits: u is in units of 2^-enter_bits.
        gates: r and i, from u.
        rates: (H,) int32, -log(a) where r is 1, in units of 2^-26.
    """

    enter: IntegerAffine
    enter_bits: int
    gates: IntegerAffine
    rates: np.ndarray

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: h = a h + sqrt(1 - a^2) i u."""
        h = state[self.leaf]
        u = narrowed(self.enter.sum(x), HANDED_ON)
        r, i = np.split(sigmoid(saturated(self.gates.sum(u))), 2, axis=1)
        lost = _ONE - decay_of(times(r, self.rates.astype(np.int64)))
        share = whole_root(lost * (2 * _ONE - lost))
        enters = times(share, times(i, moved(u, self.state_bits - self.enter_bits)))
        state[self.leaf] = saturated(h - times(lost, h) + enters)
        return narrowed(state[self.leaf], self.down)

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        program.need(self.states)
        program.gate_numbers(len(self.gates.map.weights))
        enter = write_affine(program, f"{self.name}_enter", self.enter, f"{self.name}, W")
        gates = write_affine(program, f"{self.name}_gates", self.gates, f"{self.name}, V")
        rates = program.table(f"{self.name}_rates", self.rates, f"rates of {self.name}")
        up = self.state_bits - self.enter_bits
        sizes = (self.states, up, self.down)
        of = define(program, "integer_rg_lru", self.name, *sizes, enter, gates, rates)
        y = program.buffer(f"{self.name}_y", self.states)
        program.call("rg_lru", of, y, self.state(program), x)
        return y


@dataclass(frozen=True)
class IntegerRotation(Diagonal):
    """A recurrence of complex states, real parts first: `source/rotation.c`.

    Attributes:
        outputs: D.
        read_bits: `leave` reads h in units of 2^-read_bits.
        enter: from x to h.
        leave: from h to y.
        skip: from x to y.
        factors: (N,) int32, in units of 2^-30.
    """

    outputs: int
    read_bits: int
    enter: IntegerMap
    leave: IntegerMap
    skip: IntegerMap
    factors: np.ndarray

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: h = a h + B x, y = Re(C h) + D x."""
        a, b = np.split(self.factors.astype(np.int64), 2)
        real, imaginary = np.split(state[self.leaf], 2, axis=1)
        turned = np.concatenate([a * real - b * imaginary, a * imaginary + b * real], axis=1)
        h = saturated(rounded(turned, GATE_BITS) + self.enter.product(x))
        state[self.leaf] = h
        read = narrowed(h, self.state_bits - self.read_bits)
        return narrowed(self.leave.product(read) + self.skip.product(x), HANDED_ON)

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        program.gate_numbers(self.states)
        maps = [
            write_map(program, f"{self.name}_{part}", each, f"{self.name}, {part}")
            for part, each in (("enter", self.enter), ("leave", self.leave), ("skip", self.skip))
        ]
        factors = program.table(f"{self.name}_factors", self.factors, f"factors of {self.name}")
        sizes = (self.states // 2, self.outputs, self.state_bits - self.read_bits)
        of = define(program, "integer_rotation", self.name, *sizes, *maps, factors)
        y = program.buffer(f"{self.name}_y", self.outputs)
        read = program.buffer(f"{self.name}_read", self.states)
        program.call("rotation", of, y, read, self.state(program), x)
        return y


@dataclass(frozen=True)
class IntegerHGRN(Diagonal):
    """The hierarchically gated network: `source/hgrn.c`.

    Attributes:
        open: 1 - bound in units of 2^-30.
        gates: f, c and g.
        gains: (H,) int16, in units of 2^-gain_bits.
        gain_bits: see `gains`.
        shown_bits: what `leave` reads is in units of 2^-shown_bits.
        leave: from what is shown to y.
    """

    open: int
    gates: IntegerAffine
    gains: np.ndarray
    gain_bits: int
    shown_bits: int
    leave: IntegerAffine

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: h = f h + (1 - f) c, y = L (g gain h / rms(h)) + l."""
        f, c, g = np.split(saturated(self.gates.sum(x)), 3, axis=1)
        h = state[self.leaf]
        enter = times(self.open, sigmoid(-f))
        h = h + times(enter, moved(silu(c), self.up) - h)
        state[self.leaf] = h
        share = rounded(silu(g) * by_root_mean_square(h, self.state_bits, SMALL_EPSILON), 16)
        shown = narrowed(share * self.gains.astype(np.int64), self._down_to_shown)
        return narrowed(self.leave.sum(shown), HANDED_ON)

    @property
    def _down_to_shown(self) -> int:
        return self.gain_bits + PRE_BITS - self.shown_bits

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        program.need(self.states)
        program.gate_numbers(len(self.gates.map.weights))
        gates = write_affine(program, f"{self.name}_gates", self.gates, f"{self.name}, f, c and g")
        leave = write_affine(program, f"{self.name}_leave", self.leave, f"{self.name}, L")
        gains = program.table(f"{self.name}_gains", self.gains, f"gains of {self.name}")
        sizes = (self.states, self.state_bits, self.shown_bits, self.gain_bits, self.open)
        of = define(program, "integer_hgrn", self.name, *sizes, gates, leave, gains)
        y = program.buffer(f"{self.name}_y", self.states)
        program.call("hgrn", of, y, self.state(program), x)
        return y
