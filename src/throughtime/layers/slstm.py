"""The sLSTM: an LSTM with an exponential input gate and a normalised cell."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from throughtime import kernels
from throughtime import state as states
from throughtime.layers import gates
from throughtime.layers.heads import check_sizes, size_of_head
from throughtime.recurrent import Recurrent
from throughtime.state import State


@states.register
class SLSTMState(NamedTuple):
    """State of an sLSTM: h, c, n and m, (B, H) each.

    What the equations call c and n is c and n times exp(m).
    """

    h: Tensor
    c: Tensor
    n: Tensor
    m: Tensor


class SLSTM(Recurrent):
    r"""An LSTM that can revise what it stored: a large input outweighs all that came before it.

    $$z = \tanh(\bar z), \quad i = \exp(\bar i), \quad f = \sigma(\bar f), \quad
      o = \sigma(\bar o), \quad \bar g = W_g x + R_g h_{t-1} + b_g$$
    $$c_t = f \odot c_{t-1} + i \odot z, \quad n_t = f \odot n_{t-1} + i, \quad
      y_t = h_t = o \odot c_t / n_t$$

    (Beck et al. 2024, https://arxiv.org/abs/2405.04517.) Both are kept times exp(-m), where
    $m_t = \max(\log f + m_{t-1}, \log i)$, so that no gate overflows; the first step of all takes
    m from i alone. R is block-diagonal by heads. The paper's convolution, group norm and
    projections around the layer are left out. O(F H + H d) a step, one after the other; the state
    is 4 H floats. Rows of the parameters are in the order z, i, f, o.

    In the battery it solves adding, copy, selective copy, long recall, parity and s3; it comes to
    1.90 nats a character of tiny Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        heads: blocks of d = H / heads units that see each other's h.

    Raises:
        OptionError: when heads do not divide H.

    Example:
        >>> y, state = SLSTM(3, 8, heads=2)(torch.ones(2, 7, 3))
        >>> y.shape, state.c.shape
        (torch.Size([2, 7, 8]), torch.Size([2, 8]))
    """

    state_class = SLSTMState

    def __init__(self, input_size: int, hidden_size: int, *, heads: int = 1) -> None:
        super().__init__(input_size, hidden_size)
        size = size_of_head(hidden_size, heads)
        self.hidden_size = hidden_size
        self.heads = heads
        self.enter = nn.Linear(input_size, 4 * hidden_size)
        self.recurrent_weights = nn.Parameter(torch.empty(4, heads, size, size))
        with torch.no_grad():
            for block in self.recurrent_weights.flatten(0, 1):
                nn.init.orthogonal_(block)
            bias = self.enter.bias.zero_().view(4, hidden_size)
            # Units that remember for 20 steps to 400.
            bias[2] = torch.linspace(3, 6, hidden_size)

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> SLSTMState:
        """Return zeros, in float32 at least."""
        own = self.recurrent_weights
        wanted = torch.promote_types(dtype or own.dtype, torch.float32)
        size, place = (batch_size, self.hidden_size), device or own.device
        return SLSTMState(*(torch.zeros(size, device=place, dtype=wanted) for _ in range(4)))

    def update(self, x: Tensor, state: SLSTMState) -> tuple[Tensor, SLSTMState]:
        """One step: x (B, F) to y (B, H)."""
        z, log_i, f, o = self._sums(x, state.h)
        before = logsigmoid(f) + state.m
        # A cell with nothing in it has no scale yet.
        m = torch.where(state.n == 0, log_i, torch.maximum(before, log_i))
        keep, share = torch.exp(before - torch.maximum(before, m)), torch.exp(log_i - m)
        c = keep * state.c + share * torch.tanh(z)
        n = keep * state.n + share
        h = torch.sigmoid(o) * c / n
        return h, SLSTMState(h, c, n, m)

    def gate_values(self, x: Tensor, h: Tensor) -> dict[str, Tensor]:
        """Return z, log i, f and o, (B, H) each, from x (B, F) and the h before (B, H)."""
        z, log_i, f, o = self._sums(x, h)
        return {"z": torch.tanh(z), "log_i": log_i, "f": torch.sigmoid(f), "o": torch.sigmoid(o)}

    def _sums(self, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """Return the sums of z, i, f and o, (B, H) each."""
        grouped = h.reshape(-1, 1, self.heads, 1, self.hidden_size // self.heads)
        within = (grouped.to(x.dtype) @ self.recurrent_weights).flatten(2)
        enter = self.enter(x).reshape(*x.shape[:-1], 4, self.hidden_size)
        return (gates.precise(enter) + gates.precise(within)).unbind(1)

    @property
    def weight_hh(self) -> Tensor:
        """The recurrent weights as one matrix (4 H, H), with zeros between heads."""
        blocks = self.recurrent_weights.transpose(-1, -2)
        if self.heads == 1:
            return blocks.flatten(0, 2)
        same_head = torch.eye(self.heads, dtype=blocks.dtype, device=blocks.device)
        whole = blocks[:, :, :, None] * same_head[:, None, :, None]
        return whole.reshape(4 * self.hidden_size, self.hidden_size)

    def variant(self, x: Tensor) -> kernels.Variant:
        """What the layer computes of x (B, T, F), for the kernels of varied cells."""
        return kernels.Variant("slstm", self.enter(x), self.weight_hh)

    def extra_repr(self) -> str:
        """Return the sizes, as `print(layer)` shows them."""
        return f"{self.input_size}, {self.hidden_size}, heads={self.heads}"

    def _check_kind_of_state(self, state: State) -> None:
        super()._check_kind_of_state(state)
        check_sizes(self, state, ((self.hidden_size,),) * 4)
