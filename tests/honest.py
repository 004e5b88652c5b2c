"""Layers that keep every law, some of them unusual; `tests/faults.py` breaks them one at a time.

All are written as a user would write them: against `Recurrent` alone, by hand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.errors import StateError
from throughtime.recurrent import LinearRecurrent, Recurrent
from throughtime.state import State, register


def presence(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Say which steps are there: (B, T) bool."""
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]


class TenLines(Recurrent):
    """The least that a user can write."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.mix = nn.Linear(7, 4)

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        return torch.zeros(batch_size, 4, device=device, dtype=dtype or self.mix.weight.dtype)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = torch.tanh(self.mix(torch.cat([x, state], dim=-1)))
        return state, state


class Elman(Recurrent):
    """A learned start that is not zero, and a bare tensor as the state."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.input = nn.Linear(3, 4)
        self.hidden = nn.Linear(4, 4, bias=False)
        self.start = nn.Parameter(torch.linspace(-0.6, 0.9, 4))

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        return self.start.to(device=device, dtype=dtype or self.start.dtype).expand(batch_size, 4)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        state = torch.tanh(self.input(x) + self.hidden(state))
        return state, state


class FastElman(Elman):
    """Elman that projects the whole sequence at once and loops over the recurrent part only."""

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        present = presence(x, lengths)
        resets = torch.zeros_like(present) if resets is None else resets
        state = self.begin(x) if state is None else state
        projected = self.project(x, present)
        outputs = []
        for t in range(x.shape[1]):
            state = self.enter(state, resets, present, t)
            new = self.advance(projected[:, t], state)
            outputs.append(new)
            state = self.leave(new, state, present[:, t, None])
        y = torch.stack(outputs, dim=1) if outputs else x.new_zeros(len(x), 0, 4)
        return self.finish(y, present), state

    def begin(self, x: Tensor) -> Tensor:
        return self.initial_state(len(x), device=x.device)  # type: ignore[no-any-return]

    def project(self, x: Tensor, present: Tensor) -> Tensor:
        return self.input(x.masked_fill(~present[..., None], 0.0))  # type: ignore[no-any-return]

    def enter(self, state: Tensor, resets: Tensor, present: Tensor, t: int) -> Tensor:
        flagged = (resets & present)[:, t, None]
        return torch.where(flagged, self.initial_state(len(state)), state)

    def advance(self, projected: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(projected + self.hidden(state))

    def leave(self, new: Tensor, old: Tensor, present: Tensor) -> Tensor:
        return torch.where(present, new, old)

    def finish(self, y: Tensor, present: Tensor) -> Tensor:
        return y.masked_fill(~present[..., None], 0.0)


class Gated(Recurrent):
    """A GRU whose step is written out and whose whole sequences run on `nn.GRU`."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.gru = nn.GRU(3, 4, batch_first=True)

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        weight = self.gru.all_weights[0][1]
        return weight.new_zeros(batch_size, 4).to(device=device, dtype=dtype or weight.dtype)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        weight_x, weight_h, bias_x, bias_h = self.gru.all_weights[0]
        x_r, x_z, x_n = F.linear(x, weight_x, bias_x).chunk(3, -1)
        h_r, h_z, h_n = F.linear(state, weight_h, bias_h).chunk(3, -1)
        update_gate = torch.sigmoid(x_z + h_z)
        candidate = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
        state = (1 - update_gate) * candidate + update_gate * state
        return state, state


class PackedGated(Gated):
    """A GRU that reads padded batches as packed sequences."""

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        if lengths is None or resets is not None or not x.shape[1]:
            return super().forward(x, state, lengths=lengths, resets=resets)
        state = self.initial_state(len(x), device=x.device) if state is None else state
        present = presence(x, lengths)
        x = x.masked_fill(~present[..., None], 0.0)
        return self.packed(x, state, lengths, present)

    def packed(
        self, x: Tensor, state: Tensor, lengths: Tensor, present: Tensor
    ) -> tuple[Tensor, State]:
        counts = lengths.clamp(min=1).cpu()  # a packed sequence can't be empty
        sequence = pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
        packed, last = self.gru(sequence, state[None].contiguous())
        y, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        end = torch.where((lengths > 0)[:, None], last[0], state)
        return y.masked_fill(~present[..., None], 0.0), end


class Cell(Recurrent):
    """An LSTM with a plain tuple as its state and a learned start of the cell."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.gates = nn.Linear(7, 16)
        self.start = nn.Parameter(torch.linspace(0.8, -0.5, 4))

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        start = self.start.to(device=device, dtype=dtype or self.start.dtype)
        return start.new_zeros(batch_size, 4), start.expand(batch_size, 4)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, cell = state
        i, f, g, o = self.gates(torch.cat([x, hidden], dim=-1)).chunk(4, dim=-1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        return hidden, (hidden, cell)


@register
class RunningMeanState(NamedTuple):
    """mean (B, 3) of the steps so far, and seen (B,) int64: how many they are."""

    mean: Tensor
    seen: Tensor


class RunningMean(Recurrent):
    """No parameters at all, and a whole number in the state."""

    def __init__(self) -> None:
        super().__init__(3, 3)

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        seen = torch.zeros(batch_size, dtype=torch.int64, device=device)
        return RunningMeanState(torch.zeros(batch_size, 3, device=device, dtype=dtype), seen)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen = state.seen + 1
        mean = state.mean + (x - state.mean) / seen[:, None]
        return x - mean, RunningMeanState(mean.to(state.mean.dtype), seen)


class EveryThird(Recurrent):
    """Nothing but a whole number in the state: no gradient reaches it."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        return torch.zeros(batch_size, dtype=torch.int64, device=device)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.scale * x * (state % 3 == 0)[:, None], state + 1


class Sizes(Recurrent):
    """Leaves of several ranks in a nested state, and a D that is none of their sizes."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.key, self.value = nn.Linear(3, 5), nn.Linear(3, 4)
        self.forget = nn.Linear(3, 1)
        self.read = nn.Linear(4, 2)
        self.frozen = nn.Parameter(torch.tensor(0.9), requires_grad=False)
        self.unused = nn.Parameter(torch.tensor(1.0))

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        options = {"device": device, "dtype": dtype or self.frozen.dtype}
        memory = torch.zeros(batch_size, 5, 4, **options)
        return (memory, (torch.zeros(batch_size, 5, **options), torch.ones(batch_size, **options)))

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        memory, (smooth, mass) = state
        key = torch.sigmoid(self.key(x))
        keep = torch.sigmoid(self.forget(x))
        memory = keep[..., None] * memory + key[..., None] * self.value(x)[:, None]
        smooth = self.frozen * smooth + (1 - self.frozen) * key
        mass = keep[:, 0] * mass + key.sum(-1)
        read = (smooth[..., None] * memory).sum(1) / (1 + mass[:, None])
        return self.read(read), (memory, (smooth, mass))


class KeyedDropout(Recurrent):
    """Dropout whose mask is a function of (seed, step, unit), all of it in the state."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.mix = nn.Linear(7, 4)

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        hidden = torch.zeros(batch_size, 4, device=device, dtype=dtype or self.mix.weight.dtype)
        lane = torch.arange(batch_size, device=device)
        return hidden, lane, torch.zeros_like(lane)

    def restart(self, state: State) -> State:
        hidden, seed, step = state
        fresh = self.initial_state(len(hidden), device=hidden.device)[0]
        return fresh, seed * 48271 % 2147483647 + 1, torch.zeros_like(step)

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, seed, step = state
        hidden = torch.tanh(self.mix(torch.cat([x, hidden], dim=-1)))
        if self.training:
            unit = torch.arange(4, device=x.device)
            number = seed[:, None] * 7919 + step[:, None] * 104729 + unit * 1299709 + 12345
            for _ in range(3):
                number = (number * 48271 + 11) % 2147483647
            hidden = hidden * (number % 1000 < 800) / 0.8
        return hidden, (hidden, seed, step + 1)


class Smoother(LinearRecurrent):
    """A linear recurrence with D other than N."""

    def __init__(self) -> None:
        super().__init__(3, 2, 5)
        self.gate, self.drive, self.read = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(5, 2)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(self.gate(x)), self.drive(x)

    def read_out(self, h: Tensor, x: Tensor) -> Tensor:
        return self.read(h.to(self.read.weight.dtype))  # type: ignore[no-any-return]


class BothWays(Recurrent):
    """Reads each segment forwards and backwards; needs the future, so it can't stream."""

    streamable = False

    def __init__(self) -> None:
        super().__init__(3, 8)
        self.ahead, self.back = Elman(), Elman()

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        options = {"device": device, "dtype": dtype}
        return (
            self.ahead.initial_state(batch_size, **options),
            self.back.initial_state(batch_size, **options),
        )

    def run(
        self, x: Tensor, state: State, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, State]:
        first = self.initial_state(len(x), device=x.device)
        if not all(torch.equal(own, given) for own, given in zip(first, state, strict=True)):
            raise StateError("expected the initial state: the backward half starts at the end")
        present = presence(x, lengths)
        resets = torch.zeros_like(present) if resets is None else resets & present
        # Backwards, a segment begins at its last step: the one before the next reset.
        ends = torch.cat([resets[:, 1:], torch.zeros_like(resets[:, :1])], dim=1)
        ahead, last = self._read(self.ahead, x, state[0], present, resets)
        x, present, ends = x.flip(1), present.flip(1), ends.flip(1)
        back, first_read = self._read(self.back, x, state[1], present, ends)
        return torch.cat([ahead, back.flip(1)], dim=-1), (last, first_read)

    def _read(
        self, half: Elman, x: Tensor, state: Tensor, present: Tensor, resets: Tensor
    ) -> tuple[Tensor, Tensor]:
        outputs = [x.new_zeros(len(x), 0, 4)]
        for t in range(x.shape[1]):
            state = torch.where(resets[:, t, None], half.initial_state(len(x)), state)
            y, new = half.update(x[:, t], state)
            state = torch.where(present[:, t, None], new, state)
            outputs.append(y.masked_fill(~present[:, t, None], 0.0)[:, None])
        return torch.cat(outputs, dim=1), state


HEALTHY: dict[str, Callable[[], Recurrent]] = {
    "ten_lines": TenLines,
    "learned_start_and_bare_tensor": Elman,
    "projects_the_whole_sequence_at_once": FastElman,
    "gru_written_out": Gated,
    "gru_on_packed_sequences": PackedGated,
    "tuple_state_with_learned_cell": Cell,
    "counter_in_the_state_and_no_parameters": RunningMean,
    "only_a_counter_in_the_state": EveryThird,
    "leaves_of_several_sizes_and_another_output_size": Sizes,
    "dropout_keyed_by_seed_step_unit": KeyedDropout,
    "linear_recurrence": Smoother,
    "both_ways_and_not_streamable": BothWays,
}
