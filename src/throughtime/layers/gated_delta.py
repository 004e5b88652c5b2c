"""The gated DeltaNet: a matrix memory that forgets, and overwrites what it has under a key."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import state as states
from throughtime.layers import gates
from throughtime.layers.heads import (
    MatrixRecurrent,
    Memory,
    Sizes,
    Window,
    log_between,
    normalised,
    split_heads,
    unit,
)


@states.register
class GatedDeltaState(NamedTuple):
    """State of a gated DeltaNet: s (B, h, d, d), keys before values."""

    s: Tensor


class GatedDeltaNet(MatrixRecurrent):
    r"""A matrix memory in which a new value replaces the old one under the same key.

    $$q, k = \mathrm{unit}(\mathrm{silu}(W x)), \quad v = \mathrm{silu}(W_v x), \quad
      \alpha = e^{-e^a \mathrm{softplus}(w_\alpha x + b_\alpha)}, \quad
      \beta = \sigma(w_\beta x + b_\beta)$$
    $$S_t = \alpha S_{t-1} (I - \beta k k^\top) + \beta v k^\top, \quad
      y_t = W_o \, (\mathrm{silu}(W_g x) \odot \gamma \odot \mathrm{norm}(S_t q))$$

    (Yang et al. 2024, https://arxiv.org/abs/2412.06464, without its short convolutions.)
    O(F H + H^2 + H d) a step, and H C more in chunks of C = 32; the state is H d floats, for heads
    of d units.

    In the battery it solves adding, recall and long recall and fails at parity (0.50) and s3
    (0.16); with negative eigenvalues it solves parity too; it comes to 1.99 nats a character of
    tiny Shakespeare (`python -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        heads: h; each has a matrix of its own, so that fewer heads store more.
        negative_eigenvalues: let beta be twice as large, so that what is under a key can be turned
            around and not only be replaced (Grazzi et al. 2024, https://arxiv.org/abs/2411.12537).

    Raises:
        OptionError: when heads do not divide H.

    Example:
        >>> y, state = GatedDeltaNet(3, 8, heads=2)(torch.ones(2, 7, 3))
        >>> y.shape, state.s.shape
        (torch.Size([2, 7, 8]), torch.Size([2, 2, 4, 4]))
    """

    state_class = GatedDeltaState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        heads: int = 4,
        negative_eigenvalues: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, heads)
        self.negative_eigenvalues = negative_eigenvalues
        self.query = nn.Linear(input_size, hidden_size, bias=False)
        self.key = nn.Linear(input_size, hidden_size, bias=False)
        self.value = nn.Linear(input_size, hidden_size, bias=False)
        self.forget_gate = nn.Linear(input_size, heads)
        self.write_gate = nn.Linear(input_size, heads)
        self.output_gate = nn.Linear(input_size, hidden_size, bias=False)
        self.scale = nn.Parameter(torch.ones(hidden_size))
        self.leave = nn.Linear(hidden_size, hidden_size, bias=False)
        # As in the paper, and Mamba-2 before it: rates of 1 to 16 for steps of 0.001 to 0.1.
        self.log_rate = nn.Parameter(torch.empty(heads).uniform_(1, 16).log_())
        step = torch.empty(heads).uniform_(math.log(0.001), math.log(0.1)).exp()
        with torch.no_grad():
            self.forget_gate.bias.copy_(step + torch.log(-torch.expm1(-step)))

    def sizes(self) -> Sizes:
        """Return the shapes of the state's leaves, without their lanes."""
        return ((self.heads, self.head_size, self.head_size),)

    def inputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return log alpha, beta (..., h, 1) and q, k, v (..., h, d) from x (..., F)."""
        step = functional.softplus(gates.precise(self.forget_gate(x)))
        log_alpha = -step * gates.precise(self.log_rate).exp()
        beta = gates.sigmoid(self.write_gate(x)) * (2 if self.negative_eigenvalues else 1)
        q, k, v = (
            functional.silu(split_heads(each(x), self.heads))
            for each in (self.query, self.key, self.value)
        )
        return log_alpha[..., None], beta[..., None], unit(q), unit(k), v

    def gate_values(self, x: Tensor) -> dict[str, Tensor]:
        """Return alpha and beta (..., h) from x (..., F)."""
        log_alpha, beta, *_ = self.inputs(x)
        return {"alpha": log_alpha[..., 0].exp(), "beta": beta[..., 0]}

    def write(self, inputs: tuple[Tensor, ...], memory: Memory) -> tuple[Tensor, Memory]:
        """Take one step."""
        (log_alpha, beta, q, k, v), (s,) = inputs, memory
        s = torch.exp(log_alpha)[..., None] * s
        held = (k[..., None] * s).sum(-2)
        s = s + k[..., None] * (beta * (v - held))[..., None, :]
        return (q[..., None] * s).sum(-2), (s,)

    def write_chunk(
        self, inputs: tuple[Tensor, ...], memory: Memory, window: Window
    ) -> tuple[Tensor, Memory]:
        r"""Take C steps.

        With $u_t = \beta_t (v_t - \alpha_t S_{t-1} k_t)$ a step adds $u_t k_t^\top$, so that each
        u depends on those before it: a triangular system for all of them.
        """
        (log_alpha, beta, q, k, v), (s,) = inputs, memory
        left = torch.exp(log_between(log_alpha[..., 0]).masked_fill(~window.pairs, -torch.inf))
        keep = torch.exp(window.pairs.to(log_alpha.dtype) @ log_alpha)
        keep = torch.where(window.carried[..., None], keep, torch.zeros_like(keep))

        overlap = beta * left * (k @ k.transpose(-1, -2))
        u = torch.linalg.solve_triangular(
            overlap, beta * (v - keep * (k @ s)), upper=False, unitriangular=True
        )
        read = keep * (q @ s) + (left * (q @ k.transpose(-1, -2))) @ u
        entered = k * left[..., -1, :, None]
        s = keep[..., -1:, :] * s + entered.transpose(-1, -2) @ u
        return read, (s,)

    def read_out(self, read: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D)."""
        gate = functional.silu(self.output_gate(x))
        y: Tensor = self.leave((gate * (self.scale * normalised(read).flatten(-2))).to(x.dtype))
        return y
