"""What the tests of streams share: tables with every oddity, tiny runs, rows as they would come."""

import tracemalloc
from contextlib import contextmanager
from datetime import datetime, timedelta

import numpy as np
import polars as pl

import throughtime as tt

START = datetime(2024, 1, 1)
MAX_GAP = 6


def table(*, keys=3, rows=90, gaps=True, covariates=False, seed=0):
    """Hourly series with missing rows, two gaps too long to fill, and empty cells."""
    random = np.random.default_rng(seed)
    parts = []
    for number in range(keys):
        step = np.arange(rows + 8 * number)
        y = 5 * number + np.sin(step / 4 + number) + 0.2 * random.standard_normal(len(step))
        y[random.random(len(step)) < 0.1] = np.nan
        frame = pl.DataFrame(
            {
                "unique_id": [f"key {number}"] * len(step),
                "ds": [START + timedelta(hours=int(hour)) for hour in step],
                "y": y,
            }
        )
        if covariates:
            load = np.where(random.random(len(step)) < 0.2, np.nan, np.cos(step / 3))
            frame = frame.with_columns(
                temperature=pl.Series(20 + 5 * np.sin(step / 12)),
                load=pl.Series(load),
                holiday=pl.Series((step % 24 < 6).astype(float)),
            )
        if gaps:
            there = random.random(len(step)) > 0.1
            there[40:42] = False
            there[rows // 2 : rows // 2 + 9] = False
            there[-20:-11] = False
            frame = frame.filter(there)
        parts.append(frame)
    frame = pl.concat(parts)
    frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None), ds=pl.col("ds").dt.to_string())
    return frame.sort("ds", "unique_id")


def train(frame, out, **options):
    reading = {"max_gap": MAX_GAP, "step": "1h", **options.pop("reading", {})}
    return tt.fit(frame, out=out, budget="4steps", reading=reading, show=False, **options)


def arriving(frame, read):
    """Rows in order of time, with the futures that the table says, and where each one lies.

    Yields:
        The row, the number of its series and its place in the series.
    """
    places = {
        (series.unique_id, int(time)): (number, place)
        for number, series in enumerate(read.series)
        for place, time in enumerate(series.time)
    }
    names = read.format.covariates
    for row in frame.iter_rows(named=True):
        moment = datetime.fromisoformat(row["ds"])
        time = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        number, place = places[row.get("unique_id", "series"), time]
        values = read.series[number].covariates
        for name in read.format.known_future:
            for k in range(1, 4):
                if place + k < len(values):
                    row[f"{name}@+{k}"] = float(values[place + k, names.index(name)])
        yield row, number, place


def close(got, expected):
    """Whether numbers agree to a hundred-thousandth, as the contract counts it."""
    return abs(got - expected) <= 1e-5 * (1 + abs(expected))


@contextmanager
def traced():
    """Count the memory that Python takes inside the block."""
    tracemalloc.start()
    try:
        yield tracemalloc.get_traced_memory
    finally:
        tracemalloc.stop()
