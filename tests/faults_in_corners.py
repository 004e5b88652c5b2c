"""Layers that are right in the common case and wrong in a corner: inference, stale caches, zeros.

Which law each breaks, and why, is listed in `tests/faults.py`.
"""

from typing import Any

import torch
from honest import Cell, Elman, FastElman, PackedGated, TenLines, presence
from torch import Tensor, nn
from torch.nn import functional as F

from throughtime.recurrent import Recurrent
from throughtime.state import State


class FastInference(FastElman):
    """Takes a cheaper nonlinearity where nobody asks for gradients."""

    def advance(self, projected: Tensor, state: Tensor) -> Tensor:
        total = projected + self.hidden(state)
        return torch.tanh(total) if torch.is_grad_enabled() else F.hardtanh(total)


class StepWritesStateInInference(TenLines):
    """Saves an allocation while streaming, at the expense of whoever still holds the state."""

    def step(self, x: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        y, new = super().step(x, state, reset=reset)
        if torch.is_grad_enabled():
            return y, new
        return y, state.copy_(new)


class ResetsMaskedInPlace(FastElman):
    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        if resets is not None:
            resets &= presence(x, lengths)
        return super().forward(x, state, lengths=lengths, resets=resets)


class LengthsClampedInPlace(PackedGated):
    def packed(
        self, x: Tensor, state: Tensor, lengths: Tensor, present: Tensor
    ) -> tuple[Tensor, State]:
        y, end = super().packed(x, state, lengths, present)
        lengths.clamp_(min=1)  # in case the caller packs once more
        return y, end


class LengthsDroppedBesideResets(FastElman):
    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        if resets is not None:
            x = x.masked_fill(~presence(x, lengths)[..., None], 0.0)
            return super().forward(x, state, resets=resets)
        return super().forward(x, state, lengths=lengths)


class MaskCachedByShape(FastElman):
    """Keeps the mask of the first lengths that came with a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: dict[torch.Size, Tensor] = {}

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        if lengths is not None:
            mask = self.masks.setdefault(x.shape[:2], presence(x, lengths))
            lengths = mask.sum(1)
        return super().forward(x, state, lengths=lengths, resets=resets)


class RandomStart(TenLines):
    """Starts from noise, as tutorials do."""

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        weight = self.mix.weight
        return torch.randn(batch_size, 4).to(device=device, dtype=dtype or weight.dtype)


class StartPerPlace(TenLines):
    """Learns a start for each place in the batch, which a lane does not keep."""

    def __init__(self) -> None:
        super().__init__()
        self.starts = nn.Parameter(torch.randn(256, 4))

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        start = self.starts[:batch_size]
        return start.to(device=device, dtype=dtype or start.dtype)


class RestartLeaksGradient(Elman):
    def restart(self, state: State) -> State:
        return super().restart(state) + (state - state.detach())


class LeavesSwapped(Cell):
    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        y, (hidden, cell) = super().forward(x, state, lengths=lengths, resets=resets)
        return y, (cell, hidden)


class SingleLaneShortcut(Elman):
    """Goes through a product of its own at B = 1, and transposes the weight there."""

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if len(x) > 1:
            return super().update(x, state)
        state = torch.tanh(self.input(x) + state @ self.hidden.weight)
        return state, state


class RootOfPadding(Elman):
    """Normalises a projection without bias: zero in the padding, where a root has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(3, 4, bias=False)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        driven = self.input(x)
        norm = driven.square().sum(-1, keepdim=True).sqrt()
        state = torch.tanh(driven / (norm + 1e-6) + self.hidden(state))
        return state, state


class SoftplusByHand(Recurrent):
    """log(1 + exp(z)) leaves float32 where z is above 88; float64 has no trouble there."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.input = nn.Linear(3, 4)

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        weight = self.input.weight
        return weight.new_zeros(batch_size, 4).to(device=device, dtype=dtype or weight.dtype)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        rise = torch.log(1 + torch.exp(self.input(x)))
        state = 0.5 * state + 0.1 * rise
        return state, state
