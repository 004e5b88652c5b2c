"""What a check finds: the comparison of tensors under a law, and the report of all of them.

Nothing here runs a layer. A comparison that fails raises `LawBrokenError`, with the law, the place,
the amount and the likely mend.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.errors import LawBrokenError

LAWS = {
    1: "step",
    2: "chunking",
    3: "hold",
    4: "reset",
    5: "lanes",
    6: "shape",
    7: "causality",
    8: "numbers",
}
"""The short name of each law, as it stands in messages and reports."""


class Tolerance(NamedTuple):
    """How far two numbers may lie apart: |a - b| <= tolerance * (1 + |b|)."""

    values: float
    gradients: float


class Row(NamedTuple):
    """What was compared under one law, and the largest relative differences found."""

    law: int
    comparisons: int
    values: float
    gradients: float


@dataclass(frozen=True)
class Report:
    """What `check_recurrent` has checked; print it to read it.

    Attributes:
        layer: the layer, as it prints itself, cut to one line.
        rows: one for each law that was checked.
        notes: what was left out or done in another way, and why.
    """

    layer: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.layer}: {len(self.rows)} laws hold",
            f"{'law':<14}{'comparisons':>12}{'values':>10}{'gradients':>11}",
        ]
        for row in self.rows:
            name = f"{row.law} {LAWS[row.law]}"
            lines.append(
                f"{name:<14}{row.comparisons:>12}{row.values:>10.1e}{row.gradients:>11.1e}"
            )
        return "\n".join([*lines, *self.notes])


@dataclass
class Ledger:
    """Compares, keeps the largest difference of each law, and raises at the first broken one."""

    comparisons: dict[int, int] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    gradients: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def close(
        self,
        law: int,
        subject: str,
        got: Tensor,
        wanted: Tensor,
        tolerance: float,
        mend: str,
        *,
        axes: Sequence[str] = (),
        gradient: bool = False,
    ) -> None:
        """Hold `got` against `wanted`; whole numbers must be equal.

        Args:
            law: number of the law under which the two must agree.
            subject: what differs if they do not, as the start of a sentence.
            got: any shape.
            wanted: of the same shape.
            tolerance: relative, as in `Tolerance`; 0 asks for equality.
            mend: what is likely wrong and what to do.
            axes: names of the axes in messages, such as lane and step; others are indices.
            gradient: which of the two largest differences this one counts for.
        """
        self.count(law)
        if got.shape != wanted.shape:
            raise self.broken(
                law,
                f"{subject}: expected shape {tuple(wanted.shape)}, got {tuple(got.shape)}; {mend}",
            )
        if not got.numel():
            return
        if not got.is_floating_point():
            tolerance = 0.0
        apart = differences(got, wanted)
        largest = float(apart.max())
        kept = self.gradients if gradient else self.values
        kept[law] = max(kept.get(law, 0.0), largest)
        if largest <= tolerance:
            return
        place = (apart > tolerance).nonzero()[0].tolist()
        index = tuple(place)
        amount = "" if largest == torch.inf else f" by up to {largest:.1e}"
        raise self.broken(
            law,
            f"{subject} differs{amount} (tolerance {tolerance:.0e}), first at "
            f"{_place(place, axes)}: {_number(got[index])} instead of {_number(wanted[index])}; "
            f"{mend}",
        )

    def require(self, law: int, holds: bool, finding: str) -> None:
        """Count a yes-or-no check, and raise when it does not hold."""
        self.count(law)
        if not holds:
            raise self.broken(law, finding)

    def count(self, law: int) -> None:
        """Count one comparison."""
        self.comparisons[law] = self.comparisons.get(law, 0) + 1

    def largest(self) -> tuple[dict[int, float], dict[int, float]]:
        """Return copies of the largest differences so far, to go back to."""
        return dict(self.values), dict(self.gradients)

    def broken(self, law: int, finding: str) -> LawBrokenError:
        """Return the error that names the law."""
        return LawBrokenError(law, LAWS[law], finding)

    @contextmanager
    def attempt(self, law: int, doing: str) -> Iterator[None]:
        """Report an exception out of the layer as a breach of the law that the call serves."""
        try:
            yield
        except LawBrokenError:
            raise
        except Exception as error:
            text = " ".join(str(error).split()) or "no message"
            finding = f"{doing} raises {type(error).__name__}: {text[:300]}"
            raise self.broken(law, finding) from error

    def report(self, layer: str) -> Report:
        """Return what was found so far."""
        rows = (
            Row(law, count, self.values.get(law, 0.0), self.gradients.get(law, 0.0))
            for law, count in sorted(self.comparisons.items())
        )
        return Report(layer, tuple(rows), tuple(self.notes))


def differences(got: Tensor, wanted: Tensor) -> Tensor:
    """Return |a - b| / (1 + |b|) for each element, in float64; infinity where one is NaN."""
    a, b = got.detach().double(), wanted.detach().double()
    apart = (a - b).abs() / (1 + b.abs())
    # Equal infinities are no difference, and neither are two results that are both NaN.
    apart = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, apart)
    return torch.where(apart.isnan(), torch.inf, apart)


def _place(place: list[int], axes: Sequence[str]) -> str:
    named = [f"{name} {index}" for name, index in zip(axes, place, strict=False)]
    rest = place[len(axes) :]
    if rest:
        named.append(f"index {rest}")
    return ", ".join(named) or "its only element"


def _number(value: Tensor) -> str:
    return f"{value.item():.6g}" if value.is_floating_point() else str(value.item())
