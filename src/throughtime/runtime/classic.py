"""The classic cells and their variants: RNN, LSTM, GRU, and those with something changed in them.

Rows of the parameters are in torch's order: i, f, g, o; r, z, n; f, g, o where input and forget
gate are coupled. The equations are in the docstrings of the layers of the same names in `layers`.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from throughtime.runtime.layer import (
    Array,
    Layer,
    Leaf,
    State,
    Weights,
    affine,
    layer_norm,
    sigmoid,
)


class Classic(Layer):
    """A layer of G gates with torch's four parameters.

    Args:
        weights: its own.
        input_size: F.
        hidden_size: H.
        learned_initial_state: whether the state before the first step is a parameter.
    """

    gates: int
    names: tuple[str, ...] = ("h",)
    options: ClassVar[tuple[str, ...]] = ("learned_initial_state",)
    cell: str | None = None
    """The compiled cell of the same maths."""

    def __init__(
        self,
        weights: Weights,
        input_size: int,
        hidden_size: int,
        *,
        learned_initial_state: bool = False,
    ) -> None:
        self.input_size, self.hidden_size = input_size, hidden_size
        self.output_size = hidden_size
        sizes = self.sizes()
        rows = self.gates * sizes[-1]
        self.leaves = tuple(
            Leaf(name, (size,)) for name, size in zip(self.names, sizes, strict=True)
        )
        self.weight_ih = weights.take("weight_ih", rows, input_size)
        self.weight_hh = weights.take("weight_hh", rows, hidden_size)
        self.bias_ih: Array | None = weights.take("bias_ih", rows)
        self.bias_hh: Array | None = weights.take("bias_hh", rows)
        self.start = (
            weights.take("initial", len(sizes), max(sizes)) if learned_initial_state else None
        )
        self.take_more(weights)

    def sizes(self) -> tuple[int, ...]:
        """Return the size of each leaf; the last is that of a gate."""
        return (self.hidden_size,) * len(self.names)

    def take_more(self, weights: Weights) -> None:
        """Take the weights beyond the four."""

    def initial(self, lanes: int) -> list[Array]:
        """Return zeros, or what was learned."""
        if self.start is None:
            return super().initial(lanes)
        rows = zip(self.start, self.sizes(), strict=True)
        return [np.repeat(row[None, :size], lanes, axis=0) for row, size in rows]

    def from_input(self, x: Array) -> Array:
        """Return the input's share of all gates, (B, G*H)."""
        return affine(x, self.weight_ih, self.bias_ih)

    def from_hidden(self, h: Array) -> Array:
        """Return the state's share of all gates, (B, G*H)."""
        return affine(h, self.weight_hh, self.bias_hh)

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        after = self.advance(self.from_input(x), self.from_hidden(state[0]), state)
        return after[0], after

    def advance(self, enter: Array, hidden: Array, state: State) -> list[Array]:
        """Return the state after, h first, from the shares of all gates."""
        raise TypeError(f"{type(self).__name__} must define advance(enter, hidden, state)")


class RNN(Classic):
    """Elman's network, with tanh."""

    gates = 1
    cell = "rnn_tanh"

    def advance(self, enter: Array, hidden: Array, state: State) -> list[Array]:
        """Take one step."""
        return [np.tanh(enter + hidden)]


class GRU(Classic):
    """The gated recurrent unit."""

    gates = 3
    cell: str | None = "gru"

    def advance(self, enter: Array, hidden: Array, state: State) -> list[Array]:
        """Take one step."""
        both = 2 * self.hidden_size
        gates = sigmoid(enter[:, :both] + hidden[:, :both])
        r, z = gates[:, : self.hidden_size], gates[:, self.hidden_size :]
        n = np.tanh(enter[:, both:] + r * hidden[:, both:])
        return [(1 - z) * n + z * state[0]]


class LSTM(Classic):
    """The long short-term memory."""

    gates = 4
    names = ("h", "c")
    cell: str | None = "lstm"

    def advance(self, enter: Array, hidden: Array, state: State) -> list[Array]:
        """Take one step."""
        i, f, g, o = np.split(enter + hidden, 4, axis=1)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return [self.read(sigmoid(o), c), c]

    def read(self, o: Array, c: Array) -> Array:
        """Return h from the output gate and the cell."""
        result: Array = o * np.tanh(c)
        return result


class ProjectedLSTM(LSTM):
    """An LSTM with twice as many cells as outputs."""

    cell = None

    def sizes(self) -> tuple[int, ...]:
        """Return the sizes of h and c."""
        return self.hidden_size, 2 * self.hidden_size

    def take_more(self, weights: Weights) -> None:
        """Take the projection (H, C)."""
        self.weight_hr = weights.take("weight_hr", self.hidden_size, 2 * self.hidden_size)

    def read(self, o: Array, c: Array) -> Array:
        """Return h from the output gate and the cell."""
        return affine(o * np.tanh(c), self.weight_hr)


class CoupledLSTM(Classic):
    """An LSTM whose input gate is what the forget gate leaves."""

    gates = 3
    names = ("h", "c")

    def advance(self, enter: Array, hidden: Array, state: State) -> list[Array]:
        """Take one step."""
        forget, g, o = np.split(enter + hidden, 3, axis=1)
        f = sigmoid(forget)
        c = f * state[1] + (1 - f) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]


class PeepholeLSTM(Classic):
    """An LSTM whose gates see the cell."""

    gates = 4
    names = ("h", "c")

    def take_more(self, weights: Weights) -> None:
        """Take the peepholes (3, H)."""
        self.peepholes = weights.take("peepholes", 3, self.hidden_size)

    def advance(self, enter: Array, hidden: Array, state: State) -> list[Array]:
        """Take one step."""
        i, f, g, o = np.split(enter + hidden, 4, axis=1)
        of_i, of_f, of_o = self.peepholes
        c = sigmoid(f + of_f * state[1]) * state[1] + sigmoid(i + of_i * state[1]) * np.tanh(g)
        return [sigmoid(o + of_o * c) * np.tanh(c), c]


class _Normalised(Classic):
    """A layer whose gates' sums are normalised, each gate by itself."""

    cell = None

    def take_more(self, weights: Weights) -> None:
        """Take the gains (G*H,)."""
        rows = self.gates * self.hidden_size
        self.gain_ih, self.gain_hh = weights.take("gain_ih", rows), weights.take("gain_hh", rows)

    def from_input(self, x: Array) -> Array:
        """Return the input's share of all gates, (B, G*H)."""
        return self._normal(affine(x, self.weight_ih), self.gain_ih, self.bias_ih)

    def from_hidden(self, h: Array) -> Array:
        """Return the state's share of all gates, (B, G*H)."""
        return self._normal(affine(h, self.weight_hh), self.gain_hh, self.bias_hh)

    def _normal(self, sums: Array, gain: Array, bias: Array | None) -> Array:
        gates = sums.reshape(len(sums), self.gates, self.hidden_size)
        share: Array = layer_norm(gates).reshape(sums.shape) * gain
        return share if bias is None else share + bias


class LayerNormGRU(_Normalised, GRU):
    """A GRU with normalised gates."""

    cell = None


class LayerNormLSTM(_Normalised, LSTM):
    """An LSTM with normalised gates and a normalised cell."""

    cell = None

    def take_more(self, weights: Weights) -> None:
        """Take the gains, and those of the cell."""
        super().take_more(weights)
        self.cell_gain = weights.take("cell_gain", self.hidden_size)
        self.cell_bias = weights.take("cell_bias", self.hidden_size)

    def read(self, o: Array, c: Array) -> Array:
        """Return h from the output gate and the cell."""
        result: Array = o * np.tanh(layer_norm(c) * self.cell_gain + self.cell_bias)
        return result


class EchoState(RNN):
    """A reservoir that is drawn and not trained, with a leak of 1: an RNN without a second bias."""

    options = ()

    def __init__(self, weights: Weights, input_size: int, hidden_size: int) -> None:
        self.input_size, self.hidden_size = input_size, hidden_size
        self.output_size, self.start = hidden_size, None
        self.leaves = (Leaf("h", (hidden_size,)),)
        self.weight_ih = weights.take("weight_ih", hidden_size, input_size)
        self.weight_hh = weights.take("weight_hh", hidden_size, hidden_size)
        self.bias_ih, self.bias_hh = weights.take("bias_ih", hidden_size), None


LAYERS: Mapping[str, type[Layer]] = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "layer_norm_lstm": LayerNormLSTM,
    "layer_norm_gru": LayerNormGRU,
    "peephole_lstm": PeepholeLSTM,
    "coupled_lstm": CoupledLSTM,
    "projected_lstm": ProjectedLSTM,
    "echo_state": EchoState,
}
