"""RNN, LSTM and GRU in whole numbers: each class is the twin of the C file of its name."""

from dataclasses import dataclass

import numpy as np

from throughtime.export.c.int8.layer import (
    SIGNAL_BITS,
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
    hyperbolic_tangent,
    narrowed,
    rounded,
    saturated,
    sigmoid,
    times,
)
from throughtime.export.c.program import Program


@dataclass(frozen=True)
class Gated(IntegerLayer):
    """A layer of gates.

    Attributes:
        units: H.
        from_x: (G*H, F), with biases.
        from_h: (G*H, H).
        first: the leaves of a fresh state.
    """

    units: int
    from_x: IntegerAffine
    from_h: IntegerMap
    first: dict[str, np.ndarray]

    def start(self) -> dict[str, np.ndarray]:
        """Return the leaves of a fresh state."""
        return self.first

    def gate_sums(self, x: Whole, h: Whole) -> list[Whole]:
        """Return the sums (B, H) of each gate: `gate_sum` for every unit."""
        sums = saturated(self.from_x.sum(x) + self.from_h.product(h))
        return np.split(sums, sums.shape[1] // self.units, axis=1)

    def define(self, program: Program) -> str:
        """Add the constants to a program; return the address of the `integer_layer`."""
        program.need(self.units)
        program.gate_numbers(len(self.from_x.map.weights))
        from_x = write_affine(program, f"{self.name}_x", self.from_x, f"{self.name}, W")
        from_h = write_map(program, f"{self.name}_h", self.from_h, f"{self.name}, V")
        return define(program, "integer_layer", self.name, self.units, from_x, from_h)

    def leaves(self, program: Program) -> list[str]:
        """Add the leaves to a program; return how C gets at each."""
        return [program.state(name, len(each), each) for name, each in self.first.items()]


@dataclass(frozen=True)
class IntegerRNN(Gated):
    """Elman's network: `source/rnn.c`, or with a rectifier `source/rnn_relu.c`."""

    relu: bool

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: h = tanh(W x + V h + b)."""
        (h,) = self.first
        (sums,) = self.gate_sums(x, state[h])
        if self.relu:
            state[h] = narrowed(np.maximum(sums, 0) << 15, 15 + PRE_BITS - self.bits)
        else:
            state[h] = narrowed(hyperbolic_tangent(sums), GATE_BITS - SIGNAL_BITS)
        return state[h]

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        (h,) = self.leaves(program)
        of = self.define(program)
        if self.relu:
            program.call("rnn_relu", of, self.bits, h, x)
        else:
            program.call("rnn", of, h, x)
        return h


@dataclass(frozen=True)
class IntegerLSTM(Gated):
    """The LSTM, `source/lstm.c`, and that with one gate for both, `source/coupled_lstm.c`.

    Attributes:
        cell_bits: the cell is in units of 2^-cell_bits.
        coupled: whether as much is let in as is forgotten.
    """

    cell_bits: int
    coupled: bool

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: c = f c + i g, h = o tanh(c)."""
        h, c = self.first
        bits = self.cell_bits
        sums = self.gate_sums(x, state[h])
        if self.coupled:
            f, g, o = sigmoid(sums[0]), hyperbolic_tangent(sums[1]), sigmoid(sums[2])
            i = (1 << GATE_BITS) - f
        else:
            i, f = sigmoid(sums[0]), sigmoid(sums[1])
            g, o = hyperbolic_tangent(sums[2]), sigmoid(sums[3])
        state[c] = saturated(times(f, state[c]) + rounded(i * g, 60 - bits))
        state[h] = narrowed(o * hyperbolic_tangent(rounded(state[c], bits - 16)), 45)
        return state[h]

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        h, c = self.leaves(program)
        kind = "coupled_lstm" if self.coupled else "lstm"
        program.call(kind, self.define(program), self.cell_bits, h, c, x)
        return h


@dataclass(frozen=True)
class IntegerGRU(Gated):
    """The gated recurrent unit: `source/gru.c`. There are H more biases, d, behind the others."""

    def step(self, state: Lanes, x: Whole) -> Whole:
        """Make a step: n = tanh(W x + b + r (V h + d)), h = n + z (h - n)."""
        (h,) = self.first
        units = self.units
        y = narrowed(state[h], 15)
        of_x, of_h = self.from_x.sum(x), self.from_h.product(y)
        r = sigmoid(saturated(of_x + of_h)[:, :units])
        z = sigmoid(saturated(of_x + of_h)[:, units : 2 * units])
        from_h = self.from_x.bias()[3 * units :] + of_h[:, 2 * units :]
        n = hyperbolic_tangent(saturated(of_x[:, 2 * units :] + times(r, saturated(from_h))))
        state[h] = n + times(z, state[h] - n)
        return narrowed(state[h], 15)

    def write(self, program: Program, x: str) -> str:
        """Add the call."""
        (h,) = self.leaves(program)
        y = program.buffer(f"{self.name}_y", self.units)
        program.call("gru", self.define(program), y, h, x)
        return y
