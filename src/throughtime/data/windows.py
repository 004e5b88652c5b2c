"""Cuts of many sequences through time: what training and evaluation read, in which order.

Three ways to cut, all yielding the same `Window`. `Lanes` runs contiguous lanes through one long
tape, so that a state is carried from window to window; `Buckets` batches independent sequences of
about one length; `walk` goes through whole sequences in time order, for evaluation. A plan is a
pure function of (seed, epoch), so a cursor is all that a resumed run needs. Numpy only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from throughtime.errors import DataError, OptionError, ShapeError


@dataclass(frozen=True)
class Example:
    """One sequence to learn from: what is read and what should follow, step by step.

    Attributes:
        inputs: (T, F) float32 features, or (T,) int64 symbols.
        targets: (T, ...) float32 with NaN where there is no target, or (T,) int64 with -1 there.
        starts: (T,) bool, True where the state starts afresh.

    Raises:
        ShapeError: when the three are of different length.
    """

    inputs: np.ndarray
    targets: np.ndarray
    starts: np.ndarray

    def __post_init__(self) -> None:
        lengths = len(self.inputs), len(self.targets), len(self.starts)
        if len(set(lengths)) != 1:
            raise ShapeError(
                f"expected inputs, targets and starts of one length T, got {lengths[0]}, "
                f"{lengths[1]} and {lengths[2]}"
            )

    def __len__(self) -> int:
        return len(self.inputs)


class Window(NamedTuple):
    """A cut of B lanes and T steps.

    Attributes:
        inputs: (B, T, F) float32 or (B, T) int64.
        targets: (B, T, ...), NaN or -1 where there is none, and beyond the lengths.
        lengths: (B,) int64, steps that are there.
        resets: (B, T) bool, steps that start from the initial state.
    """

    inputs: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray
    resets: np.ndarray


@dataclass(frozen=True)
class Lanes:
    """Contiguous lanes: the sequences end to end on one tape, cut evenly into B lanes.

    Window k of an epoch continues window k - 1, lane by lane. Each epoch turns the tape by another
    random amount, so that the lanes' cold starts and the window borders fall elsewhere.

    Attributes:
        examples: the sequences; each has a start at its step 0.
        lanes: B.
        steps: T of a window; the last window of an epoch may be shorter in some lanes.
        seed: of the turns.
    """

    examples: Sequence[Example]
    lanes: int
    steps: int
    seed: int

    carries = True

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.steps < 1:
            raise OptionError(
                f"expected lanes and steps of 1 or more, got {self.lanes} and {self.steps}"
            )
        total = sum(map(len, self.examples))
        if self.lanes > total:
            raise DataError(
                f"expected at least one step a lane, got {total} steps for {self.lanes} lanes; "
                "use fewer lanes"
            )
        if not all(example.starts[:1].all() for example in self.examples):
            raise DataError(
                "expected a start at step 0 of each sequence on the tape, got one that would go on "
                "from the sequence before; set starts[0]"
            )

    @cached_property
    def tape(self) -> Example:
        """All sequences end to end."""
        return Example(
            np.concatenate([example.inputs for example in self.examples]),
            np.concatenate([example.targets for example in self.examples]),
            np.concatenate([example.starts for example in self.examples]),
        )

    @property
    def lane_steps(self) -> int:
        """Steps in the longest lane."""
        return -(-len(self.tape) // self.lanes)

    def __len__(self) -> int:
        """Windows in an epoch."""
        return -(-self.lane_steps // self.steps)

    def window(self, epoch: int, cursor: int) -> Window:
        """Return window number `cursor` of an epoch."""
        total, length = len(self.tape), self.lane_steps
        turn = int(np.random.default_rng((self.seed, epoch)).integers(total))
        start = cursor * self.steps
        steps = min(self.steps, length - start)
        begins = np.arange(self.lanes) * length
        ends = np.minimum(begins + length, total)
        lengths = np.clip(ends - begins - start, 0, steps)
        places = (begins[:, None] + start + np.arange(steps) + turn) % total
        resets = self.tape.starts[places]
        if cursor == 0:
            resets[:, 0] = True
        return _window(self.tape, places, lengths, resets)


@dataclass(frozen=True)
class Buckets:
    """Independent sequences, batched with others of about their length.

    Sequences are ordered by length with some noise, cut into batches, and the batches shuffled;
    both anew in each epoch.

    Attributes:
        examples: the sequences.
        lanes: sequences in a batch.
        seed: of the noise and the order.
    """

    examples: Sequence[Example]
    lanes: int
    seed: int

    carries = False
    noise = 0.1

    def __post_init__(self) -> None:
        if self.lanes < 1:
            raise OptionError(f"expected lanes of 1 or more, got {self.lanes}")
        if not self.examples:
            raise DataError("expected sequences to batch, got none; give more data")

    @cached_property
    def lengths(self) -> np.ndarray:
        """T of each sequence."""
        return np.array([len(example) for example in self.examples])

    def __len__(self) -> int:
        """Windows in an epoch."""
        return -(-len(self.examples) // self.lanes)

    def window(self, epoch: int, cursor: int) -> Window:
        """Return batch number `cursor` of an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        noisy = self.lengths * rng.uniform(1, 1 + self.noise, len(self.lengths))
        batch = rng.permutation(len(self))[cursor] * self.lanes
        chosen = np.argsort(noisy, kind="stable")[batch : batch + self.lanes]
        return _padded([self.examples[i] for i in chosen], 0, int(self.lengths[chosen].max()))


def walk(
    examples: Sequence[Example], *, lanes: int, steps: int
) -> Iterator[tuple[np.ndarray, Window]]:
    """Go through whole sequences in time order, `lanes` of about one length at a time.

    Args:
        examples: the sequences.
        lanes: most sequences in a batch.
        steps: T of a window.

    Yields:
        Which sequences the lanes are, (B,) int64, and the next window of them. The windows of one
        batch follow each other; the first has a reset at step 0 in every lane.
    """
    order = np.argsort([-len(example) for example in examples], kind="stable")
    for batch in np.array_split(order, range(lanes, len(order), lanes)):
        chosen = [examples[i] for i in batch]
        longest = max((len(example) for example in chosen), default=0)
        for start in range(0, longest, steps):
            yield batch, _padded(chosen, start, min(start + steps, longest))


def _padded(examples: Sequence[Example], start: int, stop: int) -> Window:
    """Stack the steps from `start` to `stop` of each sequence, filled up at the end."""
    tape = Example(
        np.concatenate([example.inputs[start:stop] for example in examples]),
        np.concatenate([example.targets[start:stop] for example in examples]),
        np.concatenate([example.starts[start:stop] for example in examples]),
    )
    lengths = np.array([len(example.inputs[start:stop]) for example in examples])
    begins = np.cumsum(lengths) - lengths
    places = np.minimum(begins[:, None] + np.arange(stop - start), len(tape) - 1)
    return _window(tape, places, lengths, tape.starts[places])


def _window(tape: Example, places: np.ndarray, lengths: np.ndarray, resets: np.ndarray) -> Window:
    """Gather a window; what lies beyond the lengths is zero, without target and without reset."""
    absent = np.arange(places.shape[1]) >= lengths[:, None]
    inputs, targets = tape.inputs[places], tape.targets[places]
    inputs[absent] = 0
    targets[absent] = -1 if targets.dtype.kind == "i" else np.nan
    return Window(inputs, targets, lengths.astype(np.int64), resets & ~absent)
