"""One row's cells as a key, a time and numbers, read as `data` reads whole columns.

The common spellings have a quick way of their own; a cell of any other goes through the column's
reader, so that both agree. Which cells a row needs is decided in `lane` and `text`.
"""

import math
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from throughtime.data.moments import parse_time, time_text
from throughtime.data.sequences import ONE_SERIES, TableFormat
from throughtime.data.words import read_word
from throughtime.errors import DataError
from throughtime.formats import plain

LONGEST_KEY = 256
_LONGEST_TIME = 100
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# microseconds from 1970 to the first and the last moment that a calendar date can be written for
_CALENDAR = (-62_135_596_800_000_000, 253_402_300_799_999_999)
_WHOLE = (-(2**63), 2**63 - 1)


def show(value: object) -> str:
    """Show a cell in a message: one line of bounded length."""
    return plain(repr(value), longest=60)


def cell(row: Mapping[str, Any], column: str, role: str) -> Any:
    """Return the cell of a column that every row must have.

    Raises:
        DataError: the row has no such column.
    """
    try:
        return row[column]
    except KeyError:
        names = plain(", ".join(map(repr, row)), longest=200)
        raise DataError(f"expected the {role} column {column!r}, came {names}") from None


def read_key(row: Mapping[str, Any], column: str | None) -> str:
    """Return the key of a row, "series" where no column tells the series apart.

    Raises:
        DataError: the key is missing, empty, too long or neither text nor number.
    """
    if column is None:
        return ONE_SERIES
    value = cell(row, column, "key")
    if isinstance(value, bool):
        return str(value).lower()
    if value != value or not isinstance(value, str | Real | date):
        raise DataError(f"expected a key in column {column!r}, came {show(value)}")
    key = str(value).strip()
    if not key or len(key) > LONGEST_KEY or not _is_unicode(key):
        raise DataError(
            f"expected a key of 1 to {LONGEST_KEY} characters in column {column!r}, came "
            f"{show(value)}"
        )
    return key


def read_number(value: Any, column: str) -> float:
    """Return a cell as a number, NaN where it is empty or one of the words for missing.

    Raises:
        DataError: it holds other text, or an infinite number.
    """
    number = math.nan
    if isinstance(value, str):
        text = value.strip()
        plainly = _PLAIN_NUMBER.fullmatch(text) is not None
        number = float(text) if plainly else _read_word(text, column)
    elif isinstance(value, Real | Decimal):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    elif value is not None:
        raise _no_number(value, column)
    if math.isinf(number):
        raise DataError(
            f"expected a finite number in column {column!r}, came {show(value)}: mend it or leave "
            "it empty"
        )
    return number


def _read_word(text: str, column: str) -> float:
    number = read_word(text)
    if number is None:
        raise _no_number(text, column)
    return number


def _no_number(value: Any, column: str) -> DataError:
    return DataError(
        f"expected a number in column {column!r}, came {show(value)}: mend it or leave it empty"
    )


def read_moment(row: Mapping[str, Any], format: TableFormat) -> tuple[int, str]:
    """Return a row's time as a whole number, and as text as it was written.

    Raises:
        DataError: it is missing, or no time in the format of the training data.
    """
    value = cell(row, format.time, "time")
    column = format.time
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        raise DataError(f"expected a time in column {column!r}, came an empty cell")
    counted = isinstance(value, Real) and not isinstance(value, bool)
    dated = isinstance(value, date) and format.time_kind == "timestamp"
    if not (counted or dated or (isinstance(value, str) and len(value) <= _LONGEST_TIME)):
        raise DataError(f"expected a time in column {column!r}, came {show(value)}")
    if counted:
        value = int(value) if isinstance(value, Integral) else float(value)
    time = parse_time(value, format)
    first, last = _WHOLE if format.time_kind == "integer" else _CALENDAR
    if not first <= time <= last:
        raise DataError(
            f"expected a time that can be counted in column {column!r}, came {show(value)}"
        )
    written = isinstance(value, str | int)
    return time, str(value).strip() if written else time_text(time, format)


def in_range(time: int, format: TableFormat) -> bool:
    """Tell whether a whole number can be a time of a table."""
    return format.time_kind == "integer" or _CALENDAR[0] <= time <= _CALENDAR[1]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
