"""Linear recurrences whose states do not see each other: minGRU, minLSTM, LRU, RG-LRU, S5, others.

What a factor is made of is rounded to float32 where torch rounds it: it is applied once a step, so
a stream would drift from the trained model's by any difference in it. The equations are in the
docstrings of the layers of the same names in `layers`.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from throughtime.runtime.layer import (
    Array,
    Layer,
    Leaf,
    Linear,
    State,
    Weights,
    affine,
    log_sigmoid,
    root_mean_square_norm,
    sigmoid,
    silu,
    softplus,
)


class _Diagonal(Layer):
    """h = a h + b, elementwise; with negative eigenvalues h = (2 a - 1) h + b."""

    options = ("negative_eigenvalues",)

    def __init__(
        self,
        input_size: int,
        output_size: int,
        state_size: int,
        *,
        negative_eigenvalues: bool = False,
    ) -> None:
        self.input_size, self.output_size = input_size, output_size
        self.leaves = (Leaf("state", (state_size,)),)
        self.negative_eigenvalues = negative_eigenvalues

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        a, b = self.coefficients(x)
        if self.negative_eigenvalues:
            a = 2 * a - 1
        h = a * state[0] + b
        return self.read_out(h, x), [h]

    def coefficients(self, x: Array) -> tuple[Array, Array]:
        """Return a and b, (B, N) each."""
        raise TypeError(f"{type(self).__name__} must define coefficients(x)")

    def read_out(self, h: Array, x: Array) -> Array:
        """Return y (B, D)."""
        return h


class MinGRU(_Diagonal):
    """The minimal gated recurrent unit."""

    def __init__(
        self, weights: Weights, input_size: int, hidden_size: int, **options: bool
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size, **options)
        self.update_gate = Linear(weights.part("update_gate"), input_size, hidden_size)
        self.candidate = Linear(weights.part("candidate"), input_size, hidden_size)

    def coefficients(self, x: Array) -> tuple[Array, Array]:
        """Return a and b, (B, H) each."""
        update = sigmoid(self.update_gate(x))
        return 1 - update, update * self.candidate(x)


class MinLSTM(_Diagonal):
    """The minimal long short-term memory."""

    def __init__(
        self, weights: Weights, input_size: int, hidden_size: int, **options: bool
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size, **options)
        self.forget_gate = Linear(weights.part("forget_gate"), input_size, hidden_size)
        self.input_gate = Linear(weights.part("input_gate"), input_size, hidden_size)
        self.candidate = Linear(weights.part("candidate"), input_size, hidden_size)

    def coefficients(self, x: Array) -> tuple[Array, Array]:
        """Return a and b, (B, H) each."""
        keep = sigmoid(log_sigmoid(self.forget_gate(x)) - log_sigmoid(self.input_gate(x)))
        return keep, (1 - keep) * self.candidate(x)


class RGLRU(_Diagonal):
    """The real-gated linear recurrent unit."""

    def __init__(
        self, weights: Weights, input_size: int, hidden_size: int, **options: bool
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size, **options)
        self.enter = Linear(weights.part("enter"), input_size, hidden_size)
        self.gate_weights = weights.take("gate_weights", 2, 1, hidden_size, hidden_size)
        self.gate_biases = weights.take("gate_biases", 2, hidden_size)
        rate = weights.take("rate", hidden_size)
        self.log_rate = _rounded(lambda wide: -np.logaddexp(0, -wide), rate)

    def coefficients(self, x: Array) -> tuple[Array, Array]:
        """Return a and b, (B, H) each."""
        u = self.enter(x)
        gates = zip(self.gate_weights[:, 0], self.gate_biases, strict=True)
        forget, enter = (sigmoid(u @ weight + bias) for weight, bias in gates)
        log_a = np.float32(_SHARPNESS) * forget * self.log_rate
        share = np.sqrt(-np.expm1(2 * log_a) + np.float32(_TINY))
        return np.exp(log_a), share * (enter * u)


class HGRN(_Diagonal):
    """The hierarchically gated recurrent network's layer, with a lower bound of zero."""

    def __init__(
        self, weights: Weights, input_size: int, hidden_size: int, **options: bool
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size, **options)
        self.forget_gate = Linear(weights.part("forget_gate"), input_size, hidden_size)
        self.candidate = Linear(weights.part("candidate"), input_size, hidden_size)
        self.output_gate = Linear(weights.part("output_gate"), input_size, hidden_size)
        self.gain = weights.part("norm").take("weight", hidden_size)
        self.leave = Linear(weights.part("leave"), hidden_size, hidden_size)

    def coefficients(self, x: Array) -> tuple[Array, Array]:
        """Return a and b, (B, H) each."""
        enter = sigmoid(-self.forget_gate(x))
        return 1 - enter, enter * silu(self.candidate(x))

    def read_out(self, h: Array, x: Array) -> Array:
        """Return y (B, D)."""
        normal = root_mean_square_norm(h, self.gain, _EPSILON)
        return self.leave(silu(self.output_gate(x)) * normal)


class SelectiveSSM(_Diagonal):
    """The selective state space, with 16 states for each channel."""

    def __init__(
        self, weights: Weights, input_size: int, hidden_size: int, **options: bool
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size * _STATES, **options)
        rank = math.ceil(hidden_size / 16)
        self.enter = Linear(weights.part("enter"), input_size, hidden_size, bias=False)
        self.narrow = Linear(weights.part("narrow"), hidden_size, rank, bias=False)
        self.step_length = Linear(weights.part("step_length"), rank, hidden_size)
        self.write = Linear(weights.part("write"), hidden_size, _STATES, bias=False)
        self.read = Linear(weights.part("read"), hidden_size, _STATES, bias=False)
        self.rate = _rounded(np.exp, weights.take("log_rate", hidden_size, _STATES))
        self.skip = weights.take("skip", hidden_size)

    def coefficients(self, x: Array) -> tuple[Array, Array]:
        """Return a and b, (B, H N) each."""
        u = self.enter(x)
        length = softplus(self.step_length(self.narrow(u)))
        keep = np.exp(-length[:, :, None] * self.rate)
        entered = (length * u)[:, :, None] * self.write(u)[:, None, :]
        return keep.reshape(len(x), -1), entered.reshape(len(x), -1)

    def read_out(self, h: Array, x: Array) -> Array:
        """Return y (B, D)."""
        u = self.enter(x)
        states = h.reshape(len(h), self.output_size, _STATES)
        read = (states @ self.read(u)[:, :, None])[:, :, 0]
        y: Array = read + self.skip * u
        return y


class _Complex(Layer):
    """A diagonal recurrence of N complex numbers, kept as pairs of real and imaginary part.

    Attributes:
        a: (N,) complex64, eigenvalues.
        factor: (N,) complex64, what the input's product is multiplied by.
        leave: (2, N, D), real and imaginary part of the matrix that reads out.
    """

    a: Array
    factor: Array

    def __init__(self, weights: Weights, input_size: int, hidden_size: int) -> None:
        # The number of states is that of outputs, as layers are made by their names.
        self.input_size, self.output_size = input_size, hidden_size
        self.leaves = (Leaf("state", (2 * hidden_size,)),)
        self.enter = weights.take("enter", 2, hidden_size, input_size)
        self.leave = weights.take("leave", 2, hidden_size, hidden_size)
        self.skip = weights.take("skip", hidden_size, input_size)

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        pairs = np.ascontiguousarray(state[0]).view(np.complex64)
        entered = affine(x, self.enter[0]) + 1j * affine(x, self.enter[1])
        h = self.a * pairs + self.factor * entered.astype(np.complex64, copy=False)
        read = h.real @ self.leave[0] - h.imag @ self.leave[1]
        y: Array = self.out(read) + affine(x, self.skip)
        return y, [h.view(np.float32)]

    def out(self, read: Array) -> Array:
        """Return what is put out of the real part of what was read."""
        return read


class LRU(_Complex):
    """The linear recurrent unit."""

    def __init__(self, weights: Weights, input_size: int, hidden_size: int) -> None:
        super().__init__(weights, input_size, hidden_size)
        decay = _rounded(np.exp, weights.take("log_decay", hidden_size))
        angle = _rounded(np.exp, weights.take("log_angle", hidden_size))
        radius = _rounded(lambda wide: np.exp(-wide), decay)
        real = radius * _rounded(np.cos, angle)
        imaginary = radius * _rounded(np.sin, angle)
        self.a = (real + 1j * imaginary).astype(np.complex64)
        shrunk = _rounded(lambda wide: -np.expm1(-2 * wide), decay)
        self.factor = np.sqrt(shrunk)


class S5(_Complex):
    """A diagonal state space, sampled at steps of a learned length."""

    def __init__(self, weights: Weights, input_size: int, hidden_size: int) -> None:
        super().__init__(weights, input_size, hidden_size)
        decay = _rounded(np.exp, weights.take("log_decay", hidden_size))
        frequency = weights.take("frequency", hidden_size)
        eigenvalue = (-decay + 1j * frequency).astype(np.complex64)
        length = _rounded(np.exp, weights.take("log_step", hidden_size))
        exponent = eigenvalue * length
        self.a = np.exp(exponent.astype(np.complex128)).astype(np.complex64)
        self.factor = (self.a - np.float32(1)) / eigenvalue

    def out(self, read: Array) -> Array:
        """Return twice the real part: each state stands for a pair of conjugates."""
        return 2 * read


def _rounded(function: Callable[[Array], Array], values: Array) -> Array:
    """Return a function of float32 values, rounded once, as a good float32 function would be."""
    return np.asarray(function(values.astype(np.float64))).astype(np.float32)


_SHARPNESS, _TINY = 8.0, 1e-12
"""Of the RG-LRU: how strongly it forgets, and what its square root is kept above."""

_EPSILON = 1e-6
"""Of the HGRN: keeps the norm of a state of zeros finite."""

_STATES = 16
"""Of the selective state space: states of each channel."""

LAYERS: Mapping[str, type[Layer]] = {
    "min_gru": MinGRU,
    "min_lstm": MinLSTM,
    "lru": LRU,
    "rg_lru": RGLRU,
    "s5": S5,
    "selective": SelectiveSSM,
    "hgrn": HGRN,
}
