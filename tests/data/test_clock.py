from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.data import clock, moments
from throughtime.data.sequences import TableFormat
from throughtime.errors import DataError

EPOCH = datetime(1970, 1, 1)


def format_of(name, kind="timestamp", step=None):
    return TableFormat("ds", "y", None, (), (), step, kind, 1, 48, "last", time_format=name)


def micro(*parts):
    return (datetime(*parts) - EPOCH) // timedelta(microseconds=1)


WAYS = [
    ("2014-07-01 00:30:00", "iso"),
    ("2014-07-01T00:30:00", "iso"),
    ("2014-07-01 00:30", "iso"),
    ("2014-07-01T00:30:00.000000", "iso"),
    ("2014-07-01T00:30:00Z", "iso"),
    ("2014-07-01T02:30:00+02:00", "iso"),
    ("2014-07-01 02:30:00+02", "iso"),
    ("2014-06-30 19:00:00-0530", "iso"),
    ("2014-07-01 02:30+02:00", "iso"),
    ("2014/07/01 00:30:00", "%Y/%m/%d %H:%M:%S"),
    ("01.07.2014 00:30", "%d.%m.%Y %H:%M"),
    ("01-07-2014 00:30:00", "%d-%m-%Y %H:%M:%S"),
    ("07/01/2014 12:30 AM", "%m/%d/%Y %I:%M %p"),
    ("7/1/2014 0:30", "%m/%d/%Y %H:%M"),
    ("1 Jul 2014 00:30:00", "%d %b %Y %H:%M:%S"),
    ("20140701T003000", "%Y%m%dT%H%M%S"),
]


@pytest.mark.parametrize(("text", "name"), WAYS)
def test_a_way_to_write_a_time_is_recognised_and_read(text, name):
    expected = micro(2014, 7, 1, 0, 30)
    column = pl.Series("ds", [text])
    assert clock.text_format(column) == name
    assert clock.read_times(column, name).to_list() == [expected]
    assert moments.parse_time(text, format_of(name)) == expected


@pytest.mark.parametrize(
    ("text", "name", "day"),
    [
        ("2014-07-31", "iso", 31),
        ("2014-07", "iso", 1),
        ("2014/07/31", "%Y/%m/%d", 31),
        ("31.07.2014", "%d.%m.%Y", 31),
        ("31/07/2014", "%d/%m/%Y", 31),
        ("07/31/2014", "%m/%d/%Y", 31),
        ("07-31-2014", "%m-%d-%Y", 31),
    ],
)
def test_a_way_to_write_a_day_is_recognised(text, name, day):
    column = pl.Series("ds", [text])
    assert clock.text_format(column) == name
    assert clock.read_times(column, name).to_list() == [micro(2014, 7, day)]
    assert moments.parse_time(text, format_of(name)) == micro(2014, 7, day)


def test_one_late_day_decides_the_order_of_day_and_month():
    days = pl.Series("ds", ["01/02/2014"] * 2000 + ["13/02/2014"])
    assert clock.text_format(days) == "%d/%m/%Y"
    assert clock.other_order(days, "%d/%m/%Y") is None
    assert clock.other_order(days.head(5), "%m/%d/%Y") == "%d/%m/%Y"


def test_what_is_no_time_is_not_taken_for_one():
    for values in (["red", "blue"], ["1.5", "2.5"], ["12", "13"], ["s1", "s2"], [""], []):
        assert clock.text_format(pl.Series("x", values, dtype=pl.String)) is None


@settings(deadline=None)
@given(
    moment=st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)),
    hours=st.one_of(st.none(), st.integers(-12, 14)),
)
def test_the_column_and_the_row_read_the_same_iso_time(moment, hours):
    zone = None if hours is None else timezone(timedelta(hours=hours))
    text = moment.replace(tzinfo=zone).isoformat()
    expected = (moment - timedelta(hours=hours or 0) - EPOCH) // timedelta(microseconds=1)
    assert clock.read_times(pl.Series("ds", [text]), "iso").to_list() == [expected]
    assert moments.parse_time(text, format_of("iso")) == expected


def test_iso_shapes_may_be_mixed():
    column = pl.Series("ds", ["2014-07-01", "2014-07-01 00:30:00", None, "2014-07-01T01:00Z", "x"])
    expected = [micro(2014, 7, 1), micro(2014, 7, 1, 0, 30), None, micro(2014, 7, 1, 1), None]
    assert clock.read_times(column, "iso").to_list() == expected


def test_typed_columns_need_no_format():
    moments = [datetime(2014, 7, 1, 0, 30), None]
    plain = pl.Series("ds", moments, dtype=pl.Datetime("ms"))
    assert clock.read_times(plain, "iso").to_list() == [micro(2014, 7, 1, 0, 30), None]
    zoned = plain.dt.replace_time_zone("Europe/Berlin")
    assert clock.read_times(zoned, "iso").to_list() == [micro(2014, 6, 30, 22, 30), None]
    assert clock.has_zone(zoned, "iso")
    assert not clock.has_zone(plain, "iso")
    assert clock.read_times(pl.Series("ds", [date(2014, 7, 1)]), "iso").to_list() == [
        micro(2014, 7, 1)
    ]


def test_python_times_are_rows_too():
    format = format_of("iso")
    assert moments.parse_time(datetime(2014, 7, 1), format) == micro(2014, 7, 1)
    assert moments.parse_time(date(2014, 7, 1), format) == micro(2014, 7, 1)
    assert moments.parse_time(datetime(2014, 7, 1, tzinfo=UTC), format) == micro(2014, 7, 1)


@pytest.mark.parametrize(
    ("numbers", "name", "first"),
    [
        ([1700, 1701], "integer", 1700),
        ([0, 1], "integer", 0),
        ([1404172800, 1404174600], "epoch_s", micro(2014, 7, 1)),
        ([1404172800000, 1404174600000], "epoch_ms", micro(2014, 7, 1)),
        ([1404172800000000, 1404174600000000], "epoch_us", micro(2014, 7, 1)),
        ([1404172800000000000, 1404174600000000000], "epoch_ns", micro(2014, 7, 1)),
        ([20140701, 20140731], "%Y%m%d", micro(2014, 7, 1)),
        ([20140701, 20140732], "integer", 20140701),
    ],
)
def test_what_whole_numbers_count(numbers, name, first):
    column = pl.Series("ds", numbers)
    assert clock.number_format(column) == name
    kind = "integer" if name == "integer" else "timestamp"
    for written in (column, column.cast(pl.String)):
        assert clock.read_times(written, name)[0] == first
    for value in (numbers[0], str(numbers[0])):
        assert moments.parse_time(value, format_of(name, kind)) == first


def test_numbers_must_be_whole():
    column = pl.Series("ds", [1700.0, 1700.5, float("nan"), None, 1e30])
    assert clock.read_times(column, "integer").to_list() == [1700, None, None, None, None]
    assert clock.read_times(pl.Series("ds", ["1700.0", "1.5", "x"]), "integer").to_list() == [
        1700,
        None,
        None,
    ]
    assert moments.parse_time("1700.0", format_of("integer", "integer")) == 1700


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("yesterday", "iso"),
        ("1.5", "integer"),
        ("2014-07-01", "%d.%m.%Y"),
        (float("inf"), "epoch_s"),
    ],
)
def test_a_row_without_a_time_is_refused(value, name):
    with pytest.raises(DataError, match="expected a time like those of column 'ds'"):
        moments.parse_time(value, format_of(name))


def test_times_are_written_as_days_only_on_a_grid_of_days():
    half_hour = format_of("iso", step=1_800_000_000)
    assert moments.time_text(micro(2014, 7, 1), half_hour) == "2014-07-01 00:00:00"
    daily = format_of("iso", step=86_400_000_000)
    assert moments.time_text(micro(2014, 7, 1), daily) == "2014-07-01"
    assert moments.time_text(micro(2014, 7, 1, 6), daily) == "2014-07-01 06:00:00"
    assert moments.time_text(1700, format_of("integer", "integer", 1)) == "1700"
