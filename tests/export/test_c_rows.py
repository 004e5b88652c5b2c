"""Rows in the data's own units: the C does what `Stream` does around the model."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from c_exports import running, train

import throughtime as tt
from throughtime.export import verify
from throughtime.export.c.runner import sample_rows

KINDS = {
    0: "next",
    1: "filled",
    2: "fresh",
    3: "duplicate",
    4: "late",
    5: "off grid",
}


def hourly(count=120, seed=0):
    """Two keys, covariates of known and unknown future, missing rows and cells."""
    random = np.random.default_rng(seed)
    parts = []
    for number in range(2):
        step = np.arange(count)
        y = 50 * number + np.sin(step / 4) + 0.2 * random.standard_normal(count)
        y[random.random(count) < 0.1] = np.nan
        load = np.where(random.random(count) < 0.2, np.nan, np.cos(step / 3))
        frame = pl.DataFrame(
            {
                "unique_id": [f"key \u00e9 {number}"] * count,
                "ds": [datetime(2024, 1, 1) + timedelta(hours=int(hour)) for hour in step],
                "y": y,
                "load": load,
                "temperature": 20 + 5 * np.sin(step / 12),
            }
        )
        there = random.random(count) > 0.1
        there[40:44] = False
        there[60:72] = False
        parts.append(frame.filter(there))
    frame = pl.concat(parts).with_columns(pl.col(pl.Float64).fill_nan(None))
    return frame.with_columns(ds=pl.col("ds").dt.to_string()).sort("ds", "unique_id")


@pytest.fixture(scope="module", params=["quantile", "gaussian"])
def wide(request, tmp_path_factory):
    """A run with everything that a row can have, and the table that it was trained on."""
    frame = hourly()
    run = train(
        tmp_path_factory.mktemp("wide") / "run",
        frame,
        layer="lstm:5x2",
        dropout=0.3,
        horizon=3,
        head=request.param,
        reading={"max_gap": 6, "step": "1h", "known_future": ("temperature",)},
    )
    return run, frame


def arriving(frame, key):
    """The rows of a key, with what is known of the future; some late, twice or off the grid."""
    rows = [row for row in frame.iter_rows(named=True) if row["unique_id"] == key]
    for place, row in enumerate(rows):
        for k in (1, 2, 3):
            if place % 5 and place + k < len(rows):
                row[f"temperature@+{k}"] = rows[place + k]["temperature"]
        yield row
        if place % 17 == 3:
            yield row
            yield rows[max(place - 2, 0)]
        if place % 23 == 5:
            moment = datetime.fromisoformat(row["ds"]) + timedelta(minutes=29)
            yield row | {"ds": moment.isoformat()}


def as_c(row):
    """A row as `model_row` has it: y, the covariates in order, the future."""
    names = ["y", "load", "temperature", *(f"temperature@+{k}" for k in (1, 2, 3))]
    return np.array([np.nan if row.get(name) is None else row[name] for name in names])


def microseconds(ds):
    return (datetime.fromisoformat(ds) - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def kind_of(answer, first):
    note = answer.get("note", "")
    for words, kind in (
        ("duplicate row", "duplicate"),
        ("late row", "late"),
        ("less than half", "off grid"),
        ("afresh", "fresh"),
        ("filled", "filled"),
    ):
        if words in note:
            return kind
    return "fresh" if first else "next"


@pytest.mark.parametrize("key", ["key \u00e9 0", "key \u00e9 1", "a key never seen"])
def test_pushed_rows_give_what_a_stream_gives(wide, key, tmp_path):
    run, frame = wide
    rows = list(arriving(frame, "key \u00e9 1" if key.startswith("a") else key))
    stream = tt.Stream(run)
    answers = [stream.push(row | {"unique_id": key}) for row in rows]
    with running(run, tmp_path) as runner:
        kinds, expected, quantiles = runner.push(
            key, [microseconds(row["ds"]) for row in rows], np.stack([as_c(row) for row in rows])
        )
    found = [KINDS[int(kind)] for kind in kinds]
    assert found == [kind_of(answer, place == 0) for place, answer in enumerate(answers)]
    assert set(found) == set(KINDS.values())
    scale = run.task.scaler.scale_of(key).scale
    close = {"rtol": 0, "atol": 1e-5 * scale}
    wanted = [[step["prediction"] for step in answer["ahead"]] for answer in answers]
    middle = quantiles.shape[2] // 2
    np.testing.assert_allclose(quantiles[:, :, middle].numpy(), np.array(wanted), **close)
    for place, name in ((0, "lower"), (-1, "upper")):
        wanted = [[step[name] for step in answer["ahead"]] for answer in answers]
        np.testing.assert_allclose(quantiles[:, :, place].numpy(), np.array(wanted), **close)
    wanted = [np.nan if answer["expected"] is None else answer["expected"] for answer in answers]
    np.testing.assert_allclose(expected.numpy(), np.array(wanted), **close)


def test_everything_around_a_model_is_verified(wide, tmp_path):
    run, _ = wide
    with running(run, tmp_path) as runner:
        assert verify(run, runner, steps=1500).max_error < 1e-6


def test_rows_know_what_later_rows_say(wide):
    run, _ = wide
    sample = {name[5:]: part for name, part in run.parity.items() if name.startswith("data.")}
    rows = sample_rows(run.task, sample)
    assert rows.shape == (64, 1 + 2 + 3)
    np.testing.assert_array_equal(rows[:-2, 4], rows[2:, 2])
    assert np.isnan(rows[-1, 3:]).all()


@pytest.mark.parametrize("months", [1, 3])
def test_months_are_counted_by_the_calendar(months, tmp_path):
    frame = pl.DataFrame(
        {
            "ds": [f"{1961 + i * months // 12}-{1 + i * months % 12:02d}-01" for i in range(90)],
            "y": np.sin(np.arange(90)),
        }
    )
    run = train(tmp_path / "run", frame, layer="gru:3")
    assert run.task.format.step_months == months
    moved = [*frame["ds"].to_list()[:40], *frame["ds"].to_list()[43:]]
    moved[5] = moved[5][:-2] + "27"  # A late day of the same month.
    stream = tt.Stream(run)
    answers = [stream.push({"ds": ds, "y": 0.5}) for ds in moved]
    with running(run, tmp_path / "c") as runner:
        kinds, _, quantiles = runner.push(
            "series", [microseconds(ds) for ds in moved], np.full((len(moved), 1), 0.5)
        )
    found = [KINDS[int(kind)] for kind in kinds]
    assert found == [kind_of(answer, place == 0) for place, answer in enumerate(answers)]
    assert "filled" in found
    wanted = [answer["prediction"] for answer in answers]
    np.testing.assert_allclose(quantiles[:, 0, 4].numpy(), wanted, rtol=0, atol=1e-5)


def test_rows_without_a_step_are_each_the_next_one(tmp_path):
    frame = pl.DataFrame({"ds": np.cumsum(np.arange(60) % 7 + 1), "y": np.cos(np.arange(60.0))})
    run = train(tmp_path / "run", frame, layer="gru:3")
    assert not run.task.format.regular
    times = [*range(5), 2, 900, 900, 901]
    with running(run, tmp_path / "c") as runner:
        kinds, _, _ = runner.push("series", times, np.zeros((len(times), 1)))
    found = [KINDS[int(kind)] for kind in kinds]
    assert found == ["fresh", *["next"] * 4, "late", "next", "duplicate", "next"]
