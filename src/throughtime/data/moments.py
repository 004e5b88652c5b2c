"""One row's time as the whole number that it stands for, and back as text.

The formats and the integers are those of `clock`, which reads whole columns; nothing here needs
more than Python's own library, so that a stream reads rows without polars.
"""

import re
from datetime import UTC, date, datetime, timedelta

from throughtime.data.sequences import TableFormat
from throughtime.errors import DataError
from throughtime.formats import plain

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
# microseconds in one unit, as (multiplier, divisor)
EPOCH_UNITS = {
    "epoch_s": (1_000_000, 1),
    "epoch_ms": (1000, 1),
    "epoch_us": (1, 1),
    "epoch_ns": (1, 1000),
}
"""Formats that count from 1970, and how."""


def parse_time(value: str | int | float | date, format: TableFormat) -> int:
    """Turn one row's time into its whole number, as `read_times` does for a column.

    Args:
        value: what came in the row's time column.
        format: how the table was read.

    Returns:
        Microseconds since 1970 in UTC, or the whole number.

    Raises:
        DataError: the value is not a time in this format.
    """
    name = format.time_format
    try:
        if isinstance(value, datetime):
            return _microseconds(value)
        if isinstance(value, date):
            return _microseconds(datetime(value.year, value.month, value.day))
        if name == "integer" or name in EPOCH_UNITS:
            multiplier, divisor = EPOCH_UNITS.get(name, (1, 1))
            return _whole(value) * multiplier // divisor
        text = str(value).strip()
        if name != "iso":
            return _microseconds(datetime.strptime(text, name))
        return _microseconds(datetime.fromisoformat(text + "-01" if len(text) == 7 else text))
    except (ValueError, OverflowError, re.error) as error:
        raise DataError(
            f"expected a time like those of column {format.time!r} ({plain(name)}), came "
            f"{value!r}: write it as in the data that was trained on"
        ) from error


def _whole(value: str | int | float) -> int:
    try:
        return int(value) if not isinstance(value, float) else _exact(value)
    except ValueError:
        return _exact(float(value))


def _exact(value: float) -> int:
    if value != value // 1:
        raise ValueError(f"{value} is not whole")
    return int(value)


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment - _EPOCH) // _MICROSECOND


def time_text(time: int, format: TableFormat) -> str:
    """Write a time for people and for output files.

    Args:
        time: as in `Series.time`.
        format: how the table was read.

    Returns:
        `2014-07-01 00:00:00` (UTC where the data had a zone), a date where every step is a
        whole number of days or months and the time is midnight, or the whole number.

    Example:
        >>> from throughtime.data import read_table
        >>> table = read_table("demo:sunspots")
        >>> time_text(int(table.series[0].time[0]), table.format)
        '1700'
    """
    if format.time_kind == "integer":
        return str(time)
    moment = _EPOCH + timedelta(microseconds=time)
    midnight = moment.time() == datetime.min.time()
    whole_days = format.step_us is not None and (
        format.step_months is not None or format.step_us % 86_400_000_000 == 0
    )
    return str(moment.date()) if midnight and whole_days else moment.isoformat(sep=" ")
