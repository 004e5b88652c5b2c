"""Finding the time step of a table and the length of its season.

Both are guesses from the rows; what becomes of rows that do not fit the step is decided in
`grid`. Options that override the guesses are read here as well.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from throughtime.data.grid import month_index, place
from throughtime.data.sequences import TimeKind
from throughtime.errors import OptionError

_SECOND = 1_000_000
_UNITS = {
    "us": 1,
    "ms": 1000,
    "s": _SECOND,
    "min": 60 * _SECOND,
    "h": 3600 * _SECOND,
    "d": 86_400 * _SECOND,
    "w": 7 * 86_400 * _SECOND,
}
_MONTH_UNITS = {"mo": 1, "q": 3, "y": 12}
# the mean month of the Gregorian calendar
_MONTH = 2_629_746 * _SECOND
_SHORTEST_MONTH = 28 * 86_400 * _SECOND
_PERIODS = (
    (60 * _SECOND, "a minute"),
    (3600 * _SECOND, "an hour"),
    (86_400 * _SECOND, "a day"),
    (7 * 86_400 * _SECOND, "a week"),
    (365 * 86_400 * _SECOND, "a year"),
    (364 * 86_400 * _SECOND, "a year"),
)
_LONGEST_SEARCH = 1000
_SEGMENTS = 20
_SEGMENT_LENGTH = 100_000
# how convincing a season must be: its autocorrelation, and how far that stands above the lowest
# one at a shorter lag, which slow wandering without a season never reaches
_LEAST_CORRELATION = 0.3
_LEAST_CONTRAST = 0.2
_TIE = 0.02


@dataclass(frozen=True)
class Step:
    """The step of a grid.

    Attributes:
        size: in microseconds or in units, the mean size for months; None: irregular.
        months: in calendar months where it is one, or None.
        why: why the series are taken as irregular, or "".
    """

    size: int | None
    months: int | None = None
    why: str = ""


def parse_step(step: str | int | timedelta, time_kind: TimeKind) -> Step:
    """Read a step that was given.

    Args:
        step: `30min`, `1h`, `1d`, `1mo`, `1q`, `1y` ...; a whole number (units of an integer
            time column); a timedelta; or `irregular`: each row is one step.
        time_kind: what the time column holds.

    Returns:
        The step.

    Raises:
        OptionError: it is not a positive step of such a column.

    Example:
        >>> parse_step("30min", "timestamp").size
        1800000000
    """
    if step == "irregular":
        return Step(None)
    size: int | None = None
    months: int | None = None
    if isinstance(step, timedelta):
        size = step // timedelta(microseconds=1) if time_kind == "timestamp" else None
    elif isinstance(step, int) or step.strip().isdigit():
        size = int(step) if time_kind == "integer" else None
    elif time_kind == "timestamp":
        found = re.fullmatch(r"(\d*)\s*([a-z]+)", step.strip().lower())
        number = int(found.group(1) or 1) if found else 0
        unit = found.group(2) if found else ""
        if unit in _MONTH_UNITS:
            months = number * _MONTH_UNITS[unit]
            size = months * _MONTH
        elif unit in _UNITS:
            size = number * _UNITS[unit]
    if size is None or size < 1:
        wanted = (
            f"a number and one of {' '.join([*_UNITS, *_MONTH_UNITS])} (such as 30min)"
            if time_kind == "timestamp"
            else "a positive whole number"
        )
        raise OptionError(f"expected as step {wanted} or 'irregular', came {step!r}: write it so")
    return Step(size, months)


def guess_step(time: np.ndarray, first: np.ndarray, time_kind: TimeKind, max_gap: int) -> Step:
    """Find the most common step between rows, pooled over series.

    Args:
        time: (N,) int64, strictly increasing within a series, series after series.
        first: (N,) bool, True at the first row of each series.
        time_kind: what the time column holds.
        max_gap: most missing steps in a row that would be filled.

    Returns:
        The step; irregular where more than a tenth of the rows are off its grid, more than a
        tenth come after a gap too long to fill, or more than half of the grid would be fillers.
    """
    differences = np.diff(time)[~first[1:]]
    if not len(differences):
        return Step(None, why="no series has two rows")
    sizes, counts = np.unique(differences, return_counts=True)
    common = int(sizes[counts.argmax()])
    step = Step(common)
    off_grid = float(np.mean(differences % common != 0))
    if time_kind == "timestamp" and common >= _SHORTEST_MONTH and off_grid:
        months = np.diff(month_index(time))[~first[1:]]
        sizes, counts = np.unique(months, return_counts=True)
        size = int(sizes[counts.argmax()])
        off_months = float(np.mean(months % size != 0)) if size else 1.0
        if off_months < off_grid:
            step, off_grid = Step(size * _MONTH, size), off_months
    why = ""
    if off_grid > 0.1:
        why = f"{off_grid:.0%} of the rows are off the most common step"
    else:
        placed = place(time, first, step.size, max_gap, step.months)
        fillers = int(placed.fillers.sum())
        long_gaps = int((placed.restarts & ~first).sum())
        if fillers > placed.admitted.sum():
            why = f"a grid would be {fillers / (fillers + placed.admitted.sum()):.0%} fillers"
        elif long_gaps > 0.1 * len(differences):
            why = f"{long_gaps / len(differences):.0%} of the rows follow a gap too long to fill"
    return Step(None, why=why) if why else step


def step_text(step: Step, time_kind: TimeKind) -> str:
    """Name a step for people.

    Args:
        step: the step.
        time_kind: what the time column holds.

    Returns:
        For example `every 30 min`, `every month` or `in steps of 1`.
    """
    if step.size is None:
        return "irregular, each row is a step"
    if step.months is not None:
        names = {1: "every month", 3: "every quarter", 12: "every year"}
        return names.get(step.months, f"every {step.months} months")
    if time_kind == "integer":
        return f"in steps of {step.size}"
    unit = max((name for name in _UNITS if step.size % _UNITS[name] == 0), key=_UNITS.__getitem__)
    spelled = {"d": "day", "w": "week"}.get(unit, unit)
    number = step.size // _UNITS[unit]
    if spelled != unit:
        return f"every {spelled}" if number == 1 else f"every {number} {spelled}s"
    return f"every {number} {unit}"


@dataclass(frozen=True)
class Season:
    """A guessed season.

    Attributes:
        length: in steps, 1 for none.
        name: the calendar's name for it, or "".
        correlation: the autocorrelation at that lag, 0 where there is none.
    """

    length: int
    name: str = ""
    correlation: float = 0.0


def guess_season(segments: Sequence[np.ndarray], step: Step, time_kind: TimeKind) -> Season:
    """Find the shortest convincing season of a table.

    Convincing is a lag that is a local peak of the autocorrelation (of the rows less their
    linear trend, extremes clipped), is at least 0.3, and stands at least 0.2 above the lowest
    autocorrelation at a shorter lag. Of timestamps only the minute, hour, day, week and year are
    considered; of whole numbers and years every lag up to a third of the rows.

    Args:
        segments: (T,) float64 each, training rows on the grid without restarts, NaN where
            missing; the longest are used.
        step: the grid's step.
        time_kind: what the time column holds.

    Returns:
        The season, of length 1 where none convinces.
    """
    if step.size is None:
        return Season(1)
    pooled = sorted(segments, key=len, reverse=True)[:_SEGMENTS]
    longest = min(max(map(len, pooled), default=0), _SEGMENT_LENGTH)
    correlation = _autocorrelation([part[:_SEGMENT_LENGTH] for part in pooled], longest // 2)
    if time_kind == "integer" or step.months == 12:
        return _search(correlation[: min(longest // 3, _LONGEST_SEARCH) + 1])
    if step.months is not None:
        candidates = [(12 // step.months, "a year")] if 12 % step.months == 0 else []
    else:
        candidates = [
            (period // step.size, name) for period, name in _PERIODS if period % step.size == 0
        ]
    for lag, name in candidates:
        if 2 <= lag < len(correlation) - 1 and _convinces(correlation, lag):
            return Season(lag, name, float(correlation[lag]))
    return Season(1)


def _search(correlation: np.ndarray) -> Season:
    peaks = [lag for lag in range(2, len(correlation) - 1) if _convinces(correlation, lag)]
    if not peaks:
        return Season(1)
    highest = max(correlation[lag] for lag in peaks)
    # multiples of a season are as high as the season itself
    lag = next(lag for lag in peaks if correlation[lag] >= 0.9 * highest)
    near = [other for other in peaks if lag <= other <= lag + max(1, lag // 8)]
    best = max(near, key=lambda other: float(correlation[other]))
    return Season(best, "", float(correlation[best]))


def _convinces(correlation: np.ndarray, lag: int) -> bool:
    around = max(1, lag // 12)
    peak = correlation[lag]
    return bool(
        peak >= _LEAST_CORRELATION
        and peak >= np.max(correlation[lag - around : lag + around + 1]) - _TIE
        and peak - np.min(correlation[1:lag]) >= _LEAST_CONTRAST
    )


def _autocorrelation(segments: Sequence[np.ndarray], lags: int) -> np.ndarray:
    products = np.zeros(lags + 1)
    pairs = np.zeros(lags + 1)
    for segment in segments:
        present = ~np.isnan(segment)
        if present.sum() < 4:
            continue
        position = np.flatnonzero(present).astype(np.float64)
        low, high = np.quantile(segment[present], (0.01, 0.99))
        values = np.clip(segment[present], low, high)
        position -= position.mean()
        values = values - values.mean()
        values -= position * (position @ values) / (position @ position)
        spread = values.std()
        if not spread > 1e-12 * max(abs(low), abs(high)):
            continue
        filled = np.zeros(len(segment))
        filled[present] = values / spread
        reach = min(lags + 1, len(segment))
        products[:reach] += _correlate(filled)[:reach]
        pairs[:reach] += _correlate(present.astype(np.float64))[:reach]
    # a lag that few pairs of rows speak for says nothing
    heard = pairs >= max(4.0, 0.1 * pairs[0])
    return np.where(heard, products / np.maximum(pairs, 1.0), 0.0)


def _correlate(values: np.ndarray) -> np.ndarray:
    size = 1 << (2 * len(values) - 1).bit_length()
    spectrum = np.fft.rfft(values, size)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(values)])
