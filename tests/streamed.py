"""What the tests of several rooms share about streams: a table with every oddity, and answers."""

import random
from datetime import datetime, timedelta

import numpy as np
import polars as pl

START = datetime(2024, 1, 1)
MAX_GAP = 6


def table(*, keys=3, rows=90, gaps=True, covariates=False, seed=0):
    """Hourly series with missing rows, two gaps too long to fill, and empty cells."""
    draw = np.random.default_rng(seed)
    parts = []
    for number in range(keys):
        step = np.arange(rows + 8 * number)
        y = 5 * number + np.sin(step / 4 + number) + 0.2 * draw.standard_normal(len(step))
        y[draw.random(len(step)) < 0.1] = np.nan
        frame = pl.DataFrame(
            {
                "unique_id": [f"key {number}"] * len(step),
                "ds": [START + timedelta(hours=int(hour)) for hour in step],
                "y": y,
            }
        )
        if covariates:
            load = np.where(draw.random(len(step)) < 0.2, np.nan, np.cos(step / 3))
            frame = frame.with_columns(
                temperature=pl.Series(20 + 5 * np.sin(step / 12)),
                load=pl.Series(load),
                holiday=pl.Series((step % 24 < 6).astype(float)),
            )
        if gaps:
            there = draw.random(len(step)) > 0.1
            there[40:42] = False
            there[rows // 2 : rows // 2 + 9] = False
            there[-20:-11] = False
            frame = frame.filter(there)
        parts.append(frame)
    frame = pl.concat(parts)
    frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None), ds=pl.col("ds").dt.to_string())
    return frame.sort("ds", "unique_id")


def odd_rows(frame, *, seed=0):
    """Rows in order of time, with late, doubled and off-grid ones, words, and strange columns."""
    draw = random.Random(seed)
    rows = []
    for row in frame.iter_rows(named=True):
        row = dict(row)
        if draw.random() < 0.1:
            row["y"] = draw.choice([None, "", "NA", "nan", float("nan"), "1e3", "-2.5", "true"])
        if "temperature" in row and draw.random() < 0.5:
            row |= {f"temperature@+{k}": 20.0 + k for k in (1, 2, 3) if draw.random() < 0.8}
        if draw.random() < 0.05:
            row["surprise"] = 1
        rows.append(row)
        if rows[1:] and draw.random() < 0.1:
            rows.append(dict(draw.choice(rows)))
        if draw.random() < 0.05:
            rows.append({**row, "ds": str(row["ds"])[:14] + "20:00"})
        if draw.random() < 0.03:
            rows.append({**row, "unique_id": "stranger"})
    return rows


def same_answers(got, wanted, scale=1.0):
    """Whether answers have the same words, and numbers that agree to 1e-5 of scale + |value|."""
    if isinstance(wanted, dict):
        return list(got) == list(wanted) and all(
            same_answers(got[name], wanted[name], scale) for name in wanted
        )
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(
            same_answers(one, other, scale) for one, other in zip(got, wanted, strict=True)
        )
    if isinstance(wanted, float):
        return isinstance(got, float) and abs(got - wanted) <= 1e-5 * (scale + abs(wanted))
    return got == wanted
