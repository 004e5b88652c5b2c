"""Layers whose `forward` departs from their `step`, each by one mistake.

The honest twin of each is its base class in `tests/honest.py`. Which law each breaks, and why, is
listed in `tests/faults.py`.
"""

from typing import Any

import torch
from honest import Cell, Elman, FastElman, Gated, PackedGated, presence
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.state import State

# Padding


class NotHeld(FastElman):
    def leave(self, new: Tensor, old: Tensor, present: Tensor) -> Tensor:
        return new


class HeldWithoutGradient(FastElman):
    def leave(self, new: Tensor, old: Tensor, present: Tensor) -> Tensor:
        return torch.where(present, new, old.detach())


class OutputsInPadding(FastElman):
    def finish(self, y: Tensor, present: Tensor) -> Tensor:
        return y


class MaskedAfterProjection(FastElman):
    def project(self, x: Tensor, present: Tensor) -> Tensor:
        return self.input(x).masked_fill(~present[..., None], 0.0)  # type: ignore[no-any-return]


class MaskedByMultiplication(FastElman):
    def project(self, x: Tensor, present: Tensor) -> Tensor:
        return self.input(x * present[..., None])  # type: ignore[no-any-return]


class IndexedFromTheEnd(FastElman):
    """Keeps the state after every step and picks the one at `lengths - 1`, as one does in JAX."""

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        if lengths is None or not x.shape[1]:
            return super().forward(x, state, resets=resets)
        present = presence(x, lengths)
        x = x.masked_fill(~present[..., None], 0.0)
        resets = None if resets is None else resets & present
        history, _ = super().forward(x, state, resets=resets)
        return self.finish(history, present), history[torch.arange(len(x)), lengths - 1]


class CellNotHeld(Cell):
    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        if lengths is None:
            return super().forward(x, state, resets=resets)
        hidden, cell = self.initial_state(len(x)) if state is None else state
        present = presence(x, lengths)
        x = x.masked_fill(~present[..., None], 0.0)
        outputs = [x.new_zeros(len(x), 0, 4)]
        for t in range(x.shape[1]):
            now = present[:, t, None]
            if resets is not None:
                first = self.initial_state(len(x))
                hidden = torch.where(resets[:, t, None] & now, first[0], hidden)
                cell = torch.where(resets[:, t, None] & now, first[1], cell)
            y, (new, cell) = self.update(x[:, t], (hidden, cell))
            hidden = torch.where(now, new, hidden)
            outputs.append(y.masked_fill(~now, 0.0)[:, None])
        return torch.cat(outputs, dim=1), (hidden, cell)


class Trimmed(PackedGated):
    def packed(
        self, x: Tensor, state: Tensor, lengths: Tensor, present: Tensor
    ) -> tuple[Tensor, State]:
        counts = lengths.clamp(min=1).cpu()
        sequence = pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
        packed, last = self.gru(sequence, state[None].contiguous())
        y, _ = pad_packed_sequence(packed, batch_first=True)
        end = torch.where((lengths > 0)[:, None], last[0], state)
        return y.masked_fill(~present[:, : y.shape[1], None], 0.0), end


class EmptyLaneStepped(PackedGated):
    def packed(
        self, x: Tensor, state: Tensor, lengths: Tensor, present: Tensor
    ) -> tuple[Tensor, State]:
        counts = lengths.clamp(min=1).cpu()
        sequence = pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
        packed, last = self.gru(sequence, state[None].contiguous())
        y, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        return y.masked_fill(~present[..., None], 0.0), last[0]


class StateLeftSorted(PackedGated):
    def packed(
        self, x: Tensor, state: Tensor, lengths: Tensor, present: Tensor
    ) -> tuple[Tensor, State]:
        order = lengths.argsort(descending=True)
        y, end = super().packed(x[order], state[order], lengths[order], present[order])
        return y[order.argsort()], end


class PackedFromZeros(PackedGated):
    def packed(
        self, x: Tensor, state: Tensor, lengths: Tensor, present: Tensor
    ) -> tuple[Tensor, State]:
        y, end = super().packed(x, torch.zeros_like(state), lengths, present)
        return y, torch.where((lengths > 0)[:, None], end, state)


# Resets


class ResetToZeros(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        return state.masked_fill((resets & present)[:, t, None], 0.0)


class ResetIgnored(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        return state


class ResetOneStepLate(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        return super().enter(state, resets, present, t - 1) if t else state


class ResetInPadding(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        return super().enter(state, resets, torch.ones_like(present), t)


class ResetAtTheLength(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        began = present[:, max(t - 1, 0), None]  # one step too many
        return super().enter(state, resets & began, torch.ones_like(present), t)


class ResetByMultiplication(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        restart = (resets & present)[:, t, None].to(state.dtype)
        first: Tensor = self.initial_state(len(state))
        return (1 - restart) * state + restart * first


class ResetInValueOnly(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        fresh = super().enter(state, resets, present, t)
        return state + (fresh - state).detach()


class ResetToConstant(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        flagged = (resets & present)[:, t, None]
        return torch.where(flagged, self.initial_state(len(state)).detach(), state)


class ResetForAllLanes(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        first: Tensor = self.initial_state(len(state))
        return first if (resets & present)[:, t].any() else state


class ResetAtTheEdgeOnly(FastElman):
    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        return state if t else super().enter(state, resets, present, t)


# Plain sequences


class HardTanh(FastElman):
    def advance(self, projected: Tensor, state: Tensor) -> Tensor:
        return F.hardtanh(projected + self.hidden(state))


class OneStepGradient(FastElman):
    def advance(self, projected: Tensor, state: Tensor) -> Tensor:
        return super().advance(projected, state.detach())


class InputIsData(FastElman):
    def project(self, x: Tensor, present: Tensor) -> Tensor:
        return super().project(x.detach(), present)


class ScaledInEval(FastElman):
    def finish(self, y: Tensor, present: Tensor) -> Tensor:
        return super().finish(y if self.training else 0.8 * y, present)


class ConstantStart(FastElman):
    def begin(self, x: Tensor) -> Tensor:
        return super().begin(x).detach()


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        weight_gradient = torch.einsum("bto,bti->oi", gradient, x)
        return gradient @ weight, weight_gradient, gradient.sum(0).mean(0)


class BiasGradientAveraged(FastElman):
    def project(self, x: Tensor, present: Tensor) -> Tensor:
        x = x.masked_fill(~present[..., None], 0.0)
        projected: Tensor = _Project.apply(  # type: ignore[no-untyped-call]
            x, self.input.weight, self.input.bias
        )
        return projected


class GatesInAnotherOrder(Gated):
    """`update` reads the gates as (z, r, n); the kernel has them as (r, z, n)."""

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        weight_x, weight_h, bias_x, bias_h = self.gru.all_weights[0]
        x_z, x_r, x_n = F.linear(x, weight_x, bias_x).chunk(3, -1)
        h_z, h_r, h_n = F.linear(state, weight_h, bias_h).chunk(3, -1)
        update_gate = torch.sigmoid(x_z + h_z)
        candidate = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
        state = (1 - update_gate) * candidate + update_gate * state
        return state, state

    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, last = self.gru(x, state[None].contiguous())
        return y, last[0]


class _Around(FastElman):
    """Does something to the arguments or to the results of an honest `forward`."""

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        x, state = self.before(x, state, presence(x, lengths))
        y, end = super().forward(x, state, lengths=lengths, resets=resets)
        return self.after(y, end)

    def before(self, x: Tensor, state: Any, present: Tensor) -> tuple[Tensor, Any]:
        return x, state

    def after(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        return y, state


class StateBeforeTheLastStep(FastElman):
    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        y, end = super().forward(x, state, lengths=lengths, resets=resets)
        if lengths is None and resets is None and x.shape[1] > 1:
            end = y[:, -2]
        return y, end


class GivenStateDetached(_Around):
    def before(self, x: Tensor, state: Any, present: Tensor) -> tuple[Tensor, Any]:
        return x, None if state is None else state.detach()


class FinalStateDetached(_Around):
    def after(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        return y, state.detach()


class OneStepSqueezed(_Around):
    def after(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        return y.squeeze(1), state


class LayersAxisLeftIn(_Around):
    """Returns the state as (1, B, H), as torch.nn does."""

    def after(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        return y, state[None]


class StateInHalf(_Around):
    def after(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        return y, state.to(torch.bfloat16)


class StateInList(Cell):
    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        y, end = super().forward(x, state, lengths=lengths, resets=resets)
        return y, list(end)


class InputMaskedInPlace(_Around):
    def before(self, x: Tensor, state: Any, present: Tensor) -> tuple[Tensor, Any]:
        return x.masked_fill_(~present[..., None], 0.0), state


class InputCleanedInPlace(_Around):
    def before(self, x: Tensor, state: Any, present: Tensor) -> tuple[Tensor, Any]:
        x.detach()[~present] = 0.0
        return x, state


class StateKeptInAttribute(_Around):
    """Goes on where the last call of the same batch size ended, as stateful layers do in Keras."""

    last: Tensor | None = None

    def before(self, x: Tensor, state: Any, present: Tensor) -> tuple[Tensor, Any]:
        if state is None and self.last is not None and len(self.last) == len(x):
            state = self.last.to(x.dtype)
        return x, state

    def after(self, y: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.last = state.detach()
        return y, state


class NoGradientInEval(_Around):
    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            return super().forward(x, state, lengths=lengths, resets=resets)


class BlocksOfLanes(Elman):
    """Bounds its memory by reading four lanes at a time, each block from the first lanes' state."""

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        state = self.initial_state(len(x)) if state is None else state
        outputs, ends = [], []
        for i in range(0, len(x), 4):
            some = slice(i, i + 4)
            y, end = super().forward(
                x[some],
                state[: len(x[some])],
                lengths=None if lengths is None else lengths[some],
                resets=None if resets is None else resets[some],
            )
            outputs.append(y)
            ends.append(end)
        return torch.cat(outputs), torch.cat(ends)
