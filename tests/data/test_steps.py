from datetime import timedelta

import numpy as np
import pytest

from throughtime.data.steps import Step, guess_season, guess_step, parse_step, step_text
from throughtime.errors import OptionError

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def first(count):
    return np.arange(count) == 0


def stamps(texts):
    return np.array(texts, dtype="datetime64[us]").astype(np.int64)


@pytest.mark.parametrize(
    ("step", "size", "months"),
    [
        ("30min", 1800 * SECOND, None),
        ("h", HOUR, None),
        ("15 s", 15 * SECOND, None),
        ("1d", DAY, None),
        (timedelta(minutes=5), 300 * SECOND, None),
        ("1mo", None, 1),
        ("q", None, 3),
        ("1Y", None, 12),
    ],
)
def test_a_step_of_time_is_read(step, size, months):
    read = parse_step(step, "timestamp")
    assert read.months == months
    if size is not None:
        assert read.size == size


@pytest.mark.parametrize("step", [5, "5"])
def test_a_step_of_numbers_is_read(step):
    assert parse_step(step, "integer") == Step(5)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ("30min", "integer"),
        (30, "timestamp"),
        ("0h", "timestamp"),
        ("half an hour", "timestamp"),
        (0, "integer"),
        (-3, "integer"),
        (timedelta(0), "timestamp"),
        (timedelta(hours=1), "integer"),
        ("3 fortnights", "timestamp"),
    ],
)
def test_a_wrong_step_is_refused(step, kind):
    with pytest.raises(OptionError, match="expected as step"):
        parse_step(step, kind)


@pytest.mark.parametrize(
    ("step", "kind", "text"),
    [
        (Step(1800 * SECOND), "timestamp", "every 30 min"),
        (Step(HOUR), "timestamp", "every 1 h"),
        (Step(DAY), "timestamp", "every day"),
        (Step(14 * DAY), "timestamp", "every 2 weeks"),
        (Step(1, 1), "timestamp", "every month"),
        (Step(1, 6), "timestamp", "every 6 months"),
        (Step(7), "integer", "in steps of 7"),
        (Step(1500), "timestamp", "every 1500 us"),
    ],
)
def test_a_step_is_named(step, kind, text):
    assert step_text(step, kind) == text


@pytest.mark.parametrize(
    ("start", "unit", "months"),
    [("2001-01", "M", 1), ("1990", "Y", 12)],
)
def test_calendar_steps_are_regular(start, unit, months):
    times = (np.datetime64(start, unit) + np.arange(40)).astype("datetime64[us]").astype(np.int64)
    assert guess_step(times, first(40), "timestamp", 48).months == months


def test_month_ends_and_quarters_are_regular():
    ends = (np.datetime64("2001-01", "M") + np.arange(1, 41)).astype("datetime64[D]") - 1
    assert guess_step(stamps(ends), first(40), "timestamp", 48).months == 1
    assert guess_step(stamps(ends[::3]), first(14), "timestamp", 48).months == 3


def test_four_weeks_are_not_a_month():
    times = np.arange(40) * 28 * DAY
    assert guess_step(times, first(40), "timestamp", 48) == Step(28 * DAY)


def test_the_step_is_pooled_over_series():
    times = np.concatenate([np.arange(0, 100, 5), np.arange(0, 30, 3), np.arange(0, 100, 5)])
    starts = np.isin(np.arange(len(times)), [0, 20, 30])
    assert guess_step(times, starts, "integer", 48) != Step(3)


def test_jitter_makes_a_series_irregular():
    random = np.random.default_rng(0)
    step = guess_step(np.cumsum(random.integers(1, 10**6, 300)), first(300), "timestamp", 48)
    assert step.size is None
    assert "off the most common step" in step.why


def test_a_sparse_grid_is_irregular():
    random = np.random.default_rng(0)
    minutes = np.sort(random.choice(20_000, 4000, replace=False)) * 60 * SECOND
    step = guess_step(minutes, first(4000), "timestamp", 48)
    assert step.size is None
    assert "fillers" in step.why


def test_one_hole_of_years_is_no_reason_to_call_a_series_irregular():
    times = np.concatenate([np.arange(300), 5000 + np.arange(300)]) * DAY
    assert guess_step(times, first(600), "timestamp", 48) == Step(DAY)


def wave(period, count, noise=0.3, seed=0, slope=0.0):
    random = np.random.default_rng(seed)
    time = np.arange(count)
    return np.sin(2 * np.pi * time / period) + noise * random.standard_normal(count) + slope * time


@pytest.mark.parametrize(
    ("size", "months", "kind", "period"),
    [
        (1800 * SECOND, None, "timestamp", 48),
        (HOUR, None, "timestamp", 24),
        (HOUR, None, "timestamp", 168),
        (DAY, None, "timestamp", 7),
        (60 * SECOND, None, "timestamp", 60),
        (300 * SECOND, None, "timestamp", 288),
        (7 * DAY, None, "timestamp", 52),
        (1, 1, "timestamp", 12),
        (3, 3, "timestamp", 4),
        (1, None, "integer", 17),
        (12, 12, "timestamp", 11),
    ],
)
def test_a_season_is_found(size, months, kind, period):
    values = wave(period, 8 * period + 50, slope=0.05)
    assert guess_season([values], Step(size, months), kind).length == period


def test_a_long_season_of_unknown_length_is_found_nearly():
    assert abs(guess_season([wave(101, 900)], Step(1), "integer").length - 101) <= 1


def test_a_season_is_found_through_missing_rows_and_in_pieces():
    values = wave(24, 600)
    values[np.random.default_rng(1).random(600) < 0.3] = np.nan
    assert guess_season([values[:200], values[230:]], Step(HOUR), "timestamp").length == 24


def test_the_shortest_of_two_seasons_is_taken():
    values = 2 * wave(24, 2000) + wave(168, 2000)
    assert guess_season([values], Step(HOUR), "timestamp").length == 24


@pytest.mark.parametrize("seed", range(10))
def test_no_season_is_seen_in_noise_or_wandering(seed):
    random = np.random.default_rng(seed)
    noise = random.standard_normal(1000)
    for step, kind in ((Step(HOUR), "timestamp"), (Step(DAY), "timestamp"), (Step(1), "integer")):
        assert guess_season([noise], step, kind).length == 1
    for step in (Step(HOUR), Step(DAY)):
        assert guess_season([np.cumsum(noise)], step, "timestamp").length == 1


def test_constant_short_and_irregular_series_have_no_season():
    assert guess_season([np.ones(100)], Step(HOUR), "timestamp").length == 1
    assert guess_season([np.arange(3.0)], Step(1), "integer").length == 1
    assert guess_season([], Step(1), "integer").length == 1
    assert guess_season([np.full(50, np.nan)], Step(1), "integer").length == 1
    assert guess_season([wave(24, 500)], Step(None), "timestamp").length == 1
