import json
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.data.grid import GridLane, advance, later, place
from throughtime.data.sequences import TableFormat
from throughtime.data.tables import read_table
from throughtime.errors import BundleError

MINUTE = 60_000_000


def stamp(*parts):
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000


def kinds(lane, times):
    return [(lane.admit(time).kind, lane.last) for time in times]


def test_rows_on_the_grid_are_next_gap_or_restart():
    lane = GridLane(step=10, max_gap=3)
    answers = [lane.admit(time) for time in (5, 15, 55, 105)]
    assert [(answer.kind, answer.fillers) for answer in answers] == [
        ("restart", 0),
        ("next", 0),
        ("gap", 3),
        ("restart", 0),
    ]
    assert all(answer.admitted for answer in answers)


def test_late_duplicate_and_off_grid_rows_change_nothing():
    lane = GridLane(step=10, max_gap=3, last=100)
    assert kinds(lane, (90, 100, 104)) == [("late", 100), ("duplicate", 100), ("off_grid", 100)]
    assert not lane.admit(90).admitted


def test_a_row_counts_as_the_nearest_step_and_the_grid_goes_on_from_it():
    lane = GridLane(step=10, max_gap=3, last=0)
    assert kinds(lane, (5, 14, 24, 38)) == [("next", 5), ("next", 14), ("next", 24), ("next", 38)]
    assert lane.admit(53) == lane.__class__(10, 3, None, 0).admit(15)


def test_an_odd_step_rounds_to_the_nearest():
    lane = GridLane(step=3, max_gap=9, last=0)
    assert lane.admit(1).kind == "off_grid"
    assert lane.admit(2).kind == "next"
    assert lane.admit(2 + 7).fillers == 1


def test_without_a_step_every_later_row_is_next():
    lane = GridLane(step=None, max_gap=0, last=0)
    assert [lane.admit(time).kind for time in (1, 10**15, 10**15)] == ["next", "next", "duplicate"]


def test_months_count_as_months_whatever_their_length():
    lane = GridLane(step=1, max_gap=12, months=1)
    ends = [stamp(2023, 11, 30), stamp(2023, 12, 31), stamp(2024, 2, 29), stamp(2024, 3, 1)]
    answers = [lane.admit(time) for time in ends]
    assert [(a.kind, a.fillers) for a in answers] == [
        ("restart", 0),
        ("next", 0),
        ("gap", 1),
        ("next", 0),
    ]
    assert lane.admit(stamp(2024, 3, 5)).kind == "off_grid"


@pytest.mark.parametrize(
    ("start", "steps", "months", "end"),
    [
        ((2024, 1, 31), 1, 1, (2024, 2, 29)),
        ((2024, 2, 29), 1, 1, (2024, 3, 31)),
        ((2023, 1, 30), 1, 1, (2023, 2, 28)),
        ((2023, 5, 14, 6, 30), 8, 1, (2024, 1, 14, 6, 30)),
        ((2023, 10, 1), 2, 3, (2024, 4, 1)),
        ((1969, 3, 1), -1, 12, (1968, 3, 1)),
    ],
)
def test_months_later(start, steps, months, end):
    assert later(stamp(*start), steps, 1, months) == stamp(*end)


def test_advance_knows_the_grid_of_a_format():
    sunspots = read_table("demo:sunspots")
    assert advance(2008, 3, sunspots.format) == 2011
    irregular = read_table("demo:sunspots", step="irregular")
    assert advance(2008, 3, irregular.format) == 2008


def test_a_lane_survives_json_in_the_middle_of_a_stream():
    whole, cut = GridLane(30, 5), GridLane(30, 5)
    times = [0, 30, 29, 95, 95, 400, 431]
    expected = [whole.admit(time) for time in times]
    seen = []
    for time in times:
        cut = GridLane.from_json(json.loads(json.dumps(cut.to_json())))
        seen.append(cut.admit(time))
    assert seen == expected


@pytest.mark.parametrize(
    "fields", [{}, {"max_gap": "3"}, {"max_gap": 3, "else": 1}, {"max_gap": True}]
)
def test_a_foreign_lane_is_refused(fields):
    with pytest.raises(BundleError, match="grid lane"):
        GridLane.from_json(fields)


def by_hand(rows, format):
    """Feed sorted, deduplicated rows to one lane a key, as a stream would."""
    series = {}
    for key in dict.fromkeys(key for key, _, _ in rows):
        latest = {time: y for other, time, y in rows if other == key}
        lane, made = GridLane.of(format), []
        for time in sorted(latest):
            before = lane.last
            admission = lane.admit(time)
            if not admission.admitted:
                continue
            for number in range(1, admission.fillers + 1):
                made.append((advance(before, number, format), np.nan, True, False))
            made.append((time, latest[time], False, admission.kind == "restart"))
        series[key] = made
    return series


def compare(table, rows):
    expected = by_hand(rows, table.format)
    assert [one.unique_id for one in table.series] == list(expected)
    for one in table.series:
        columns = list(zip(*expected[one.unique_id], strict=True))
        assert one.time.tolist() == list(columns[0])
        np.testing.assert_array_equal(one.y, np.array(columns[1]))
        assert one.filler.tolist() == list(columns[2])
        assert one.restarts.tolist() == list(columns[3])
        assert (np.diff(one.time) > 0).all()


ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-60, 60), st.floats(-9, 9)),
    min_size=10,
    max_size=60,
).filter(lambda rows: len({*{(key, time): y for key, time, y in rows}.values()}) > 1)


@settings(deadline=None, max_examples=150)
@given(
    rows=ROWS,
    step=st.one_of(st.none(), st.just("irregular"), st.integers(1, 12)),
    max_gap=st.integers(0, 8),
)
def test_a_table_is_what_a_stream_would_have_made_of_its_rows(rows, step, max_gap):
    frame = pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")
    table = read_table(frame, step=step, max_gap=max_gap, time_format="integer", season=1)
    compare(table, rows)


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, step=st.sampled_from(["1mo", "1q", "1y", "3d"]), max_gap=st.integers(0, 8))
def test_a_table_of_months_is_what_a_stream_would_have_made(rows, step, max_gap):
    days = [(key, stamp(2001, 1, 31) + day * 11 * 24 * 60 * MINUTE, y) for key, day, y in rows]
    frame = pl.DataFrame(days, schema=["unique_id", "ds", "y"], orient="row").with_columns(
        pl.col("ds").cast(pl.Datetime("us"))
    )
    compare(read_table(frame, step=step, max_gap=max_gap, season=1), days)


@settings(deadline=None)
@given(
    times=st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=80, unique=True),
    step=st.integers(1, 10**5),
    max_gap=st.integers(0, 20),
)
def test_arrays_and_lane_agree(times, step, max_gap):
    times = sorted(times)
    placed = place(np.array(times), np.arange(len(times)) == 0, step, max_gap)
    lane = GridLane(step, max_gap)
    answers = [lane.admit(time) for time in times]
    assert placed.admitted.tolist() == [answer.admitted for answer in answers]
    assert placed.fillers.tolist() == [answer.fillers for answer in answers]
    assert placed.restarts.tolist() == [answer.kind == "restart" for answer in answers]


def test_the_lane_of_a_format_has_its_rules():
    format = TableFormat("ds", "y", None, (), (), 7, "integer", 1, 4, "last")
    assert GridLane.of(format).to_json() == {"step": 7, "max_gap": 4}
