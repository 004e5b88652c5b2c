"""LSTM and GRU with normalised gates in whole numbers: twins of the C files of their names."""

from dataclasses import dataclass

import numpy as np

from throughtime.export.c.int8.layer import IntegerLayer, Lanes, define, write_map
from throughtime.export.c.int8.maps import IntegerMap
from throughtime.export.c.int8.numbers import (
    GATE_BITS,
    PRE_BITS,
    Whole,
    by_root_mean_square,
    centre,
    hyperbolic_tangent,
    narrowed,
    rounded,
    saturated,
    sigmoid,
    times,
)
from throughtime.export.c.program import Program

_EPSILON = 10995116
"""1e-5 in units of 2^-40."""


@dataclass(frozen=True)
class Norm:
    """Gains and biases of what is normalised: `source/integer_norm.c`.

    Attributes:
        gains: int16, in units of 2^-bits.
        biases: int16, in units of 2^bias_bits of the sums.
    """

    gains: np.ndarray
    biases: np.ndarray
    bits: int
    bias_bits: int

    def normalise(self, values: Whole, bits: int, part: slice) -> Whole:
        """Return gain (values - mean) / deviation + bias, of (B, N) in units of 2^-bits."""
        shares = by_root_mean_square(centre(values), bits, _EPSILON) * self.gains[part].astype(
            np.int64
        )
        biases = self.biases[part].astype(np.int64) * (1 << self.bias_bits)
        return saturated(rounded(shares, self.bits) + biases)

    def write(self, program: Program, name: str, about: str, bits: int = PRE_BITS) -> str:
        """Add the tables; return them as an initialiser of `integer_norm` of units of 2^-bits."""
        gains = program.table(f"{name}_gains", self.gains, f"gains of {about}")
        biases = program.table(f"{name}_biases", self.biases, f"biases of {about}")
        return f"{{{gains}, {biases}, {self.bits}, {self.bias_bits}, {bits}}}"


@dataclass(frozen=True)
class Normalised(IntegerLayer):
    """A layer of normalised gates: `source/normalised_layer.c`."""

    units: int
    from_x: IntegerMap
    from_h: IntegerMap
    of_x: Norm
    of_h: Norm
    first: dict[str, np.ndarray]

    def start(self) -> dict[str, np.ndarray]:
        """Return the leaves of a fresh state."""
        return self.first

    def shares(self, x: Whole, h: Whole) -> list[tuple[Whole, Whole]]:
        """Return what x and what h add to each gate, (B, H) each."""
        units = self.units
        of_x, of_h = saturated(self.from_x.product(x)), saturated(self.from_h.product(h))
        parts = [slice(first, first + units) for first in range(0, of_x.shape[1], units)]
        return [
            (
                self.of_x.normalise(of_x[:, part], PRE_BITS, part),
                self.of_h.normalise(of_h[:, part], PRE_BITS, part),
            )
            for part in parts
        ]

    def define(self, program: Program) -> str:
        """Add the constants to a program; return the address of the `normalised_layer`."""
        program.need(self.units)
        program.gate_numbers(len(self.from_x.weights))
        maps = [
            write_map(program, f"{self.name}_{part}", each, f"{self.name}, {part}")
            for part, each in (("x", self.from_x), ("h", self.from_h))
        ]
        norms = [
            each.write(program, f"{self.name}_of_{part}", f"{self.name}, {part}")
            for part, each in (("x", self.of_x), ("h", self.of_h))
        ]
        return define(program, "normalised_layer", self.name, self.units, *maps, *norms)

    def leaves(self, program: Program) -> list[str]:
        """Add the leaves to a program; return how C gets at each."""
        return [program.state(name, len(each), each) for name, each in self.first.items()]


@dataclass(frozen=True)
class IntegerLayerNormLSTM(Normalised):
    """The LSTM with normalised gates and cell: `source/layer_norm_lstm.c`."""

    cell_bits: int
    of_cell: Norm

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: c = f c + i g, h = o tanh(norm(c))."""
        h, c = self.first
        i, f, g, o = (of_x + of_h for of_x, of_h in self.shares(x, state[h]))
        kept = times(sigmoid(f), state[c])
        entered = rounded(sigmoid(i) * hyperbolic_tangent(g), 60 - self.cell_bits)
        state[c] = saturated(kept + entered)
        read = self.of_cell.normalise(state[c], self.cell_bits, slice(None))
        state[h] = narrowed(sigmoid(o) * hyperbolic_tangent(read), 45)
        return state[h]

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        h, c = self.leaves(program)
        of = self.define(program)
        about = f"the cell of {self.name}"
        inner = self.of_cell.write(program, f"{self.name}_cell", about, self.cell_bits)
        program.layers.append(f"static const integer_norm {self.name}_cell = {inner};")
        program.call("layer_norm_lstm", of, f"&{self.name}_cell", self.cell_bits, h, c, x)
        return h


@dataclass(frozen=True)
class IntegerLayerNormGRU(Normalised):
    """The GRU with normalised gates: `source/layer_norm_gru.c`."""

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: n = tanh(a + r b), h = n + z (h - n)."""
        (h,) = self.first
        of_r, of_z, (a, b) = self.shares(x, narrowed(state[h], 15))
        r, z = narrowed(sigmoid(of_r[0] + of_r[1]), 15), sigmoid(of_z[0] + of_z[1])
        n = narrowed(hyperbolic_tangent(a + rounded(r * b, 15)), 15) * 32768
        state[h] = n + times(z, state[h] - n)
        return narrowed(state[h], GATE_BITS - 15)

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        (h,) = self.leaves(program)
        program.gate_numbers(4 * self.units)  # Of n there are two, since r is a factor of one.
        y = program.buffer(f"{self.name}_y", self.units)
        program.call("layer_norm_gru", self.define(program), y, h, x)
        return y
