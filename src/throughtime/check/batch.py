"""The data a run is checked on: a few lanes of it, and one long sequence.

From data that can be read, or from the inputs that the run recorded when it was trained. Running
them is done elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime.data.windows import Example
from throughtime.errors import BundleError, DataError, ThroughtimeError
from throughtime.run import Run

LANES = 4
STEPS = 256


@dataclass(frozen=True, eq=False)
class Batch:
    """Lanes of different lengths, one of which starts afresh on the way.

    Attributes:
        inputs: (B, T, F) float32 or (B, T) int64.
        lengths: (B,) int64; the longest is T.
        resets: (B, T) bool.
        origin: where the inputs come from, for people.
    """

    inputs: Tensor
    lengths: Tensor
    resets: Tensor
    origin: str

    def __str__(self) -> str:
        return f"{len(self.lengths)} lanes, {self.inputs.shape[1]} steps of {self.origin}"

    @property
    def symbolic(self) -> bool:
        """Whether the inputs are symbols, not numbers."""
        return not self.inputs.is_floating_point()

    def cut(self, start: int, stop: int) -> "Batch":
        """Return the steps from `start` to `stop`."""
        lengths = (self.lengths - start).clamp(0, stop - start)
        return Batch(self.inputs[:, start:stop], lengths, self.resets[:, start:stop], self.origin)

    def take(self, lanes: Tensor) -> "Batch":
        """Return the lanes with these numbers."""
        return Batch(self.inputs[lanes], self.lengths[lanes], self.resets[lanes], self.origin)


@dataclass(frozen=True, eq=False)
class Material:
    """What a run is checked on.

    Attributes:
        batch: for comparing ways of running.
        long: one sequence of evaluation data with targets, or None where no data can be read.
        why_not: why there is none.
    """

    batch: Batch
    long: Example | None
    why_not: str


def gather(run: Run, data: Any) -> Material:
    """Read what the run is to be checked on.

    Args:
        run: the run.
        data: a path, a frame or `demo:NAME`; where None, what the run was trained on, and where
            that can't be read any more, the inputs recorded in the bundle.

    Raises:
        DataError: when data was given and can't be read.
        BundleError: when neither data nor recorded inputs can be read.
    """
    if data is None and not run.config.source:
        return _recorded(run, "the run was trained on a frame")
    try:
        read = run.task.read(run.source if data is None else data)
        examples = [e for e in run.task.examples(read, "validation") if len(e)]
        long = run.task.long_example(read) if examples else None
        if long is None or not len(long):
            raise DataError("expected validation data to check on, got none; give more data")
    except (ThroughtimeError, OSError) as error:
        if data is not None:
            raise
        return _recorded(run, f"{run.config.source} cannot be read: {error}")
    origin = data if isinstance(data, str) else run.config.source if data is None else "the data"
    return Material(_batch(examples, str(origin)), long, "")


def _recorded(run: Run, why: str) -> Material:
    parity = run.parity
    inputs, lengths = parity.get("inputs"), parity.get("lengths")
    if (
        inputs is None
        or lengths is None
        or inputs.dim() < 2
        or not len(inputs)
        or lengths.shape != inputs.shape[:1]
        or not 0 < lengths.max() <= inputs.shape[1]
    ):
        raise BundleError(
            f"expected inputs (B, T, ...) and lengths (B,) in parity.safetensors, got none that "
            f"fit, and {why}; give data to check on"
        )
    resets = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    batch = Batch(
        inputs,
        lengths,
        _with_restart(resets, lengths),
        f"the inputs recorded at training ({why})",
    )
    return Material(batch, None, why)


def _batch(examples: Sequence[Example], origin: str) -> Batch:
    """Take lanes of falling length from the longest examples, later pieces where there are few."""
    longest = sorted(examples, key=len, reverse=True)[:LANES]
    inputs, resets = [], []
    for lane in range(LANES):
        example = longest[lane % len(longest)]
        start = len(example) * (lane // len(longest)) // LANES
        count = max(STEPS * (LANES - lane) // LANES, 1)
        inputs.append(torch.tensor(example.inputs[start : start + count]))
        resets.append(torch.tensor(example.starts[start : start + count]))
    lengths = torch.tensor([len(lane) for lane in inputs])
    pad = torch.nn.utils.rnn.pad_sequence
    return Batch(
        pad(inputs, batch_first=True),
        lengths,
        _with_restart(pad(resets, batch_first=True), lengths),
        origin,
    )


def _with_restart(resets: Tensor, lengths: Tensor) -> Tensor:
    """Let the last lane start afresh in its middle: data seldom does, and a run must know how."""
    resets = resets.clone()
    resets[-1, int(lengths[-1]) // 2] = True
    return resets
