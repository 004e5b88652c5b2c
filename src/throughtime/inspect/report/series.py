"""What a report shows of a forecasting run: the last stretch, its forecasts, and the states."""

from typing import NamedTuple

import numpy as np

from throughtime.data.moments import time_text
from throughtime.data.sequences import Series, Table
from throughtime.inspect.report.reading import Units
from throughtime.model import SequenceModel
from throughtime.tasks.forecast import ForecastTask

_SEASONS, _FEWEST, _MOST = 4, 96, 336


class SeriesStretch(NamedTuple):
    """The last rows of a series, and what was forecast for each a step before.

    Attributes:
        unique_id: the series; the longest.
        series: how many there are.
        times: (T,) as texts.
        truth: (T,) in the data's units, NaN where missing.
        middle: (T,) the quantile nearest the median.
        low: (T,) the lowest quantile.
        high: (T,) the highest.
        levels: of low, middle and high.
        units: of each layer over these rows.
    """

    unique_id: str
    series: int
    times: tuple[str, ...]
    truth: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    levels: tuple[float, float, float]
    units: tuple[Units, ...]

    @property
    def covered(self) -> float:
        """Share of the rows that lie between low and high."""
        there = ~np.isnan(self.truth)
        inside = (self.truth >= self.low) & (self.truth <= self.high)
        return float(inside[there].mean()) if there.any() else float("nan")


def longest(table: Table) -> Series:
    """Return the series that is shown."""
    return max(table.series, key=len)


def first_row(task: ForecastTask, series: Series) -> int:
    """Return the row that the stretch begins with: some seasons before the end."""
    rows = min(max(_SEASONS * task.format.season, _FEWEST), _MOST)
    return max(len(series) - rows, 1)


def series_stretch(
    task: ForecastTask, model: SequenceModel, table: Table, units: tuple[Units, ...]
) -> SeriesStretch:
    """Collect the last rows of the longest series and their forecasts, a step ahead."""
    series = longest(table)
    start = first_row(task, series)
    one = Table((series,), table.format, table.findings)
    (made,) = task.forecasts(model, one)
    ahead = made.quantiles[start - 1 : -1, 0]
    levels = task.options.levels
    middle = int(np.abs(np.array(levels) - 0.5).argmin())
    return SeriesStretch(
        series.unique_id,
        len(table.series),
        tuple(time_text(int(time), task.format) for time in series.time[start:]),
        series.y[start:],
        ahead[:, middle],
        ahead[:, 0],
        ahead[:, -1],
        (levels[0], levels[middle], levels[-1]),
        units,
    )
