"""What whole numbers cost: figures of a run and of its export, and outputs after many steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from throughtime.errors import ThroughtimeError
from throughtime.export.c.int8.standing import Standing
from throughtime.export.gate import Runner, material, take
from throughtime.run import Run
from throughtime.state import State

ALLOWED = 0.01
"""By how much a figure may be worse, as a share of it, before the export warns."""

_FIGURES = ("mae", "mse", "crps", "nats")
"""Figures that are compared, each the better the smaller it is."""

DRIFT_STEPS = (100, 1_000, 10_000, 100_000)
_CHUNK = 1000


@dataclass(frozen=True)
class Beside:
    """A figure of a run and of its export.

    Attributes:
        part: of the data.
        name: of the figure.
        run: of the run, in float32.
        export: of the export.
    """

    part: str
    name: str
    run: float
    export: float

    @property
    def worse(self) -> float:
        """By how much the export is worse, as a share of the run's figure."""
        return (self.export - self.run) / abs(self.run) if self.run else 0.0

    def __str__(self) -> str:
        return f"{self.part} {self.name} {self.run:.6g} -> {self.export:.6g} ({self.worse:+.2%})"


@dataclass(frozen=True)
class Drift:
    """How far outputs are from those of the run, in the steps up to one since the step before.

    Attributes:
        step: the last of them.
        largest: the largest |a - b| / (1 + |b|).
        typical: the root of the mean square of the same.
    """

    step: int
    largest: float
    typical: float

    def __str__(self) -> str:
        return f"{self.largest:.1e} ({self.typical:.1e}) by step {self.step:,}"


def figures_beside(run: Run, runner: Runner, data: Any = None) -> tuple[Beside, ...]:
    """Return the figures of a run and of its export on validation and test data.

    Args:
        run: the run.
        runner: the export.
        data: taken where what the run was trained on can't be read.

    Returns:
        The figures; none where there is no data that can be read.
    """
    read = readable(run, data)
    if read is None:
        return ()
    of_run = run.task.evaluate(run.model, read)
    of_export = run.task.evaluate(Standing(run.model, runner), read)
    return tuple(
        Beside(part, name, figures[name], of_export[part][name])
        for part, figures in of_run.items()
        for name in _FIGURES
        if name in figures
    )


def readable(run: Run, data: Any) -> Any:
    """Return what a run was trained on, as its task reads it, or else other data, or else None."""
    for source in (run.source, data):
        if source is None or (isinstance(source, str) and not source):
            continue
        try:
            return run.task.read(source)
        except (ThroughtimeError, OSError):
            continue
    return None


@torch.no_grad()
def drift(run: Run, runner: Runner, steps: Sequence[int] = DRIFT_STEPS) -> tuple[Drift, ...]:
    """Run one lane with its state carried all the way beside the run in float32."""
    pieces = material(run, torch.Generator().manual_seed(0))
    state: State | None = None
    runner.begin(1)
    found, begin = [], 0
    for end in steps:
        largest, squares, count = 0.0, 0.0, 0
        for start in range(begin, end, _CHUNK):
            inputs = take(pieces, min(_CHUNK, end - start))[None]
            present = torch.ones(inputs.shape[:2], dtype=torch.bool)
            outputs = runner.run(inputs, present, torch.zeros_like(present)).double()
            wanted, state = run.model(inputs, state)
            apart = (outputs - wanted).abs() / (1 + wanted.double().abs())
            largest = max(largest, float(apart.max()))
            squares += float((apart**2).sum())
            count += apart.numel()
        found.append(Drift(end, largest, (squares / count) ** 0.5))
        begin = end
    return tuple(found)
