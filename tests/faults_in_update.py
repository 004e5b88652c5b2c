"""Layers with a mistake in `update`, `initial_state`, `restart` or `step`; `forward` follows along.

Which law each breaks, and why, is listed in `tests/faults.py`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from honest import Cell, Elman, RunningMean, RunningMeanState, TenLines
from torch import Tensor, nn
from torch.nn import functional as F

from throughtime.recurrent import Recurrent
from throughtime.state import State

# Resets


class RestartsFromZeros(Elman):
    def restart(self, state: State) -> State:
        return torch.zeros_like(state)


class RestartKeepsTheCell(Cell):
    def restart(self, state: State) -> State:
        hidden, cell = state
        return torch.zeros_like(hidden), cell


class StepIgnoresReset(Elman):
    def step(self, x: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        return self.update(x, state)


# Lanes


class BatchNormalised(Elman):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = torch.tanh(self.norm(self.input(x) + self.hidden(state)))
        return state, state


class MeanOverLanes(Elman):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = torch.tanh(self.input(x) + self.hidden(state))
        return state - state.mean(0), state


class SoftmaxOverLanes(Elman):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = torch.softmax(self.input(x) + self.hidden(state), dim=0)
        return state, state


class GradientNormalisedOverLanes(Elman):
    """Scales the gradient of a step by the batch's largest; the values are untouched."""

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = torch.tanh(self.input(x) + self.hidden(state))
        if state.requires_grad:
            state.register_hook(lambda gradient: gradient / (1 + gradient.abs().max()))
        return state, state


class MaskByLaneNumber(Elman):
    """Draws dropout for the whole batch from the step number: it belongs to places, not lanes."""

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        hidden = super().initial_state(batch_size, device=device, dtype=dtype)
        return hidden, torch.zeros(batch_size, dtype=torch.int64, device=device)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, step = state
        hidden = torch.tanh(self.input(x) + self.hidden(hidden))
        lane = torch.arange(len(x), device=x.device)[:, None]
        number = (step[:, None] * 104729 + lane * 7919 + torch.arange(4, device=x.device)) * 48271
        return hidden * (number % 2147483647 % 10 < 7) / 0.7, (hidden, step + 1)


class SingleLaneSqueezed(Elman):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = super().update(x, state)
        return y.unsqueeze(1).squeeze(), state


# What the state looks like, and whose it is


class LanesOnAxisOne(Elman):
    """Keeps the state as (1, B, H), as torch.nn does."""

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        return super().initial_state(batch_size, device=device, dtype=dtype)[None]

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = super().update(x, state[0])
        return y, state[None]


class DoubleDecay(Elman):
    """Its constants come from NumPy, in float64, and the state follows them."""

    def __init__(self) -> None:
        super().__init__()
        self.decay = torch.from_numpy(np.linspace(0.5, 0.9, 4))

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = self.decay * state + (1 - self.decay) * torch.tanh(self.input(x))
        return state.to(x.dtype), state


class CounterBecomesFloat(RunningMean):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen = state.seen + 1.0
        mean = state.mean + (x - state.mean) / seen[:, None]
        return x - mean, RunningMeanState(mean, seen)


class CounterInPlace(RunningMean):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen = state.seen.add_(1)
        mean = state.mean + (x - state.mean) / seen[:, None].to(x.dtype)
        return x - mean, RunningMeanState(mean, seen)


class StateInPlace(TenLines):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        new = torch.tanh(self.mix(torch.cat([x, state], dim=-1)))
        state.mul_(0.5).add_(new)
        return state.clone(), state


class StartInOneDtype(Elman):
    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        return torch.zeros(batch_size, 4, device=device)


class GlobalDropout(Elman):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = F.dropout(torch.tanh(self.input(x) + self.hidden(state)), 0.3, self.training)
        return state, state


class SpectrallyNormalised(Elman):
    """In training every look at the weight goes on with its power iteration."""

    def __init__(self) -> None:
        super().__init__()
        # Singular values close to each other make the iteration slow, as in large layers.
        with torch.no_grad():
            rotation = nn.init.orthogonal_(torch.empty(4, 4))
            self.hidden.weight.copy_(torch.tensor([1.0, 0.99, 0.9, 0.5])[:, None] * rotation)
        nn.utils.parametrizations.spectral_norm(self.hidden)


class StandardisedByBuffers(Elman):
    """Keeps the input's running mean in a buffer, as a batch normalisation does."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if self.training:
            self.mean = self.mean.lerp(x.detach().mean(0).to(self.mean.dtype), 0.1)
        return super().update(x - self.mean, state)


# Gradients and numbers


class StepWithoutGradient(Elman):
    @torch.no_grad()
    def step(self, x: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        return super().step(x, state, reset=reset)


class UpdateWithoutGradientInEval(Elman):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            return super().update(x, state)


class ClockInFloat(Elman):
    """Its daily phase comes from seconds since 1970, which float32 counts in steps of 128."""

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        hidden = super().initial_state(batch_size, device=device, dtype=dtype)
        return hidden, torch.full_like(hidden[:, 0], 1.7e9)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, clock = state
        phase = torch.sin(clock * (2 * math.pi / 86400))[:, None]
        y, hidden = super().update(x + phase, hidden)
        return y, (hidden, clock + 600)


class MovingVariance(TenLines):
    """Scales by E[x^2] - E[x]^2 of a signal that sits at a hundred."""

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        level = 100 + x.mean(-1, keepdim=True)
        mean, square = 0.9 * (state[:, :1] + 100) + 0.1 * level, state[:, 1:2]
        square = 0.9 * (square + 1e4) + 0.1 * level.square()
        variance = (square - mean.square()).clamp(min=0)
        new = torch.cat([mean - 100, square - 1e4, state[:, 2:]], dim=-1)
        return torch.tanh(self.mix(torch.cat([x, new], dim=-1))) / (1 + variance), new


class RootOfZero(Elman):
    """Normalises its state by a norm whose gradient at the zero start is not a number."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(4))

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        norm = state.square().sum(-1, keepdim=True).sqrt()
        return super().update(x, state / (norm + 1e-6))


class LerpRefusesAutocast(Elman):
    """Under autocast the candidate is bfloat16 and the state is not, which `lerp` refuses."""

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        candidate = torch.tanh(self.input(x))
        state = torch.lerp(state, candidate, torch.sigmoid(self.hidden(state)))
        return state, state


# Export


class BranchOnValues(Elman):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if torch.isnan(x).any():
            x = torch.nan_to_num(x)
        return super().update(x, state)


class LoopOverLanes(Elman):
    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        driven = torch.stack([self.input(lane) for lane in x])
        state = torch.tanh(driven + self.hidden(state))
        return state, state


class ThroughNumPy(Elman):
    """Takes its table of daily weights from NumPy inside the step."""

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hour = np.nan_to_num(x.detach().cpu().double().numpy()[:, 0] % 24).astype(np.int64)
        weight = torch.from_numpy(np.linspace(0.5, 1.5, 24)[hour]).to(x)[:, None]
        return super().update(weight * x, state)


class UnnamedState(NamedTuple):
    hidden: Tensor


class StateClassNotRegistered(Recurrent):
    """Its state has a class that `torch.export.save` has no name for."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.mix = nn.Linear(7, 4)

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        weight = self.mix.weight
        return UnnamedState(
            torch.zeros(batch_size, 4, device=device or weight.device, dtype=dtype or weight.dtype)
        )

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = torch.tanh(self.mix(torch.cat([x, state.hidden], dim=-1)))
        return hidden, UnnamedState(hidden)
