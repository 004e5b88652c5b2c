"""Layers whose vectorised `forward` mixes up time: chunks, scans, and the future.

Each reads only plain sequences its own way and leaves lengths and resets to the base class, so that
nothing but the mistake shows. Which law each breaks is listed in `tests/faults.py`.
"""

from typing import Any

import torch
from honest import Elman, Smoother
from torch import Tensor, nn
from torch.nn import functional as F

from throughtime.recurrent import Recurrent
from throughtime.state import State


class _Vectorised(Recurrent):
    """Has a way of its own for whole sequences in which every step is there."""

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        if lengths is not None or resets is not None or not x.shape[1]:
            return super().forward(x, state, lengths=lengths, resets=resets)
        state = self.initial_state(len(x), device=x.device) if state is None else state
        return self.whole(x, state)

    def whole(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        raise NotImplementedError


class _Integrator(_Vectorised):
    """h[t] = decay * h[t-1] + drive(x[t])."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.drive = nn.Linear(3, 4)
        self.decay = nn.Parameter(torch.linspace(0.7, 0.98, 4))

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        return torch.zeros(batch_size, 4, device=device, dtype=dtype or self.decay.dtype)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = self.decay * state + self.drive(x)
        return state, state


class BlockScan(_Integrator):
    """Runs blocks of sixteen steps as one product each, all from the first block's state."""

    def whole(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        pieces = []
        for block in self.drive(x).split(16, dim=1):
            t = torch.arange(block.shape[1], device=x.device)
            lag = t[:, None] - t
            weights = self.decay ** lag.clamp(min=0)[..., None] * (lag >= 0)[..., None]
            own = torch.einsum("tsh,bsh->bth", weights, block)
            pieces.append(own + state[:, None] * self.decay ** (t + 1)[:, None])
        y = torch.cat(pieces, dim=1)
        return y, y[:, -1]


class OverflowingScan(_Vectorised):
    """Divides by the product of all gates so far, which leaves float32 after some thirty steps."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.gate, self.drive = nn.Linear(3, 4), nn.Linear(3, 4)

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        return torch.zeros(batch_size, 4, device=device, dtype=dtype or self.gate.weight.dtype)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = torch.sigmoid(self.gate(x) - 3) * state + self.drive(x)
        return state, state

    def whole(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        product = F.logsigmoid(self.gate(x) - 3).cumsum(1).exp()
        y = product * (state[:, None] + (self.drive(x) / product).cumsum(1))
        return y, y[:, -1]


class ChunkProgress(_Integrator):
    """Tells each step how far into the call it is; a lone step is at the end."""

    def whole(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        steps = x.shape[1]
        progress = torch.arange(1, steps + 1, device=x.device, dtype=x.dtype) / steps
        outputs = []
        for t in range(steps):
            y, state = self.update(x[:, t] * progress[t], state)
            outputs.append(y)
        return torch.stack(outputs, dim=1), state


class _Window(_Vectorised):
    """A causal convolution of width three; the state is the last two inputs."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.weight = nn.Parameter(torch.randn(4, 3, 3) / 3)

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        return torch.zeros(batch_size, 3, 2, device=device, dtype=dtype or self.weight.dtype)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        window = torch.cat([state, x[..., None].to(state.dtype)], dim=-1)
        return F.conv1d(window, self.weight)[..., 0], window[..., 1:]


class CentredConvolution(_Window):
    def whole(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        window = torch.cat([state, x.transpose(1, 2)], dim=-1)
        y = F.conv1d(F.pad(window[..., 1:], (0, 1)), self.weight)
        return y.transpose(1, 2), window[..., -2:]


class NormalisedOverTime(_Vectorised, Elman):
    """Takes the sequence's own mean off its outputs."""

    def whole(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = Recurrent.forward(self, x, state)
        return y - y.mean(dim=1, keepdim=True), state


class ReadBackwards(_Vectorised, Elman):
    """Flips its input for a scan from the right, and flips the outputs back."""

    def whole(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = Recurrent.forward(self, x.flip(1), state)
        return y.flip(1), state


class MaskPerCall(_Vectorised, Elman):
    """Draws the dropout mask of a call anew from a fixed seed, so each chunk repeats it."""

    def whole(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = Recurrent.forward(self, x, state)
        if self.training:
            generator = torch.Generator().manual_seed(5)
            keep = torch.rand(x.shape[1], 4, generator=generator) < 0.7
            y = y * keep.to(y.dtype) / 0.7
        return y, state


class HalfPrecisionState(_Vectorised, Smoother):
    """A linear recurrence that takes the dtype of its input's projection for its state."""

    def whole(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        a, b = self.coefficients(x)
        state = state.to(b.dtype)
        history = []
        for t in range(x.shape[1]):
            state = a[:, t] * state + b[:, t]
            history.append(state)
        return self.read_out(torch.stack(history, dim=1), x), state
