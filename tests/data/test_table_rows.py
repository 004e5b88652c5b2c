from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.data import read_table
from throughtime.errors import DataError


def write(folder, text, name="data.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def frame(count=20, **columns):
    return pl.DataFrame({"ds": range(count), "y": [float(i % 6) for i in range(count)]} | columns)


def test_rows_are_sorted_and_that_is_said():
    data = frame(40)
    shuffled = data.sample(fraction=1, shuffle=True, seed=3)
    table = read_table(shuffled)
    np.testing.assert_array_equal(table.series[0].y, data["y"].to_numpy())
    assert table.findings.counts["unsorted"] > 0
    assert any("sorted by time" in line for line in table.findings)
    assert read_table(data).findings.counts["unsorted"] == 0


DUPLICATED = pl.DataFrame(
    {
        "ds": [*range(10), 3, 3, 7],
        "y": [float(i) for i in range(10)] + [30.0, float("nan"), 70.0],
        "heat": [1.0] * 10 + [2.0, 6.0, float("nan")],
    }
)


@pytest.mark.parametrize(
    ("policy", "three", "seven", "heat"),
    [
        ("last", np.nan, 70.0, [6.0, np.nan]),
        ("first", 3.0, 7.0, [1.0, 1.0]),
        ("mean", 16.5, 38.5, [3.0, 1.0]),
    ],
)
def test_duplicates_are_kept_as_told(policy, three, seven, heat):
    table = read_table(DUPLICATED, duplicates=policy)
    one = table.series[0]
    np.testing.assert_array_equal(one.y[[3, 7]], [three, seven])
    np.testing.assert_array_equal(one.covariates[[3, 7], 0], heat)
    assert table.findings.counts["duplicates"] == 3
    assert table.findings.counts["rows"] == 13
    assert len(one) == 10


def test_duplicates_can_be_refused():
    with pytest.raises(DataError, match="3 rows with a time that was there already"):
        read_table(DUPLICATED, duplicates="error")


@settings(deadline=None, max_examples=50)
@given(
    times=st.lists(st.integers(0, 30), min_size=10, max_size=60).filter(lambda t: len({*t}) > 1),
    policy=st.sampled_from(["last", "first", "mean"]),
)
def test_duplicates_agree_with_pandas(times, policy):
    data = pd.DataFrame({"unique_id": "a", "ds": times, "y": np.arange(len(times)) ** 1.5})
    grouped = data.groupby("ds")["y"]
    expected = getattr(grouped, policy)()
    one = read_table(pl.from_pandas(data), duplicates=policy, step="irregular").series[0]
    assert one.time.tolist() == expected.index.tolist()
    np.testing.assert_allclose(one.y, expected.to_numpy())


@pytest.mark.parametrize("freq", ["30min", "D", "MS", "ME", "QS", "YS"])
def test_filled_gaps_agree_with_pandas(freq):
    index = pd.date_range("2015-01-31", periods=60, freq=freq)
    full = pd.DataFrame({"ds": index, "y": np.arange(60.0) % 7})
    holes = full.drop(index=[3, 10, 11, 12, 40])
    table = read_table(holes)
    expected = holes.set_index("ds").asfreq(freq)["y"]
    one = table.series[0]
    assert table.findings.counts["gaps"] == 3
    assert table.findings.counts["fillers"] == 5
    assert one.time.tolist() == expected.index.astype("datetime64[us]").astype(int).tolist()
    np.testing.assert_array_equal(one.y, expected.to_numpy())
    assert np.flatnonzero(one.filler).tolist() == [3, 10, 11, 12, 40]
    assert one.restarts.sum() == 1


def test_a_long_gap_restarts_and_is_not_filled():
    times = [*range(20), *range(60, 80)]
    data = pl.DataFrame({"ds": times, "y": np.arange(40.0) % 3})
    filled = read_table(data, max_gap=40)
    assert (len(filled.series[0]), filled.format.max_gap) == (80, 40)
    table = read_table(data, max_gap=39)
    one = table.series[0]
    assert len(one) == 40
    assert np.flatnonzero(one.restarts).tolist() == [0, 20]
    assert table.findings.counts["restarts"] == 1
    assert any("gaps longer than 39" in line for line in table.findings)


def test_the_longest_gap_is_the_season_where_that_is_longer():
    minutes = pl.DataFrame(
        {
            "ds": [datetime(2024, 1, 1) + timedelta(minutes=m) for m in range(900)],
            "y": np.sin(np.arange(900) * 2 * np.pi / 60),
        }
    )
    format = read_table(minutes).format
    assert (format.season, format.max_gap) == (60, 60)
    assert read_table(minutes, season=7).format.max_gap == 48


def test_missing_values_stay_missing_and_are_counted(tmp_path):
    text = "ds,y,heat\n" + "".join(
        f"{i},{cell},{'NA' if i % 5 == 0 else i}\n"
        for i, cell in enumerate(["1", "", "NaN", "null", "n/a", "2", "3", "4", "5", "?", "6", "7"])
    )
    table = read_table(write(tmp_path, text))
    assert np.isnan(table.series[0].y).tolist() == [i in (1, 2, 3, 4, 9) for i in range(12)]
    assert not table.series[0].filler.any()
    assert table.findings.counts["missing"] == 5
    assert table.findings.counts["missing_covariates"] == 3
    assert "missing in covariates: 'heat' 3" in table.findings.lines


def test_constant_and_empty_series_are_named():
    data = pl.DataFrame(
        {
            "unique_id": ["flat"] * 10 + ["wave"] * 10 + ["void"] * 10,
            "ds": [*range(10)] * 3,
            "y": [4.0] * 10 + [float(i % 3) for i in range(10)] + [None] * 10,
        }
    )
    table = read_table(data)
    assert table.findings.counts["constant_series"] == 1
    assert table.findings.counts["empty_series"] == 1
    assert "constant: 1 series ('flat')" in table.findings.lines
    assert "without any target: 1 series ('void')" in table.findings.lines


def test_rows_off_the_grid_are_counted_as_the_nearest_step():
    times = [*range(0, 600, 10)]
    times[12] += 1
    times.insert(20, times[19] + 2)
    data = pl.DataFrame({"ds": times, "y": np.arange(61.0) % 4})
    table = read_table(data)
    one = table.series[0]
    assert one.time.tolist() == [time for time in times if time != 192]
    assert (table.findings.counts["off_grid"], table.findings.counts["dropped"]) == (3, 1)
    assert any("1 less than half a step after another dropped" in line for line in table.findings)


def test_an_irregular_table_is_not_filled():
    random = np.random.default_rng(0)
    times = np.cumsum(random.integers(1, 1000, 100))
    table = read_table(pl.DataFrame({"ds": times, "y": random.random(100)}))
    assert table.format.step_us is None
    assert not table.format.regular
    assert table.format.season == 1
    assert table.series[0].time.tolist() == times.tolist()
    assert not table.series[0].filler.any()
    assert any(line.startswith("irregular: ") for line in table.findings)
