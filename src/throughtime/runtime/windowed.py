"""Layers that look back at the last steps: attention, and the convolution over time.

Their state is what they look at. The equations are in the docstrings of the layers of the same
names in `layers`; window, heads and width are those of layers that are made by their names.
"""

from collections.abc import Mapping

import numpy as np

from throughtime.runtime.layer import Array, Layer, Leaf, Linear, State, Weights, size_of_head

_HEADS, _KEPT = 4, 63
"""Of the attention: heads, and steps that are kept; the window has one more, the present."""

_SLOWEST = 10_000.0
"""Of the attention: ratio of the fastest rotation to the slowest."""

_WIDTH = 4
"""Of the convolution: inputs that a step sees."""


class WindowAttention(Layer):
    """Causal attention over the last 64 steps, with its keys and values as the state."""

    def __init__(self, weights: Weights, input_size: int, hidden_size: int) -> None:
        self.input_size, self.output_size = input_size, hidden_size
        self.size = size_of_head(hidden_size, _HEADS)
        kept = (_KEPT, hidden_size)
        self.leaves = (Leaf("keys", kept), Leaf("values", kept), Leaf("steps", (), "int64"))
        self.enter = Linear(weights.part("enter"), input_size, 3 * hidden_size)
        self.leave = Linear(weights.part("leave"), hidden_size, hidden_size)
        pairs = self.size // 2
        angle = np.arange(_KEPT + 1)[:, None] * _SLOWEST ** (-2 * np.arange(pairs) / self.size)
        # (window, 1, pairs): as if the oldest step that is seen were step 0.
        self.cosine = np.cos(angle).astype(np.float32)[:, None]
        self.sine = np.sin(angle).astype(np.float32)[:, None]

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        past_keys, past_values, steps = state
        query, key, value = np.split(self.enter(x)[:, None], 3, axis=-1)
        keys = np.concatenate([past_keys, key], axis=1)
        values = np.concatenate([past_values, value], axis=1)
        turned = _turn(self._split(keys), self.cosine, self.sine)
        asked = _turn(self._split(query), self.cosine[_KEPT:], self.sine[_KEPT:])
        scores = np.einsum("bhd,bshd->bhs", asked[:, 0], turned) / np.float32(self.size**0.5)
        there = np.arange(_KEPT + 1) >= _KEPT - steps[:, None]
        scores = np.where(there[:, None], scores, np.float32(-np.inf))
        share = np.exp(scores - scores.max(axis=-1, keepdims=True))
        share /= share.sum(axis=-1, keepdims=True)
        seen = np.einsum("bhs,bshd->bhd", share, self._split(values))
        y = self.leave(seen.reshape(len(x), -1))
        return y, [keys[:, 1:], values[:, 1:], np.minimum(steps + 1, _KEPT)]

    def _split(self, rows: Array) -> Array:
        return rows.reshape(*rows.shape[:-1], _HEADS, self.size)


class Convolution(Layer):
    """A convolution over the present input and the three before it.

    Args:
        weights: its own.
        input_size: F.
        hidden_size: D.
        depthwise: whether each feature sees itself alone.
    """

    def __init__(
        self, weights: Weights, input_size: int, hidden_size: int, *, depthwise: bool = False
    ) -> None:
        self.input_size, self.output_size = input_size, hidden_size
        self.depthwise = depthwise
        self.leaves = (Leaf("inputs", (_WIDTH - 1, input_size)),)
        taps = weights.part("taps")
        each = 1 if depthwise else input_size
        # The last tap is that of the present input, as in `torch.nn.Conv1d`.
        self.taps = taps.take("weight", hidden_size, each, _WIDTH)
        self.bias = taps.take("bias", hidden_size)

    def step(self, x: Array, state: State) -> tuple[Array, list[Array]]:
        """Take one step."""
        rows = np.concatenate([state[0], x[:, None]], axis=1)
        y: Array = np.repeat(self.bias[None], len(x), axis=0)
        for place in range(_WIDTH - 1, -1, -1):
            tap, seen = self.taps[:, :, place], rows[:, place]
            y += seen * tap[:, 0] if self.depthwise else seen @ tap.T
        return y, [rows[:, 1:]]


def _turn(rows: Array, cosine: Array, sine: Array) -> Array:
    """Turn rows (B, n, heads, d) by angles (n, 1, pairs), pair by pair."""
    pairs = cosine.shape[-1]
    real, imaginary, rest = np.split(rows, (pairs, 2 * pairs), axis=-1)
    turned = (real * cosine - imaginary * sine, real * sine + imaginary * cosine, rest)
    return np.concatenate(turned, axis=-1)


LAYERS: Mapping[str, type[Layer]] = {"attention": WindowAttention, "convolution": Convolution}
