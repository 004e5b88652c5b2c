"""The time mixing of RWKV-7: a matrix memory with a decay and a learning rate for each unit."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime import state as states
from throughtime.layers import gates
from throughtime.layers.heads import (
    MatrixRecurrent,
    Memory,
    Sizes,
    Window,
    normalised,
    split_heads,
    unit,
)

_FASTEST = math.exp(-0.5)
"""Largest -log w: a unit keeps 0.545 at a step at least, so that a chunk's decays stay in range."""


@states.register
class RWKV7State(NamedTuple):
    """State of an RWKV-7 layer: s (B, h, d, d), keys before values, and the last x (B, F)."""

    s: Tensor
    previous: Tensor


class RWKV7(MatrixRecurrent):
    r"""A matrix memory that learns at each step, at rates of its own, what belongs to a key.

    $$\bar x_g = x_t + \mu_g \odot (x_{t-1} - x_t), \quad r, k, v = W_g \bar x_g, \quad
      w = e^{-e^{-1/2} \sigma(W_w \bar x_w + b_w)}, \quad a, g = \sigma(W_g \bar x_g + b_g)$$
    $$\kappa = \mathrm{unit}(\xi \odot k), \quad \tilde k = k \odot (1 + \alpha \odot (a - 1))$$
    $$S_t = S_{t-1} (\mathrm{diag}(w) - \kappa^\top (a \odot \kappa)) + v^\top \tilde k, \quad
      y_t = W_o \, (g \odot (\gamma \odot \mathrm{norm}(r S_t^\top)
      + (r \cdot (\rho \odot \tilde k)) \, v))$$

    (Peng et al. 2025, https://arxiv.org/abs/2503.14456.) The paper makes w, a and g of low-rank
    products, with a tanh in that of w and no bound on g; here each is one matrix and a sigmoid. Its
    norm subtracts the mean of a head and adds a bias; here it does not. Its mix of v with the first
    layer's is left out. O(F H + H^2 + H d) a step, and H C more in chunks of C = 32; the state is
    H d + F floats, for h heads of d units.

    In the battery it solves adding, copy, recall and long recall and fails at parity (0.50) and s3
    (0.17); it comes to 1.93 nats a character of tiny Shakespeare (`python -m benchmarks.battery
    all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        heads: h; each has a matrix of its own, so that fewer heads store more.

    Raises:
        OptionError: when heads do not divide H.

    Example:
        >>> y, state = RWKV7(3, 8, heads=2)(torch.ones(2, 7, 3))
        >>> y.shape, state.s.shape
        (torch.Size([2, 7, 8]), torch.Size([2, 2, 4, 4]))
    """

    state_class = RWKV7State

    def __init__(self, input_size: int, hidden_size: int, *, heads: int = 4) -> None:
        super().__init__(input_size, hidden_size, heads)
        self.mix = nn.Parameter(torch.full((6, input_size), 0.5))
        self.receptance = nn.Linear(input_size, hidden_size, bias=False)
        self.key = nn.Linear(input_size, hidden_size, bias=False)
        self.value = nn.Linear(input_size, hidden_size, bias=False)
        self.decay = nn.Linear(input_size, hidden_size)
        self.rate = nn.Linear(input_size, hidden_size)
        self.output_gate = nn.Linear(input_size, hidden_size)
        self.removal = nn.Parameter(torch.ones(hidden_size))
        self.replacement = nn.Parameter(torch.ones(hidden_size))
        self.bonus = nn.Parameter(torch.zeros(hidden_size))
        self.scale = nn.Parameter(torch.ones(hidden_size))
        self.leave = nn.Linear(hidden_size, hidden_size, bias=False)
        with torch.no_grad():
            # Units that keep what they have for 2 steps to 650.
            self.decay.bias.copy_(torch.linspace(-6, 1, hidden_size))

    def sizes(self) -> Sizes:
        """Return the shapes of the state's leaves, without their lanes."""
        return (self.heads, self.head_size, self.head_size), (self.input_size,)

    def update(self, x: Tensor, state: RWKV7State) -> tuple[Tensor, RWKV7State]:
        """One step: x (B, F) to y (B, D)."""
        both = torch.cat([x, state.previous.to(x.dtype)], dim=-1)
        read, (s,) = self.write(self.inputs(both), (state.s,))
        return self.read_out(read, both), RWKV7State(s, x.to(state.previous.dtype))

    def run_chunks(
        self, x: Tensor, memory: Memory, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, Memory]:
        """Run over x (B, T, F) with each step's predecessor beside it."""
        s, previous = memory
        y, (s,) = super().run_chunks(with_last(x, previous, resets), (s,), lengths, resets)
        if lengths is None:
            return y, (s, x[:, -1].to(previous.dtype))
        seen = torch.cat([previous.to(x.dtype)[:, None], x], dim=1)
        place = lengths[:, None, None].expand(-1, 1, x.shape[2])
        return y, (s, seen.gather(1, place).squeeze(1).to(previous.dtype))

    def gate_values(self, x: Tensor) -> dict[str, Tensor]:
        """Return w and a (..., h, d) and g (..., H), from x and its last (..., 2 F)."""
        at = self._mixed(x)
        a = split_heads(gates.sigmoid(self.rate(at[4])), self.heads)
        return {"w": self.inputs(x)[0].exp(), "a": a, "g": gates.sigmoid(self.output_gate(at[5]))}

    def inputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return log w, r, kappa, a kappa, k and v, (..., h, d) each, from x and its last."""
        at = self._mixed(x)
        log_w = -_FASTEST * gates.sigmoid(self.decay(at[3]))
        rate = gates.sigmoid(self.rate(at[4]))
        r, k, v = (
            gates.precise(each(mixed))
            for each, mixed in zip((self.receptance, self.key, self.value), at, strict=False)
        )
        removed = unit(split_heads(self.removal * k, self.heads))
        k = k * (1 + self.replacement * (rate - 1))
        log_w, r, rate, k, v = (split_heads(each, self.heads) for each in (log_w, r, rate, k, v))
        return log_w, r, removed, rate * removed, k, v

    def write(self, inputs: tuple[Tensor, ...], memory: Memory) -> tuple[Tensor, Memory]:
        """Take one step."""
        (log_w, r, removed, learned, k, v), (s,) = inputs, memory
        held = (removed[..., None] * s).sum(-2)
        s = torch.exp(log_w)[..., None] * s - learned[..., None] * held[..., None, :]
        s = s + k[..., None] * v[..., None, :]
        return self._finished((r[..., None] * s).sum(-2), r, k, v), (s,)

    def write_chunk(
        self, inputs: tuple[Tensor, ...], memory: Memory, window: Window
    ) -> tuple[Tensor, Memory]:
        r"""Take C steps.

        With $u_t = -\kappa_t S_{t-1}^\top$ a step adds $u_t^\top (a \odot \kappa) + v^\top k$, so
        that each u depends on those before it: a triangular system for all of them. A decay between
        two steps is the quotient of two, each from half of the most that can decay in a chunk.
        """
        (log_w, r, removed, learned, k, v), (s,) = inputs, memory
        earlier = window.pairs.tril(-1)
        # From the beginning of the segment that a step is in.
        log, log_before = (mask.to(log_w.dtype) @ log_w for mask in (window.pairs, earlier))
        middle = -_FASTEST * self.chunk / 2
        asked, read = removed * torch.exp(log_before - middle), r * torch.exp(log - middle)
        learned_then, k_then = (each * torch.exp(middle - log) for each in (learned, k))

        known = _where(earlier, asked @ k_then.transpose(-1, -2)) @ v
        carried = window.carried[..., None]
        known = known + _where(carried, (removed * torch.exp(log_before)) @ s)
        overlap = _where(earlier, asked @ learned_then.transpose(-1, -2))
        u = torch.linalg.solve_triangular(overlap, -known, upper=False, unitriangular=True)

        y = _where(carried, (r * torch.exp(log)) @ s)
        y = y + _where(window.pairs, read @ learned_then.transpose(-1, -2)) @ u
        y = y + _where(window.pairs, read @ k_then.transpose(-1, -2)) @ v
        there = window.pairs[..., -1, :, None]
        left = _where(there, torch.exp(log[:, :, -1:] - log))
        s = _where(carried[..., -1:, :], torch.exp(log[:, :, -1])[..., None] * s)
        s = s + (learned * left).transpose(-1, -2) @ u + (k * left).transpose(-1, -2) @ v
        # Heads go before steps here, and after them in what is learned for each unit.
        y = self._finished(*(each.transpose(1, 2) for each in (y, r, k, v)))
        return y.transpose(1, 2), (s,)

    def read_out(self, read: Tensor, x: Tensor) -> Tensor:
        """Return y (..., D)."""
        gate = gates.sigmoid(self.output_gate(self._mixed(x)[5]))
        y: Tensor = self.leave((gate * read.flatten(-2)).to(x.dtype))
        return y

    def _finished(self, read: Tensor, r: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what was read with a mean square of one, and more of v where r and k agree."""
        scale, bonus = (split_heads(each, self.heads) for each in (self.scale, self.bonus))
        return normalised(read) * scale + (r * bonus * k).sum(-1, keepdim=True) * v

    def _mixed(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return x, (..., F) each, with its last in six proportions, from both (..., 2 F)."""
        now, before = (each[..., None, :] for each in x.chunk(2, dim=-1))
        return (now + self.mix * (before - now)).unbind(-2)


def with_last(x: Tensor, previous: Tensor, resets: Tensor | None) -> Tensor:
    """Return each step with the one before it beside, (B, T, 2 F), from x (B, T, F)."""
    before = torch.cat([previous.to(x.dtype)[:, None], x], dim=1)[:, :-1]
    if resets is not None:
        before = torch.where(resets[:, :, None], torch.zeros_like(before), before)
    return torch.cat([x, before], dim=-1)


def _where(mask: Tensor, x: Tensor) -> Tensor:
    """Return x where the mask is True, and zero elsewhere, whatever x is there."""
    return torch.where(mask, x, torch.zeros_like(x))
