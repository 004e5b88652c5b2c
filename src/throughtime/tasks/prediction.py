"""What follows the last row of each series, as a frame."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from throughtime.data.grid import advance
from throughtime.data.moments import time_text
from throughtime.data.sequences import Series, TableFormat
from throughtime.model import SequenceModel
from throughtime.tasks.forecast import ForecastTask


def predict(
    task: ForecastTask,
    model: SequenceModel,
    source: Any,
    *,
    tell: Callable[[str], None] | None = None,
) -> pl.DataFrame:
    """Forecast the h values after the end of each series.

    Where the future of a covariate is known, rows at the end without a target are that future: the
    forecast is then made after the last row with one. Elsewhere they are missing measurements.

    Args:
        task: the task the model was trained for.
        model: the model.
        source: a path, a frame or `demo:NAME`.
        tell: called with each line about what was found in the data.

    Returns:
        `unique_id`, `ds`, `horizon` and a column for each quantile. `ds` is null in irregular
        series, whose next time nobody knows.
    """
    table = task.read(source)
    if tell is not None:
        for line in table.findings.lines:
            tell(line)
    rows: list[dict[str, Any]] = []
    for series, made in zip(table.series, task.forecasts(model, table), strict=True):
        row = _last_row(series, task.format)
        last = int(series.time[row])
        for k in range(task.options.horizon):
            time = advance(last, k + 1, table.format)
            known = table.format.regular
            found: dict[str, Any] = {
                "unique_id": series.unique_id,
                "ds": time_text(time, table.format) if known else None,
                "horizon": k + 1,
            }
            for level, value in zip(task.options.levels, made.quantiles[row, k], strict=True):
                found[f"q{level:g}"] = float(value)
            rows.append(found)
    return pl.DataFrame(rows)


def _last_row(series: Series, format: TableFormat) -> int:
    """Return the row after which the forecast is made."""
    seen = np.flatnonzero(~np.isnan(series.y))
    return int(seen[-1]) if format.known_future and seen.size else len(series) - 1
