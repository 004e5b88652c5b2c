"""The mLSTM: an LSTM with a matrix for a cell and an exponential input gate."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from throughtime import state as states
from throughtime.layers import gates
from throughtime.layers.heads import (
    MatrixRecurrent,
    Memory,
    Sizes,
    Window,
    log_between,
    split_heads,
)


@states.register
class MLSTMState(NamedTuple):
    """State of an mLSTM: c (B, h, d, d) with keys before values, n (B, h, d), m (B, h).

    What the equations call C and n is c and n times exp(m).
    """

    c: Tensor
    n: Tensor
    m: Tensor


class MLSTM(MatrixRecurrent):
    r"""An LSTM whose heads store values under keys, in a matrix, and read them with queries.

    $$q, k, v = W_q x, \tfrac{1}{\sqrt d} W_k x, W_v x, \quad i = \exp(w_i x + b_i), \quad
      f = \sigma(w_f x + b_f), \quad o = \sigma(W_o x + b_o)$$
    $$C_t = f C_{t-1} + i \, v k^\top, \quad n_t = f n_{t-1} + i \, k, \quad
      y_t = o \odot \frac{C_t q}{\max(|n_t^\top q|, 1)}$$

    (Beck et al. 2024, https://arxiv.org/abs/2405.04517.) Both are kept times exp(-m), where
    $m_t = \max(\log f + m_{t-1}, \log i)$, so that no gate overflows. The paper's projections and
    convolution around the layer are left out, biases of q, k and v are too, and the divisor is at
    least 1e-6 exp(m). O(F H + H d) a step, and H C more in chunks of C = 32; the state is
    H d + H + h floats, for h heads of d units.

    In the battery it solves adding and recall and fails at long recall (0.22), parity (0.50) and s3
    (0.17); it comes to 2.03 nats a character of tiny Shakespeare (`python -m benchmarks.battery
    all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        heads: h; each has a matrix of its own, so that fewer heads store more.

    Raises:
        OptionError: when heads do not divide H.

    Example:
        >>> y, state = MLSTM(3, 8, heads=2)(torch.ones(2, 7, 3))
        >>> y.shape, state.c.shape
        (torch.Size([2, 7, 8]), torch.Size([2, 2, 4, 4]))
    """

    state_class = MLSTMState

    def __init__(self, input_size: int, hidden_size: int, *, heads: int = 4) -> None:
        super().__init__(input_size, hidden_size, heads)
        self.query = nn.Linear(input_size, hidden_size, bias=False)
        self.key = nn.Linear(input_size, hidden_size, bias=False)
        self.value = nn.Linear(input_size, hidden_size, bias=False)
        self.input_gate = nn.Linear(input_size, heads)
        self.forget_gate = nn.Linear(input_size, heads)
        self.output_gate = nn.Linear(input_size, hidden_size)
        with torch.no_grad():
            # As in the paper: heads that remember for 20 steps to 400.
            self.forget_gate.bias.copy_(torch.linspace(3, 6, heads))

    def sizes(self) -> Sizes:
        """Return the shapes of the state's leaves, without their lanes."""
        size = self.head_size
        return (self.heads, size, size), (self.heads, size), (self.heads,)

    def inputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return log f, log i (..., h, 1) and q, k, v (..., h, d) from x (..., F)."""
        log_f = logsigmoid(gates.precise(self.forget_gate(x)))[..., None]
        log_i = gates.precise(self.input_gate(x))[..., None]
        q, k, v = (split_heads(f(x), self.heads) for f in (self.query, self.key, self.value))
        return log_f, log_i, q, k / self.head_size**0.5, v

    def gate_values(self, x: Tensor) -> dict[str, Tensor]:
        """Return f and log i (..., h) and o (..., H) from x (..., F)."""
        log_f, log_i, *_ = self.inputs(x)
        o = gates.sigmoid(self.output_gate(x))
        return {"f": log_f[..., 0].exp(), "log_i": log_i[..., 0], "o": o}

    def write(self, inputs: tuple[Tensor, ...], memory: Memory) -> tuple[Tensor, Memory]:
        """Take one step."""
        (log_f, log_i, q, k, v), (c, n, m) = inputs, memory
        before = log_f + m[..., None]
        after = torch.maximum(before, log_i)
        keep, enter = torch.exp(before - after), torch.exp(log_i - after)
        n = keep * n + enter * k
        c = keep[..., None] * c + (enter * k)[..., None] * v[..., None, :]
        read = (q[..., None] * c).sum(-2) / _divisor((q * n).sum(-1, keepdim=True), after)
        return read, (c, n, after.squeeze(-1))

    def write_chunk(
        self, inputs: tuple[Tensor, ...], memory: Memory, window: Window
    ) -> tuple[Tensor, Memory]:
        """Take C steps."""
        (log_f, log_i, q, k, v), (c, n, m) = inputs, memory
        # m after each step: the largest of what came in and of where the segment began.
        left = log_between(log_f[..., 0]) + log_i.transpose(-1, -2)
        left = left.masked_fill(~window.pairs, -torch.inf)
        carried = window.carried[..., None]
        start = torch.where(carried, m[..., None, None], torch.zeros_like(m[..., None, None]))
        before = start + window.pairs.to(log_f.dtype) @ log_f
        after = torch.maximum(before, left.amax(-1, keepdim=True))
        weights = torch.exp(left - after)
        keep = torch.where(carried, torch.exp(before - after), torch.zeros_like(before))

        scores = weights * (q @ k.transpose(-1, -2))
        divisor = _divisor(scores.sum(-1, keepdim=True) + keep * (q @ n[..., None]), after)
        read = (scores @ v + keep * (q @ c)) / divisor
        entered = k * weights[..., -1, :, None]
        last = keep[..., -1, :]
        n = last * n + entered.sum(-2)
        c = last[..., None] * c + entered.transpose(-1, -2) @ v
        return read, (c, n, after[..., -1, 0])

    def read_out(self, read: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D)."""
        return gates.sigmoid(self.output_gate(x)) * read.flatten(-2)


def _divisor(normaliser: Tensor, m: Tensor) -> Tensor:
    """Return max(|n q|, exp(-m)), with exp kept where its slope is finite."""
    return torch.maximum(normaliser.abs(), torch.exp(-m.clamp(-80.0, 13.8)))
