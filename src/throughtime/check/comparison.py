"""How two runs of one model are held against each other, and what comes of it as an item.

Differences are relative: |a - b| / (1 + |b|). Which runs are compared is decided elsewhere.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from throughtime import state as states
from throughtime.check.report import Item
from throughtime.state import State

TOLERANCE = 1e-5
"""How far two float32 ways of running may lie apart: |a - b| <= 1e-5 * (1 + |b|)."""


class Comparison:
    """Keeps the largest difference and the first one that is too large.

    Args:
        name: of the item.
        tolerance: the largest relative difference allowed; 0 asks for equal bits.
    """

    def __init__(self, name: str, tolerance: float = TOLERANCE) -> None:
        self.name = name
        self.tolerance = tolerance
        self.largest: float | None = None
        self.place: tuple[int, int] | None = None
        self.finding = ""

    @property
    def passed(self) -> bool:
        """Whether everything so far lay close enough."""
        return not self.finding

    def outputs(
        self, got: Tensor, wanted: Tensor, lengths: Tensor, *, start: int = 0, what: str = "outputs"
    ) -> None:
        """Hold (B, T, ...) against (B, T, ...), up to the lengths.

        Args:
            got: of the run under examination.
            wanted: of the run it should equal.
            lengths: (B,), steps that count.
            start: number of the first step, for the place of a difference.
            what: what differs if they do, and how it was run.
        """
        if got.shape != wanted.shape:
            self.fail(f"{what} of shape {tuple(got.shape)} instead of {tuple(wanted.shape)}")
            return
        there = torch.arange(got.shape[1]) < lengths[:, None]
        # The largest of each step; (B, T).
        apart = difference(got, wanted).reshape(*got.shape[:2], -1).amax(2)
        self._note(torch.where(there, apart, 0), start, what)

    def state(self, got: State, wanted: State, lengths: Tensor, *, how: str = "") -> None:
        """Hold the states after the last steps against each other, leaf by leaf."""
        names = states.names(wanted)
        if states.names(got) != names:
            self.fail(f"a state of {', '.join(states.names(got))} instead of {', '.join(names)}")
            return
        for name, a, b in zip(names, states.leaves(got), states.leaves(wanted), strict=True):
            self.leaf(name, a, b, lengths, how=how)

    def leaf(self, name: str, got: Tensor, wanted: Tensor, lengths: Tensor, *, how: str) -> None:
        """Hold one leaf (B, ...) of the states after the last steps against another."""
        what = f"end state {name}{how}"
        if got.shape != wanted.shape:
            self.fail(f"{what} of shape {tuple(got.shape)} instead of {tuple(wanted.shape)}")
        elif got.numel():
            self._note(difference(got, wanted).reshape(len(got), -1).amax(1), lengths - 1, what)

    def fail(self, finding: str, place: tuple[int, int] | None = None) -> None:
        """Note that something is wrong which no difference can say."""
        self.largest = math.inf
        if self.passed:
            self.finding, self.place = finding, place

    def item(self, detail: str) -> Item:
        """Return the item; `detail` says what was compared where nothing is wrong."""
        shown = self.finding or detail
        return Item(self.name, self.passed, self.largest, self.tolerance, self.place, shown)

    def _note(self, apart: Tensor, start: int | Tensor, what: str) -> None:
        """Note differences (B, T) from step `start` on, or (B,) at the steps `start`."""
        if not apart.numel():
            return
        largest = float(apart.max())
        self.largest = max(self.largest or 0.0, largest)
        if largest <= self.tolerance or not self.passed:
            return
        lanes, steps = (apart > self.tolerance).reshape(len(apart), -1).nonzero().T
        steps = steps + (start[lanes].clamp(min=0) if isinstance(start, Tensor) else start)
        first = int(steps.argmin())
        self.place = int(lanes[first]), int(steps[first])
        amount = "are not finite where they should be" if math.isinf(largest) else "differ"
        self.finding = f"{what} {amount}"


def examine(name: str, fill: Callable[[Comparison], str], tolerance: float = TOLERANCE) -> Item:
    """Make an item by a function that compares and returns what it compared.

    What the model raises on the way is what is wrong with it, so it becomes the item's finding.
    """
    comparison = Comparison(name, tolerance)
    detail = ""
    try:
        detail = fill(comparison)
    except Exception as error:
        text = " ".join(str(error).split())
        comparison.fail(f"raised {type(error).__name__}: {text[:300]}")
    return comparison.item(detail)


def difference(got: Tensor, wanted: Tensor) -> Tensor:
    """Return |a - b| / (1 + |b|), elementwise; whole numbers that differ are at least 1 apart.

    Two NaN or two equal infinities do not differ; NaN against a number differs by infinity.
    """
    a, b = got.double(), wanted.double()
    apart = (a - b).abs() / (1 + b.abs())
    if not (got.is_floating_point() or wanted.is_floating_point()):
        apart = apart.clamp(min=1)
    apart = torch.where((got == wanted) | (a.isnan() & b.isnan()), 0.0, apart)
    return torch.where(apart.isnan(), torch.inf, apart)
