"""Where each row lies on its series' time grid: the rules shared by reader and stream.

`GridLane` places one row after another in constant time and memory, as a live stream must;
`place` gives the same answers for whole columns at once, as a reader must. Which step the grid
has is found in `steps`; nothing here knows about files or values.

The rules, for a grid of a given step:

* A row counts as the nearest whole number `n` of steps after the row admitted before it (a half
  counts up), and the grid goes on from the row's own time. So a clock that was set anew, or that
  jitters, costs no rows.
* `n = 1` is the next row. `n > 1` leaves a gap of `n - 1` steps: up to `max_gap` of them are
  filled, one filler a step; after more the state starts afresh and nothing is filled.
* `n = 0` is a row that came less than half a step after another: it is off the grid and is
  dropped, as are rows with a time that was there already (duplicate) or earlier (late).
* A step of calendar months counts months, whatever the day of the month.
* Without a step the series is irregular: every later row is the next one.
"""

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np

from throughtime.data.sequences import TableFormat
from throughtime.errors import BundleError

Kind = Literal["next", "gap", "restart", "late", "duplicate", "off_grid"]

_EPOCH = datetime(1970, 1, 1)
_MONTHS_TO_EPOCH = 1970 * 12


@dataclass(frozen=True, slots=True)
class Admission:
    """What becomes of one row.

    Attributes:
        kind: "next", "gap" (fillers go first) and "restart" (the state starts afresh) are
            admitted; "late", "duplicate" and "off_grid" are dropped.
        fillers: how many missing steps go before the row.
    """

    kind: Kind
    fillers: int = 0

    @property
    def admitted(self) -> bool:
        """Whether the row becomes part of the series."""
        return self.kind in ("next", "gap", "restart")


class GridLane:
    """One key's position on the time grid.

    Attributes:
        step: the grid step in units of time, or None where the series is irregular.
        months: the step in calendar months where it is one, or None.
        max_gap: most missing steps in a row that are filled.
        last: time of the row admitted last, or None before the first.

    Example:
        >>> lane = GridLane(step=10, max_gap=5)
        >>> [lane.admit(time).kind for time in (0, 10, 10, 5, 40, 200)]
        ['restart', 'next', 'duplicate', 'late', 'gap', 'restart']
    """

    __slots__ = ("last", "max_gap", "months", "step")

    def __init__(
        self,
        step: int | None,
        max_gap: int,
        months: int | None = None,
        last: int | None = None,
    ) -> None:
        """Begin before the first row, or after the row at `last`."""
        self.step = step
        self.max_gap = max_gap
        self.months = months
        self.last = last

    @classmethod
    def of(cls, format: TableFormat) -> "GridLane":
        """Begin a lane on the grid of a table.

        Args:
            format: how the table was read.

        Returns:
            A lane before its first row.
        """
        return cls(format.step_us, format.max_gap, format.step_months)

    def admit(self, time: int) -> Admission:
        """Place the next row and remember it if it is admitted.

        Args:
            time: its time, as in `Series.time`.

        Returns:
            What becomes of it.
        """
        last = self.last
        if last is None:
            self.last = time
            return Admission("restart")
        if time <= last:
            return Admission("duplicate" if time == last else "late")
        count = self._steps(last, time)
        if count == 0:
            return Admission("off_grid")
        self.last = time
        if count == 1:
            return Admission("next")
        if count - 1 > self.max_gap:
            return Admission("restart")
        return Admission("gap", count - 1)

    def _steps(self, earlier: int, later: int) -> int:
        if self.step is None:
            return 1
        if self.months is not None:
            return (_month(later) - _month(earlier) + self.months // 2) // self.months
        return (later - earlier + self.step // 2) // self.step

    def to_json(self) -> dict[str, int]:
        """Give the lane as whole numbers; what is None is left out.

        Returns:
            What `from_json` takes.
        """
        fields = {
            "step": self.step,
            "max_gap": self.max_gap,
            "months": self.months,
            "last": self.last,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "GridLane":
        """Make a lane of what `to_json` gave.

        Args:
            fields: whole numbers by name.

        Returns:
            A lane that goes on where the other was.

        Raises:
            BundleError: a field is unknown, missing or not a whole number.
        """
        known = {"step", "max_gap", "months", "last"}
        if (
            not set(fields) <= known
            or "max_gap" not in fields
            or any(type(value) is not int for value in fields.values())
        ):
            raise BundleError(
                f"expected whole numbers max_gap, step, months, last of a grid lane, came "
                f"{fields!r}: use what GridLane.to_json() wrote"
            )
        return cls(fields.get("step"), fields["max_gap"], fields.get("months"), fields.get("last"))


@dataclass(frozen=True)
class Placement:
    """What becomes of every row of a sorted table without duplicates: `GridLane`, in arrays.

    Attributes:
        admitted: (N,) bool, False where a row is off the grid and dropped.
        fillers: (N,) int64, missing steps that go before each row.
        restarts: (N,) bool, True where the state starts afresh at a row.
    """

    admitted: np.ndarray
    fillers: np.ndarray
    restarts: np.ndarray


def place(
    time: np.ndarray, first: np.ndarray, step: int | None, max_gap: int, months: int | None = None
) -> Placement:
    """Place all rows of all series at once.

    Args:
        time: (N,) int64, strictly increasing within a series, series after series.
        first: (N,) bool, True at the first row of each series.
        step: the grid step, or None.
        max_gap: most missing steps in a row that are filled.
        months: the step in calendar months where it is one.

    Returns:
        The same as `GridLane.admit` row by row.
    """
    admitted = np.ones(len(time), dtype=bool)
    counts = steps_between(time, first, step, months)
    close = np.flatnonzero((counts == 0) & ~first)
    if len(close):
        starts = np.flatnonzero(first)
        ends = np.append(starts[1:], len(time))
        # only a series with such a row depends on which row was admitted last
        for index in np.unique(np.searchsorted(starts, close, side="right") - 1):
            rows = slice(int(starts[index]), int(ends[index]))
            lane = GridLane(step, max_gap, months)
            admitted[rows] = [lane.admit(value).admitted for value in time[rows].tolist()]
        kept = np.flatnonzero(admitted)
        counts[kept] = steps_between(time[kept], first[kept], step, months)
    restarts = admitted & (first | (counts - 1 > max_gap))
    fillers = np.where(admitted & ~restarts, counts - 1, 0)
    return Placement(admitted, fillers, restarts)


def steps_between(
    time: np.ndarray, first: np.ndarray, step: int | None, months: int | None = None
) -> np.ndarray:
    """Count the steps from each row to the one before it.

    Args:
        time: (N,) int64, increasing within a series.
        first: (N,) bool, True at the first row of each series.
        step: the grid step, or None: every row is one step after the one before.
        months: the step in calendar months where it is one.

    Returns:
        (N,) int64, the nearest whole number of steps, 1 for the first row of a series.
    """
    counts = np.ones(len(time), dtype=np.int64)
    if step is not None and len(time) > 1:
        index, unit = (time, step) if months is None else (month_index(time), months)
        counts[1:] = (np.diff(index) + unit // 2) // unit
        counts[first] = 1
    return counts


def month_index(time: np.ndarray) -> np.ndarray:
    """Give the calendar month in which each time lies.

    Args:
        time: (N,) int64 microseconds since 1970.

    Returns:
        (N,) int64 months since January of the year 0.
    """
    months = time.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    return np.asarray(months + _MONTHS_TO_EPOCH)


def _month(time: int) -> int:
    moment = _EPOCH + timedelta(microseconds=time)
    return moment.year * 12 + moment.month - 1


def advance(time: int, steps: int, format: TableFormat) -> int:
    """Give the time that lies whole steps after another.

    Used for the times of fillers and of forecasts. A month later is the same day and hour, or
    the last day of a month too short for it; from the last day of a month it is the last day.

    Args:
        time: as in `Series.time`.
        steps: how many steps later.
        format: how the table was read.

    Returns:
        The later time. In an irregular series, where no step is known, the time itself.

    Example:
        >>> lane = GridLane(step=10, max_gap=5)
        >>> fillers = lane.admit(0).fillers + lane.admit(30).fillers
        >>> fillers
        2
    """
    if format.step_us is None:
        return time
    return later(time, steps, format.step_us, format.step_months)


def later(time: int, steps: int, step: int, months: int | None = None) -> int:
    """Give the time that lies whole steps after another, on the grid of a step.

    Args:
        time: microseconds since 1970, or whole units.
        steps: how many steps later.
        step: the grid step.
        months: the step in calendar months where it is one.

    Returns:
        The later time.
    """
    if months is None:
        return time + steps * step
    moment = _EPOCH + timedelta(microseconds=time)
    year, month = divmod(moment.year * 12 + moment.month - 1 + steps * months, 12)
    length = calendar.monthrange(year, month + 1)[1]
    at_end = moment.day == calendar.monthrange(moment.year, moment.month)[1]
    day = length if at_end else min(moment.day, length)
    moved = moment.replace(year=year, month=month + 1, day=day)
    return (moved - _EPOCH) // timedelta(microseconds=1)
