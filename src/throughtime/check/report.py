"""What a check has found: one item for each thing examined, and the report of all of them.

Nothing here runs a model; how an item comes about is in the files named after the items.
"""

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_WIDTH = 110


@dataclass(frozen=True)
class Item:
    """One thing that was examined.

    Attributes:
        name: what was examined, such as `stepped`.
        passed: whether it is as it should be, or could not be judged.
        max_difference: the largest difference found; None where there was nothing to judge by.
        tolerance: the largest difference allowed.
        first_difference: lane and step of the first difference that is too large, or None.
        detail: one line: what was compared, or what is wrong.
        figures: numbers behind the judgement, where there are some, by name.
    """

    name: str
    passed: bool
    max_difference: float | None
    tolerance: float
    first_difference: tuple[int, int] | None
    detail: str
    figures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`ok`, `FAILED`, or `not judged`."""
        if not self.passed:
            return "FAILED"
        return "not judged" if self.max_difference is None else "ok"

    def to_json(self) -> dict[str, Any]:
        """Return the item as JSON values; a number that JSON has no word for becomes null."""
        return {
            "name": self.name,
            "passed": self.passed,
            "verdict": self.verdict,
            "max_difference": _finite_or_none(self.max_difference),
            "tolerance": self.tolerance,
            "first_difference": None
            if self.first_difference is None
            else dict(zip(("lane", "step"), self.first_difference, strict=True)),
            "detail": self.detail,
            "figures": {
                name: [_finite_or_none(value) for value in values]
                for name, values in self.figures.items()
            },
        }


@dataclass(frozen=True)
class Report:
    """What `check` has found; print it to read it.

    Attributes:
        run: the run directory.
        items: in the order in which they were examined.

    Example:
        >>> report = Report("runs/a", (Item("stepped", True, 2e-7, 1e-5, None, "64 steps"),))
        >>> print(report)
        runs/a: ok, 1 of 1 passed
        item     verdict  difference  tolerance  detail
        stepped  ok          2.0e-07    1.0e-05  64 steps
    """

    run: str
    items: tuple[Item, ...]

    @property
    def passed(self) -> bool:
        """Whether every item passed."""
        return all(item.passed for item in self.items)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "run": self.run,
            "passed": self.passed,
            "items": [item.to_json() for item in self.items],
        }

    def __str__(self) -> str:
        count = sum(item.passed for item in self.items)
        head = f"{self.run}: {'ok' if self.passed else 'FAILED'}, "
        head += f"{count} of {len(self.items)} passed"
        widths = (
            max(len("item"), *(len(item.name) for item in self.items)),
            max(len("verdict"), *(len(item.verdict) for item in self.items)),
        )
        lines = [head, _row(widths, ("item", "verdict", "difference", "tolerance"), "detail")]
        for item in self.items:
            shown = (item.name, item.verdict, _number(item.max_difference), _number(item.tolerance))
            detail = item.detail
            if item.first_difference is not None:
                lane, step = item.first_difference
                detail = f"first at lane {lane}, step {step}: {detail}"
            lines.append(_row(widths, shown, detail))
        return "\n".join(lines)


def _row(widths: tuple[int, int], cells: tuple[str, str, str, str], detail: str) -> str:
    name, verdict, difference, tolerance = cells
    left = f"{name:<{widths[0]}}  {verdict:<{widths[1]}}  {difference:>10}  {tolerance:>9}  "
    # Details that do not fit go on below themselves, so that the columns stay columns.
    parts = textwrap.wrap(detail, max(_WIDTH - len(left), 30)) or [""]
    return ("\n" + " " * len(left)).join([left + parts[0], *parts[1:]])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}" if value else "0"


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
