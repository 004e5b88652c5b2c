"""Self-attention over a window of steps, with its keys and values as the state."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.layers import gates
from throughtime.layers.heads import size_of_head
from throughtime.layers.windowed import Windowed, latest, segment_begins

_SLOWEST = 10_000.0
"""Ratio of the fastest rotation to the slowest, as in the paper."""


@states.register
class AttentionState(NamedTuple):
    """State of an attention: of the last R = window - 1 steps, oldest first, what is looked at.

    Keys (B, R, D), not turned; values (B, R, D); and steps (B,) int64, how many of the R, from the
    newest back, are there.
    """

    keys: Tensor
    values: Tensor
    steps: Tensor


class WindowAttention(Windowed):
    r"""Causal attention of several heads over the last `window` steps, the present one included.

    $$q_t, k_t, v_t = W x_t + b, \quad
      p_{ts} = \mathrm{softmax}_s \frac{q_t^\top R_{s - t} k_s}{\sqrt{D / heads}}, \quad
      y_t = W_o \sum_{s = t - w + 1}^{t} p_{ts} v_s + b_o$$

    for each head (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762), w = window, where R turns
    pair i of a head's elements by an angle of $10000^{-2i/(D/heads)}$ a step (Su et al. 2021,
    RoFormer, https://arxiv.org/abs/2104.09864). Keys are kept as they are and turned by their place
    in the window when looked at, so that no position grows with a stream. O(F D + w D + D^2) a
    step, and all steps at once in O(T w) memory; the state is 2 (w - 1) D floats and a count.

    In the battery it solves adding, copy, selective copy, recall, long recall and digits and fails
    at parity (0.50) and s3 (0.16); it comes to 1.94 nats a character of tiny Shakespeare (`python
    -m benchmarks.battery all`).

    Args:
        input_size: F.
        hidden_size: H = D.
        heads: parts of D that attend on their own. Where D / heads is odd, an element of each is
            not turned.
        window: w, number of steps that a step sees.

    Raises:
        OptionError: when heads do not divide D, or window is below 2.

    Example:
        >>> y, state = WindowAttention(3, 8, heads=2, window=5)(torch.ones(2, 7, 3))
        >>> y.shape, state.keys.shape, state.steps
        (torch.Size([2, 7, 8]), torch.Size([2, 4, 8]), tensor([4, 4]))
    """

    state_class = AttentionState

    def __init__(
        self, input_size: int, hidden_size: int, *, heads: int = 4, window: int = 64
    ) -> None:
        super().__init__(input_size, hidden_size)
        size_of_head(hidden_size, heads)
        if window < 2:
            raise OptionError(f"expected window of 2 steps or more, got {window}")
        self.hidden_size = hidden_size
        self.heads = heads
        self.window = window
        size = (window - 1, hidden_size)
        self.state_sizes = (size, size, ())
        self.enter = nn.Linear(input_size, 3 * hidden_size)
        self.leave = nn.Linear(hidden_size, hidden_size)

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> AttentionState:
        """Return a cache in which nothing is, for B lanes."""
        weight = self.leave.weight
        place, size = device or weight.device, (batch_size, self.window - 1, self.hidden_size)
        keys, values = (
            torch.zeros(size, device=place, dtype=dtype or weight.dtype) for _ in range(2)
        )
        return AttentionState(
            keys, values, torch.zeros(batch_size, device=place, dtype=torch.int64)
        )

    def update(self, x: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        """One step: x (B, F) to y (B, D)."""
        kept = self.window - 1
        query, key, value = self.enter(x)[:, None].chunk(3, dim=-1)
        keys = torch.cat([state.keys, key], dim=1)
        values = torch.cat([state.values, value], dim=1)
        turned = _turn(self._split(keys), 0)
        scores = torch.einsum("bqhd,bshd->bhs", _turn(self._split(query), kept), turned)
        scores = gates.precise(scores) / turned.shape[-1] ** 0.5
        there = torch.arange(self.window, device=x.device) >= kept - state.steps[:, None]
        share = scores.masked_fill(~there[:, None], -torch.inf).softmax(dim=-1)
        seen = torch.einsum("bhs,bshd->bhd", share.to(values.dtype), self._split(values))
        y: Tensor = self.leave(seen.flatten(1))
        there_now = (state.steps + 1).clamp(max=kept)
        return y, AttentionState(keys[:, 1:], values[:, 1:], there_now)

    def parallel(
        self, x: Tensor, state: AttentionState, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, AttentionState]:
        """All steps at once: x (B, T, F) to y (B, T, D)."""
        kept, steps = self.window - 1, x.shape[1]
        query, key, value = self.enter(x).chunk(3, dim=-1)
        keys = torch.cat([state.keys, key], dim=1)
        values = torch.cat([state.values, value], dim=1)
        # The first row that each step sees: of the window, of what is there, of its own segment.
        first = torch.maximum(torch.arange(steps, device=x.device), kept - state.steps[:, None])
        begins = None if resets is None else segment_begins(resets, kept)
        if begins is not None:
            first = torch.maximum(first, begins)
        y = self.leave(self._attend(query, keys, values, first))
        there = state.steps + (steps if lengths is None else lengths)
        if begins is not None:
            there = torch.minimum(there, there - state.steps + kept - begins[:, -1])
        keys, values = (latest(rows, kept, lengths, begins) for rows in (keys, values))
        return y, AttentionState(keys, values, there.clamp(max=kept))

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, first: Tensor) -> Tensor:
        """Return what each step takes from rows `first` to its own, (B, T, D), block by block.

        A block of at most `window` steps sees its own rows and the `window - 1` before them.
        """
        kept, (lanes, steps, size) = self.window - 1, query.shape
        # 0 * NaN is NaN: a row that is not finite would spoil steps of its block that do not see
        # it. So it is computed without such rows, and then those steps are spoilt that do see one.
        sums = keys.detach().sum(dim=-1) + values.detach().sum(dim=-1)
        sums = sums + functional.pad(query.detach().sum(dim=-1), (kept, 0))
        broken = ~sums.isfinite()
        index = torch.arange(kept + steps, device=query.device)
        spoilt = torch.where(broken, index, -1).cummax(dim=1).values[:, kept:] >= first
        keys, values = (rows.masked_fill(broken[:, :, None], 0) for rows in (keys, values))
        query = query.masked_fill(broken[:, kept:, None], 0)

        block = min(self.window, steps)
        blocks = -(-steps // block)
        more = blocks * block - steps
        # Indices in a block: its queries are the last `block` of its rows.
        rows = index[: kept + block]
        start = torch.arange(blocks, device=query.device)[:, None] * block
        first = functional.pad(first, (0, more)).view(lanes, blocks, block) - start
        sees = (rows >= first[..., None]) & (rows <= rows[kept:, None])
        seen = functional.scaled_dot_product_attention(
            _blocks(_turn(self._split(query), kept), more, block, block),
            _blocks(_turn(self._split(keys), 0), more, kept + block, block),
            _blocks(gates.precise(self._split(values)), more, kept + block, block),
            attn_mask=sees.flatten(0, 1)[:, None],
        )
        seen = seen.transpose(1, 2).reshape(lanes, blocks * block, size)[:, :steps]
        return seen.to(values.dtype).masked_fill(spoilt[:, :, None], torch.nan)

    def _split(self, rows: Tensor) -> Tensor:
        size = self.hidden_size // self.heads
        return rows.reshape(*rows.shape[:-1], self.heads, size)


def _blocks(rows: Tensor, more: int, width: int, block: int) -> Tensor:
    """Cut rows (B, n, heads, d), and `more` zeros behind them, into overlapping blocks.

    Returns:
        (B * blocks, heads, width, d), of which each begins `block` rows after the one before it.
    """
    rows = functional.pad(rows, (0, 0, 0, 0, 0, more))
    return rows.unfold(1, width, block).transpose(3, 4).flatten(0, 1)


def _turn(rows: Tensor, position: int) -> Tensor:
    """Turn rows (B, n, heads, d) by the angles of positions from `position` on.

    Positions count from the first row of a call, never from the start of a stream. The angles are
    computed in float64: in float32 large ones would lose digits that the products of float32 have.
    """
    rows = gates.precise(rows)
    count, size = rows.shape[-3], rows.shape[-1]
    pairs = size // 2
    place = torch.arange(position, position + count, device=rows.device, dtype=torch.float64)
    pair = torch.arange(pairs, device=rows.device, dtype=torch.float64)
    angle = (place[:, None] * _SLOWEST ** (-2 * pair / size))[:, None]
    cosine, sine = angle.cos().to(rows.dtype), angle.sin().to(rows.dtype)
    real, imaginary, rest = torch.tensor_split(rows, (pairs, 2 * pairs), dim=-1)
    turned = (real * cosine - imaginary * sine, real * sine + imaginary * cosine, rest)
    return torch.cat(turned, dim=-1)
