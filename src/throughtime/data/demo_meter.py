"""A made-up electricity meter: half-hourly readings with faults whose place is known.

Load has a daily rhythm that differs at weekends, a slow upward trend, weather that wanders from
day to day, and noise; the faults replace or add to it for hours at a time.
"""

import numpy as np
import polars as pl

WEEKS = 12
PER_DAY = 48
FAULT_WEEKS = (3, 5, 7, 9, 11)
_FAULT_KINDS = ("stuck", "zero", "raised", "spikes")


def make_meter(seed: int = 0) -> pl.DataFrame:
    """Make twelve weeks of one meter; the same for the same seed.

    The weeks 3, 5, 7, 9 and 11 have one fault each of 4 to 24 hours: the reading is stuck, is
    zero, is raised by a third, or has spikes; each kind comes at least once.

    Args:
        seed: of numpy's generator.

    Returns:
        4,032 rows: `unique_id` ("meter"), `ds` (from 2024-01-01, a Monday), `y` (kW), `fault`
        (0, or 1 to 4 for the kinds in the order above: a label, not an input).

    Example:
        >>> make_meter().columns
        ['unique_id', 'ds', 'y', 'fault']
    """
    random = np.random.default_rng(seed)
    step = np.arange(WEEKS * 7 * PER_DAY)
    hour = step % PER_DAY / 2
    weekend = (step // PER_DAY) % 7 >= 5
    morning = np.exp(-0.5 * ((hour - np.where(weekend, 10, 7.5)) / 1.6) ** 2)
    evening = np.exp(-0.5 * ((hour - 19) / 2.4) ** 2)
    load = 0.6 + np.where(weekend, 1.0, 1.4) * morning + 1.9 * evening + 0.35 * weekend
    trend = 1 + 0.15 * step / len(step)
    y = load * trend * _weather(random, WEEKS * 7)[step // PER_DAY]
    y += 0.08 * random.standard_normal(len(step))
    y = np.maximum(y, 0.05)
    fault = np.zeros(len(step), dtype=np.int64)
    kinds = random.permutation(np.resize(np.arange(len(_FAULT_KINDS)), len(FAULT_WEEKS)))
    for kind, week in zip(kinds, FAULT_WEEKS, strict=True):
        length = int(random.integers(8, PER_DAY + 1))
        start = week * 7 * PER_DAY - int(random.integers(length, 7 * PER_DAY))
        _break(y, fault, slice(start, start + length), int(kind), random)
    return pl.DataFrame(
        {
            "unique_id": ["meter"] * len(step),
            "ds": _half_hours(len(step)),
            "y": y.round(3),
            "fault": fault,
        }
    )


def _weather(random: np.random.Generator, days: int) -> np.ndarray:
    factor = np.empty(days)
    level = 0.0
    for day, shock in enumerate(random.standard_normal(days)):
        level = 0.8 * level + 0.06 * shock
        factor[day] = np.exp(level)
    return factor


def _break(
    y: np.ndarray, fault: np.ndarray, rows: slice, kind: int, random: np.random.Generator
) -> None:
    if _FAULT_KINDS[kind] == "stuck":
        y[rows] = y[rows.start]
    elif _FAULT_KINDS[kind] == "zero":
        y[rows] = 0.0
    elif _FAULT_KINDS[kind] == "raised":
        y[rows] *= 4 / 3
    else:
        y[rows] += 4.0 * (random.random(rows.stop - rows.start) < 0.3)
    fault[rows] = kind + 1


def _half_hours(count: int) -> np.ndarray:
    start = np.datetime64("2024-01-01T00:00:00", "us")
    return np.asarray(start + np.arange(count) * np.timedelta64(30, "m"))
