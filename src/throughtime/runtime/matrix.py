"""Layers with a matrix for a memory, and the sLSTM: mLSTM, gated DeltaNet, RWKV-7.

Each head writes to and reads from a matrix (d, d), keys before values. The equations are in the
docstrings of the layers of the same names in `layers`; the heads are as many as layers have that
are made by their names.
"""

import math
from collections.abc import Mapping

import numpy as np

from throughtime.runtime.layer import (
    Array,
    Layer,
    Leaf,
    Linear,
    State,
    Weights,
    log_sigmoid,
    sigmoid,
    silu,
    size_of_head,
    softplus,
)

_HEADS = 4
_SHORTEST, _LEAST_SQUARE = np.float32(1e-6), np.float32(1e-5)
"""What is added to squares before they are divided by, so that rounding is not blown up."""


class SLSTM(Layer):
    """An LSTM with an exponential input gate and a normalised cell; one head."""

    def __init__(self, weights: Weights, input_size: int, hidden_size: int) -> None:
        self.input_size, self.output_size = input_size, hidden_size
        self.leaves = tuple(Leaf(name, (hidden_size,)) for name in ("h", "c", "n", "m"))
        self.enter = Linear(weights.part("enter"), input_size, 4 * hidden_size)
        self.within = weights.take("recurrent_weights", 4, 1, hidden_size, hidden_size)[:, 0]

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        h, c, n, m = state
        entered = self.enter(x).reshape(len(x), 4, self.output_size)
        sums = entered + (h[:, None, None, :] @ self.within)[:, :, 0]
        z, log_i, f, o = sums.transpose(1, 0, 2)
        before = log_sigmoid(f) + m
        # A cell with nothing in it has no scale yet.
        m = np.where(n == 0, log_i, np.maximum(before, log_i))
        keep, share = np.exp(before - np.maximum(before, m)), np.exp(log_i - m)
        c = keep * c + share * np.tanh(z)
        n = keep * n + share
        h = sigmoid(o) * c / n
        return h, [h, c, n, m]


class _Heads(Layer):
    """A layer of h heads of d units."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.input_size, self.output_size = input_size, hidden_size
        self.size = size_of_head(hidden_size, _HEADS)

    def split(self, x: Array) -> Array:
        """Return (B, h, d) from (B, H)."""
        return x.reshape(len(x), _HEADS, self.size)


class MLSTM(_Heads):
    """An LSTM with a matrix for a cell."""

    def __init__(self, weights: Weights, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        size = self.size
        self.leaves = (
            Leaf("c", (_HEADS, size, size)),
            Leaf("n", (_HEADS, size)),
            Leaf("m", (_HEADS,)),
        )
        self.query, self.key, self.value = (
            Linear(weights.part(name), input_size, hidden_size, bias=False)
            for name in ("query", "key", "value")
        )
        self.input_gate = Linear(weights.part("input_gate"), input_size, _HEADS)
        self.forget_gate = Linear(weights.part("forget_gate"), input_size, _HEADS)
        self.output_gate = Linear(weights.part("output_gate"), input_size, hidden_size)

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        c, n, m = state
        q, k, v = (self.split(each(x)) for each in (self.query, self.key, self.value))
        k = k / np.float32(self.size**0.5)
        before = log_sigmoid(self.forget_gate(x)) + m
        log_i = self.input_gate(x)
        after = np.maximum(before, log_i)
        keep, enter = np.exp(before - after)[:, :, None], np.exp(log_i - after)[:, :, None]
        n = keep * n + enter * k
        c = keep[..., None] * c + (enter * k)[..., None] * v[:, :, None, :]
        overlap = np.abs((q * n).sum(axis=-1, keepdims=True))
        divisor = np.maximum(overlap, np.exp(-after.clip(-80.0, 13.8))[:, :, None])
        read = (q[..., None] * c).sum(axis=-2) / divisor
        return sigmoid(self.output_gate(x)) * read.reshape(len(x), -1), [c, n, after]


class GatedDeltaNet(_Heads):
    """A matrix memory that forgets, and overwrites what it has under a key."""

    options = ("negative_eigenvalues",)

    def __init__(
        self,
        weights: Weights,
        input_size: int,
        hidden_size: int,
        *,
        negative_eigenvalues: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.most_written = 2 if negative_eigenvalues else 1
        self.leaves = (Leaf("s", (_HEADS, self.size, self.size)),)
        self.query, self.key, self.value, self.output_gate = (
            Linear(weights.part(name), input_size, hidden_size, bias=False)
            for name in ("query", "key", "value", "output_gate")
        )
        self.forget_gate = Linear(weights.part("forget_gate"), input_size, _HEADS)
        self.write_gate = Linear(weights.part("write_gate"), input_size, _HEADS)
        self.scale = weights.take("scale", hidden_size)
        self.leave = Linear(weights.part("leave"), hidden_size, hidden_size, bias=False)
        self.rate = np.exp(weights.take("log_rate", _HEADS))

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        keep = np.exp(-softplus(self.forget_gate(x)) * self.rate)[:, :, None]
        beta = self.most_written * sigmoid(self.write_gate(x))[:, :, None]
        q, k, v = (silu(self.split(each(x))) for each in (self.query, self.key, self.value))
        q, k = _unit(q), _unit(k)
        s = keep[..., None] * state[0]
        held = (k[..., None] * s).sum(axis=-2)
        s = s + k[..., None] * (beta * (v - held))[:, :, None, :]
        read = _normalised((q[..., None] * s).sum(axis=-2)).reshape(len(x), -1)
        return self.leave(silu(self.output_gate(x)) * (self.scale * read)), [s]


class RWKV7(_Heads):
    """The time mixing of RWKV-7."""

    def __init__(self, weights: Weights, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.leaves = (
            Leaf("s", (_HEADS, self.size, self.size)),
            Leaf("previous", (input_size,)),
        )
        self.mix = weights.take("mix", 6, input_size)
        self.receptance, self.key, self.value = (
            Linear(weights.part(name), input_size, hidden_size, bias=False)
            for name in ("receptance", "key", "value")
        )
        self.decay, self.rate, self.output_gate = (
            Linear(weights.part(name), input_size, hidden_size)
            for name in ("decay", "rate", "output_gate")
        )
        self.removal, self.replacement, self.bonus, self.scale = (
            weights.take(name, hidden_size) for name in ("removal", "replacement", "bonus", "scale")
        )
        self.leave = Linear(weights.part("leave"), hidden_size, hidden_size, bias=False)

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        s, previous = state
        at = x + self.mix[:, None, :] * (previous - x)
        w = np.exp(-_FASTEST * sigmoid(self.decay(at[3])))
        rate = sigmoid(self.rate(at[4]))
        maps = zip((self.receptance, self.key, self.value), at, strict=False)
        r, k, v = (each(mixed) for each, mixed in maps)
        removed = _unit(self.split(self.removal * k))
        k = k * (1 + self.replacement * (rate - 1))
        w, r, rate, k, v = (self.split(each) for each in (w, r, rate, k, v))
        held = (removed[..., None] * s).sum(axis=-2)
        s = w[..., None] * s - (rate * removed)[..., None] * held[:, :, None, :]
        s = s + k[..., None] * v[:, :, None, :]
        read = _normalised((r[..., None] * s).sum(axis=-2))
        scale, bonus = (each.reshape(_HEADS, self.size) for each in (self.scale, self.bonus))
        read = read * scale + (r * bonus * k).sum(axis=-1, keepdims=True) * v
        gated = sigmoid(self.output_gate(at[5])) * read.reshape(len(x), -1)
        return self.leave(gated), [s, x]


def _unit(x: Array) -> Array:
    """Return x with its last axis scaled to length one."""
    result: Array = x / np.sqrt(np.square(x).sum(axis=-1, keepdims=True) + _SHORTEST)
    return result


def _normalised(read: Array) -> Array:
    """Return what each head has read with a mean square of one."""
    result: Array = read / np.sqrt(np.square(read).mean(axis=-1, keepdims=True) + _LEAST_SQUARE)
    return result


_FASTEST = np.float32(math.exp(-0.5))
"""Largest -log w of RWKV-7."""

LAYERS: Mapping[str, type[Layer]] = {
    "slstm": SLSTM,
    "mlstm": MLSTM,
    "gated_delta": GatedDeltaNet,
    "rwkv7": RWKV7,
}
