"""What follows the last row of each series, as a frame."""

from typing import Any

import polars as pl

from throughtime.data.clock import time_text
from throughtime.data.grid import advance
from throughtime.model import SequenceModel
from throughtime.tasks.forecast import ForecastTask


def predict(task: ForecastTask, model: SequenceModel, source: Any) -> pl.DataFrame:
    """Forecast the h values after the end of each series.

    Args:
        task: the task the model was trained for.
        model: the model.
        source: a path, a frame or `demo:NAME`.

    Returns:
        `unique_id`, `ds`, `horizon` and a column for each quantile. `ds` is null in irregular
        series, whose next time nobody knows.
    """
    table = task.read(source)
    rows: list[dict[str, Any]] = []
    for series, made in zip(table.series, task.forecasts(model, table), strict=True):
        last = int(series.time[-1])
        for k in range(task.options.horizon):
            time = advance(last, k + 1, table.format)
            known = table.format.regular
            row: dict[str, Any] = {
                "unique_id": series.unique_id,
                "ds": time_text(time, table.format) if known else None,
                "horizon": k + 1,
            }
            for level, value in zip(task.options.levels, made.quantiles[-1, k], strict=True):
                row[f"q{level:g}"] = float(value)
            rows.append(row)
    return pl.DataFrame(rows)
