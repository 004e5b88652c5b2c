"""LSTM with peepholes and with a projection in whole numbers: the twins of their C files."""

from dataclasses import dataclass

import numpy as np

from throughtime.export.c.int8.classic import Gated
from throughtime.export.c.int8.layer import HANDED_ON, Lanes, write_affine
from throughtime.export.c.int8.maps import IntegerAffine
from throughtime.export.c.int8.numbers import (
    Whole,
    hyperbolic_tangent,
    narrowed,
    rounded,
    saturated,
    sigmoid,
    times,
)
from throughtime.export.c.program import Program


@dataclass(frozen=True)
class IntegerPeepholeLSTM(Gated):
    """The LSTM whose gates see the cell: `source/peephole_lstm.c`.

    Attributes:
        cell_bits: the cell is in units of 2^-cell_bits.
        peepholes: (3, H) int16 of i, f and o.
        of_cell: their products with the cell are in units of 2^-of_cell of those of the sums.
    """

    cell_bits: int
    peepholes: np.ndarray
    of_cell: int

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: c = f c + i g, h = o tanh(c), where i, f and o see c."""
        h, c = self.first
        of_i, of_f, of_o = self.peepholes.astype(np.int64)
        into, forget, g, out = self.gate_sums(x, state[h])
        i = sigmoid(into + rounded(of_i * state[c], self.of_cell))
        f = sigmoid(forget + rounded(of_f * state[c], self.of_cell))
        entered = rounded(i * hyperbolic_tangent(g), 60 - self.cell_bits)
        state[c] = saturated(times(f, state[c]) + entered)
        o = sigmoid(out + rounded(of_o * state[c], self.of_cell))
        state[h] = narrowed(o * hyperbolic_tangent(rounded(state[c], self.cell_bits - 16)), 45)
        return state[h]

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        h, c = self.leaves(program)
        of = self.define(program)
        about = f"peepholes of {self.name}"
        table = program.table(f"{self.name}_peepholes", self.peepholes.ravel(), about)
        program.call("peephole_lstm", of, table, self.of_cell, self.cell_bits, h, c, x)
        return h


@dataclass(frozen=True)
class IntegerProjectedLSTM(Gated):
    """The LSTM with a projection of its cells: `source/projected_lstm.c`.

    Attributes:
        cell_bits: the cell is in units of 2^-cell_bits.
        projection: from cells to h.
    """

    cell_bits: int
    projection: IntegerAffine

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: c = f c + i g, h = R (o tanh(c))."""
        h, c = self.first
        i, f, g, o = self.gate_sums(x, state[h])
        entered = rounded(sigmoid(i) * hyperbolic_tangent(g), 60 - self.cell_bits)
        state[c] = saturated(times(sigmoid(f), state[c]) + entered)
        read = hyperbolic_tangent(rounded(state[c], self.cell_bits - 16))
        shown = narrowed(sigmoid(o) * read, 45)
        state[h] = narrowed(self.projection.sum(shown), HANDED_ON)
        return state[h]

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        h, c = self.leaves(program)
        of = self.define(program)
        name = f"{self.name}_projection"
        inner = write_affine(program, name, self.projection, f"{self.name}, R")
        program.layers.append(f"static const integer_affine {name} = {inner};")
        outputs = len(self.projection.map.weights)
        program.call("projected_lstm", of, f"&{name}", outputs, self.cell_bits, h, c, x)
        return h
