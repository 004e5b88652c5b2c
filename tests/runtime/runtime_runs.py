"""What the tests of the runtime share: runs of any layer, quickly made, and rows as they come."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import torch

from throughtime import run as runs
from throughtime.data.tables import read_table
from throughtime.data.text import read_text
from throughtime.model import SequenceModel
from throughtime.tasks import ForecastOptions, ForecastTask, LanguageOptions, LanguageTask

START = datetime(2024, 1, 1)
TEXT = "the quick brown fox jumps over the lazy dog, and then\nit sleeps.\n" * 12
FIGURES = {"splits": {"validation": {"mae": 1.0}}, "baselines": {}}


def table(*, keys=2, rows=90, covariates=False, seed=0):
    """Hourly series with missing rows, gaps to fill, a gap that restarts, and empty cells."""
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
                temperature=pl.Series(20 + 5 * np.sin(step / 12)), load=pl.Series(load)
            )
        there = random.random(len(step)) > 0.1
        there[40:42] = False
        there[rows // 2 : rows // 2 + 9] = False
        parts.append(frame.filter(there))
    frame = pl.concat(parts)
    frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None), ds=pl.col("ds").dt.to_string())
    return frame.sort("ds", "unique_id")


def _save(path, task, data, layer, **options):
    model = SequenceModel(task.model_config(layer, **options)).eval()
    with torch.no_grad():
        # Layers start with many zeros, behind which a fault would hide.
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return runs.save(path, task, model, data=data, training={}, source="nothing", figures=FIGURES)


def forecast_run(path, layer, *, frame=None, known=(), horizon=1, head="quantile", **options):
    """Save an untrained forecasting run."""
    data = read_table(table() if frame is None else frame, step="1h", max_gap=6, known_future=known)
    asked = ForecastOptions(horizon=horizon, head=head)
    return _save(path, ForecastTask.fit(data, asked), data, layer, **options)


def language_run(path, layer, *, mode="characters", **options):
    """Save an untrained language run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "text.txt").write_text(TEXT)
    data = read_text(path.parent / "text.txt", mode=mode)
    task = LanguageTask.fit(data, LanguageOptions(mode=mode))
    return _save(path, task, data, layer, **{"embedding": 5, **options})


def close(got, wanted, tolerance=1e-5):
    """Whether two numbers, or None, agree as the contract counts it."""
    if got is None or wanted is None:
        return got is wanted
    return abs(got - wanted) <= tolerance * (1 + abs(wanted))


def same_answers(got, wanted):
    """Whether two answers have the same words, and numbers that agree."""
    if isinstance(wanted, dict):
        return list(got) == list(wanted) and all(same_answers(got[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(same_answers, got, wanted))
    if isinstance(wanted, float):
        return close(got, wanted)
    return got == wanted
