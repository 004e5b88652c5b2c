"""Putting the rows of a table in order: sorted, without duplicates, on the grid, cut into series.

Arrays in, arrays out. The rules of the grid are those of `grid`; where the arrays come from is
up to `tables`.
"""

from dataclasses import dataclass, replace

import numpy as np

from throughtime.data.grid import Placement, later, place
from throughtime.data.sequences import Duplicates, Series
from throughtime.data.steps import Step
from throughtime.errors import DataError

# more would be a step far too small for the data, and fill the memory
_MOST_FILLERS = 50_000_000


@dataclass(frozen=True)
class Rows:
    """Columns of a table as arrays.

    Attributes:
        code: (N,) int64, number of the series that each row belongs to.
        time: (N,) int64.
        y: (N,) float64.
        covariates: (N, C) float64.
    """

    code: np.ndarray
    time: np.ndarray
    y: np.ndarray
    covariates: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    @property
    def first(self) -> np.ndarray:
        """(N,) bool, True where a series begins; for sorted rows."""
        return np.concatenate([[True], self.code[1:] != self.code[:-1]])

    def take(self, index: np.ndarray) -> "Rows":
        """Give some of the rows.

        Args:
            index: positions, or a mask.

        Returns:
            Those rows.
        """
        return Rows(self.code[index], self.time[index], self.y[index], self.covariates[index])


def sort_rows(rows: Rows) -> tuple[Rows, int]:
    """Put rows in order, series by series; equal times stay in the order of the file.

    Args:
        rows: as they are in the file.

    Returns:
        The sorted rows, and how many came after a later row of their series.
    """
    by_series = rows.take(np.argsort(rows.code, kind="stable"))
    unsorted = int(((np.diff(by_series.time) < 0) & ~by_series.first[1:]).sum())
    if not unsorted:
        return by_series, 0
    return rows.take(np.lexsort((rows.time, rows.code))), unsorted


def drop_duplicates(rows: Rows, policy: Duplicates) -> tuple[Rows, int]:
    """Keep one row for each time of a series.

    Args:
        rows: sorted rows.
        policy: "last" or "first" in the file, the "mean" of what is not missing, or "error".

    Returns:
        The rows that are left, and how many were dropped.

    Raises:
        DataError: there are duplicates and the policy is "error".
    """
    begins = rows.first
    begins[1:] |= rows.time[1:] != rows.time[:-1]
    dropped = int(len(rows) - begins.sum())
    if not dropped:
        return rows, 0
    if policy == "error":
        raise DataError(
            f"expected each time once in a series, came {dropped} rows with a time that was there "
            "already: remove them, or choose which to keep (last, first or mean)"
        )
    if policy == "last":
        return rows.take(np.append(begins[1:], True)), dropped
    kept = rows.take(begins)
    if policy == "mean":
        starts = np.flatnonzero(begins)
        kept = replace(kept, y=_means(rows.y, starts), covariates=_means(rows.covariates, starts))
    return kept, dropped


def _means(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    present = ~np.isnan(values)
    sums = np.add.reduceat(np.where(present, values, 0.0), starts, axis=0)
    counts = np.add.reduceat(present.astype(np.float64), starts, axis=0)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def fill_grid(
    rows: Rows, keys: tuple[str, ...], step: Step, max_gap: int
) -> tuple[tuple[Series, ...], Placement]:
    """Place rows on the grid, insert fillers, and cut them into series.

    Args:
        rows: sorted rows without duplicates.
        keys: the series' names, by code.
        step: the step of the grid.
        max_gap: most missing steps in a row that are filled.

    Returns:
        The series in the order of their codes, and what became of every row.

    Raises:
        DataError: the grid would have more than fifty million fillers.
    """
    placed = place(rows.time, rows.first, step.size, max_gap, step.months)
    total_fillers = int(placed.fillers.sum())
    if total_fillers > _MOST_FILLERS:
        raise DataError(
            f"expected a step near the one of the data, came {total_fillers:,} missing steps to "
            f"fill for {len(rows):,} rows: give a longer step or a smaller longest gap"
        )
    kept = rows.take(placed.admitted)
    fillers = placed.fillers[placed.admitted]
    position = np.arange(len(kept)) + np.cumsum(fillers)
    total = len(kept) + total_fillers
    time = np.zeros(total, dtype=np.int64)
    y = np.full(total, np.nan)
    covariates = np.full((total, rows.covariates.shape[1]), np.nan)
    filler = np.ones(total, dtype=bool)
    restarts = np.zeros(total, dtype=bool)
    time[position] = kept.time
    y[position] = kept.y
    covariates[position] = kept.covariates
    filler[position] = False
    restarts[position] = placed.restarts[placed.admitted]
    if step.size is not None and total_fillers:
        _fill_times(time, kept.time, fillers, position, step.size, step.months)
    starts = position[kept.first]
    ends = np.append(starts[1:], total)
    series = tuple(
        Series(key, time[rows], y[rows], covariates[rows], filler[rows], restarts[rows])
        for key, rows in zip(keys, map(slice, starts, ends), strict=True)
    )
    return series, placed


def _fill_times(
    time: np.ndarray,
    row_time: np.ndarray,
    fillers: np.ndarray,
    position: np.ndarray,
    size: int,
    months: int | None,
) -> None:
    gaps = np.flatnonzero(fillers)
    if months is not None:
        for row in gaps:
            before = int(row_time[row - 1])
            for number in range(1, int(fillers[row]) + 1):
                slot = position[row - 1] + number
                time[slot] = later(before, number, size, months)
        return
    lengths = fillers[gaps]
    starts = np.cumsum(lengths) - lengths
    number = np.arange(int(lengths.sum())) - np.repeat(starts, lengths) + 1
    slots = np.repeat(position[gaps - 1], lengths) + number
    time[slots] = np.repeat(row_time[gaps - 1], lengths) + number * size
