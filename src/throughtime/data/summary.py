"""Counting what is odd about a table, and saying it.

Only reads what `rows` and `grid` made; changes and decides nothing.
"""

from collections.abc import Sequence

import numpy as np

from throughtime.data.grid import Placement, month_index
from throughtime.data.moments import time_text
from throughtime.data.rows import Rows
from throughtime.data.sequences import Series, TableFormat
from throughtime.data.steps import Step, step_text

_NAMED = 3


def count(
    rows: Rows, series: Sequence[Series], placed: Placement, format: TableFormat
) -> dict[str, int]:
    """Count what was found in a table.

    Args:
        rows: sorted rows without duplicates.
        series: the series made of them.
        placed: what became of each row.
        format: how they were read.

    Returns:
        `series`; `gaps`, places where steps are missing, `fillers` put there and `restarts`
        after longer ones; `off_grid` rows, of which `dropped`; empty cells of the target
        (`missing`) and of covariates (`missing_covariates`); `constant_series`,
        `empty_series`.
    """
    late_starts = placed.restarts & ~rows.first
    return {
        "series": len(series),
        "gaps": int((placed.fillers > 0).sum() + late_starts.sum()),
        "fillers": int(placed.fillers.sum()),
        "restarts": int(late_starts.sum()),
        "off_grid": _count_off_grid(rows, placed, format),
        "dropped": int((~placed.admitted).sum()),
        "missing": int(np.isnan(rows.y).sum()),
        "missing_covariates": int(np.isnan(rows.covariates).sum()),
        "constant_series": sum(map(_is_constant, series)),
        "empty_series": sum(bool(np.isnan(one.y).all()) for one in series),
    }


def summarise(counts: dict[str, int], rows: Rows, format: TableFormat, season: str) -> str:
    """Say in one line what a table is.

    Args:
        counts: what `count` gave, with `rows` and `duplicates`.
        rows: sorted rows without duplicates.
        format: how they were read.
        season: what to say about the season.

    Returns:
        The line.
    """
    step = step_text(Step(format.step_us, format.step_months), format.time_kind)
    start = time_text(int(rows.time.min()), format)
    end = time_text(int(rows.time.max()), format)
    return (
        f"{counts['series']:,} series, {counts['rows']:,} rows, {step}, {start} to {end}; "
        f"gaps {counts['gaps']:,}, duplicates {counts['duplicates']:,}, "
        f"missing {counts['missing']:,}; {season}"
    )


def name_oddities(
    counts: dict[str, int], rows: Rows, series: Sequence[Series], format: TableFormat
) -> list[str]:
    """Say what was done about each odd thing.

    Args:
        counts: what `count` gave, with `unsorted` and `duplicates`.
        rows: sorted rows without duplicates.
        series: the series made of them.
        format: how they were read.

    Returns:
        One line for each kind of oddity that there is.
    """
    lines = []
    if counts["unsorted"]:
        lines.append(f"{_rows(counts['unsorted'])} came after a later one: sorted by time")
    if counts["duplicates"]:
        kept = {"last": "the last is kept", "first": "the first is kept", "mean": "averaged"}
        lines.append(
            f"{_rows(counts['duplicates'])} with a time that was there already: "
            f"{kept.get(format.duplicates, 'refused')}"
        )
    if counts["fillers"]:
        lines.append(
            f"{counts['fillers']:,} missing steps filled with rows without a target (gaps of up "
            f"to {format.max_gap})"
        )
    if counts["restarts"]:
        lines.append(
            f"{counts['restarts']:,} gaps longer than {format.max_gap} steps: the state starts "
            "afresh after each"
        )
    if counts["off_grid"]:
        dropped = counts["dropped"]
        lines.append(
            f"{_rows(counts['off_grid'])} off the grid: counted as the nearest step"
            + (f", {dropped:,} less than half a step after another dropped" if dropped else "")
        )
    lines += _missing_covariates(rows, format)
    if counts["constant_series"]:
        lines.append(f"constant: {_names([one for one in series if _is_constant(one)])}")
    if counts["empty_series"]:
        empty = [one for one in series if np.isnan(one.y).all()]
        lines.append(f"without any target: {_names(empty)}")
    return lines


def _missing_covariates(rows: Rows, format: TableFormat) -> list[str]:
    missing = np.isnan(rows.covariates).sum(axis=0)
    cells = [
        f"{name!r} {number:,}"
        for name, number in zip(format.covariates, missing, strict=True)
        if number
    ]
    return [f"missing in covariates: {', '.join(cells)}"] if cells else []


def _count_off_grid(rows: Rows, placed: Placement, format: TableFormat) -> int:
    if format.step_us is None:
        return 0
    kept = rows.take(placed.admitted)
    if format.step_months is None:
        distance, unit = np.diff(kept.time), format.step_us
    else:
        distance, unit = np.diff(month_index(kept.time)), format.step_months
    shifted = int(((distance % unit != 0) & ~kept.first[1:]).sum())
    return shifted + int((~placed.admitted).sum())


def _is_constant(one: Series) -> bool:
    present = one.y[~np.isnan(one.y)]
    return len(present) > 1 and bool(present.min() == present.max())


def _names(series: Sequence[Series]) -> str:
    shown = " ".join(repr(one.unique_id) for one in series[:_NAMED])
    more = len(series) - _NAMED
    return f"{len(series):,} series ({shown}{f' and {more:,} more' if more > 0 else ''})"


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"
