"""Rows as they arrive: their cells, their times, and where they lie on a forecast's time grid.

`runner.py` asks this file about each row; no model is in here, and nothing but Python's own library
is needed. The rules, the notes and the errors are those of `throughtime stream`.
"""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain, zip_longest
from numbers import Integral, Real
from typing import Any, BinaryIO, NamedTuple

ONE_SERIES = "series"
"""The name of the series of data that has only one."""

DROPPED = {
    "late": "late row dropped",
    "duplicate": "duplicate row dropped: a row of this time has been read",
    "off_grid": "row dropped: less than half a step after the one before",
}
"""What becomes of a row that can't be put in order, and how that is said."""

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", ".", "-", "--", "missing")
"""What a cell holds where the number is missing, in lower case."""

_WORDS = dict.fromkeys((*MISSING, "+nan", "-nan"), math.nan) | {"true": 1.0, "false": 0.0}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
_DAY = 86_400_000_000
_CALENDAR = (-62_135_596_800_000_000, 253_402_300_799_999_999)
_WHOLE = (-(2**63), 2**63 - 1)
# Times that are counted, as thousandths of what they become.
_COUNTED = {"integer": 1000, "epoch_s": 10**9, "epoch_ms": 10**6, "epoch_us": 1000, "epoch_ns": 1}
_LONGEST_KEY, _LONGEST_TIME, _LONGEST_LINE = 256, 100, 2**20
_MOST_NOTED = 20


class Row(NamedTuple):
    """A row's cells as numbers, NaN where one is missing.

    Attributes:
        key: which stream it is of.
        time: microseconds since 1970 in UTC, or the whole number of the time column.
        ds: the time as it was written.
        y: the target.
        covariates: in the order of the model.
        future: of each covariate whose future is known, its values 1 to h steps later.
    """

    key: str
    time: int
    ds: str
    y: float
    covariates: list[float]
    future: list[list[float]]


class RowReader:
    """Reads the rows of a forecasting model, as its training data was read.

    Args:
        about: what the graphs' files say of the model.
        key: the column that tells the streams apart; that of training when None.

    Attributes:
        key: that column, or None where all rows are of one stream.
        required: columns that every row must have.
        noted: columns that were said to be none that are read.
    """

    def __init__(self, about: Mapping[str, Any], key: str | None = None) -> None:
        self._about = about
        self.key: str | None = about["key"] if key is None else key
        steps = range(1, about["horizon"] + 1)
        self._ahead = [[f"{name}@+{k}" for k in steps] for name in about["known_future"]]
        moment = [about["time"], about["target"]]
        own = {*moment, *about["covariates"], *chain.from_iterable(self._ahead)}
        if self.key in own:
            raise ValueError(
                f"expected a column that tells the streams apart, got {self.key!r}, which is read "
                "as something else; name another"
            )
        self.required: list[str] = moment if self.key is None else [self.key, *moment]
        self._columns = own | {self.key}
        self.noted: list[str] = []

    def read(self, row: Mapping[str, Any]) -> Row:
        """Read a row's cells, or raise a ValueError that says which can't be read."""
        about = self._about
        key = ONE_SERIES if self.key is None else read_key(cell(row, self.key, "key"), self.key)
        time, ds = self._moment(cell(row, about["time"], "time"))
        y = read_number(cell(row, about["target"], "target"), about["target"])
        covariates = [read_number(row.get(name), name) for name in about["covariates"]]
        future = [[read_number(row.get(name), name) for name in each] for each in self._ahead]
        return Row(key, time, ds, y, covariates, future)

    def admit(self, last: int | None, time: int) -> tuple[str, int]:
        """Place a row on the time grid.

        Args:
            last: time of the row before it, None before the first.
            time: its own.

        Returns:
            "next"; "gap", where missing steps go before it; "restart", where the state starts
            afresh; or one of `DROPPED`. And how many steps are missing.
        """
        if last is None:
            return "restart", 0
        if time <= last:
            return "duplicate" if time == last else "late", 0
        missing = self._steps(last, time) - 1
        if missing < 0:
            return "off_grid", 0
        if missing > self._about["max_gap"]:
            return "restart", missing
        return "gap" if missing else "next", missing

    def future_of_missing(self, row: Row, steps: int) -> list[list[float]]:
        """Return what is known to follow a missing step, so many steps before a row."""
        about, found = self._about, []
        for name, later in zip(about["known_future"], row.future, strict=True):
            now = row.covariates[about["covariates"].index(name)]
            found.append([*[math.nan] * (steps - 1), now, *later][: about["horizon"]])
        return found

    def notes(self, row: Row, kind: str, missing: int) -> list[str]:
        """Return what is said about a row that is read."""
        notes = []
        if kind == "restart" and missing:
            notes.append(f"state starts afresh after a gap of {missing:,} steps")
        elif missing:
            notes.append(f"{missing:,} missing step{'s' if missing > 1 else ''} filled")
        if math.isnan(row.y):
            notes.append("y missing")
        names = zip(self._about["covariates"], row.covariates, strict=True)
        if absent := [name for name, value in names if math.isnan(value)]:
            notes.append(f"{', '.join(absent)} missing")
        return notes

    def silent(self, row: Row) -> list[str]:
        """Return the covariates of known future whose future a row does not wholly say."""
        said = zip(self._about["known_future"], row.future, strict=True)
        return [name for name, later in said if any(map(math.isnan, later))]

    def surplus(self, row: Mapping[str, Any]) -> list[str]:
        """Say once of each column that it is not read; there may be no end of them."""
        notes = []
        for column in row:
            if column in self._columns or len(self.noted) >= _MOST_NOTED:
                continue
            name = shown(str(column))
            if name not in self.noted:
                self.noted.append(name)
                notes.append(f"unknown column {name} ignored")
        return notes

    def _moment(self, value: Any) -> tuple[int, str]:
        """Return a time as a whole number, and as it was written."""
        column, kind = self._about["time"], self._about["time_kind"]
        if value is None or value != value or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"expected a time in column {column!r}, came an empty cell")
        counted = isinstance(value, Real) and not isinstance(value, bool)
        dated = isinstance(value, date) and kind == "timestamp"
        if not (counted or dated or (isinstance(value, str) and len(value) <= _LONGEST_TIME)):
            raise ValueError(f"expected a time in column {column!r}, came {shown(repr(value))}")
        if counted:
            value = int(value) if isinstance(value, Integral) else float(value)
        try:
            time = _parsed(value, self._about["time_format"])
        except (ValueError, OverflowError, re.error):
            raise ValueError(
                f"expected a time like those of column {column!r} "
                f"({shown(self._about['time_format'], 120)}), came {value!r}: write it as in the "
                "data that was trained on"
            ) from None
        first, last = _WHOLE if kind == "integer" else _CALENDAR
        if not first <= time <= last:
            raise ValueError(
                f"expected a time that can be counted in column {column!r}, came "
                f"{shown(repr(value))}"
            )
        written = isinstance(value, str | int)
        return time, str(value).strip() if written else self._time_text(time)

    def _time_text(self, time: int) -> str:
        """Write a time as a date where every step is whole days, and as a moment otherwise."""
        if self._about["time_kind"] == "integer":
            return str(time)
        moment, step = _EPOCH + timedelta(microseconds=time), self._about["step"]
        days = step is not None and (self._about["step_months"] is not None or step % _DAY == 0)
        dated = days and moment.time() == datetime.min.time()
        return str(moment.date()) if dated else moment.isoformat(sep=" ")

    def _steps(self, earlier: int, later: int) -> int:
        """Return the nearest whole number of steps between two times, halves counting up."""
        step, months = self._about["step"], self._about["step_months"]
        if step is None:
            return 1
        if months is not None:
            return int((_month(later) - _month(earlier) + months // 2) // months)
        return int((later - earlier + step // 2) // step)


def cell(row: Mapping[str, Any], column: str, role: str) -> Any:
    """Return the cell of a column that every row must have."""
    if column in row:
        return row[column]
    names = shown(", ".join(map(repr, row)), 200)
    raise ValueError(f"expected the {role} column {column!r}, came {names}")


def read_key(value: Any, column: str) -> str:
    """Return the name of a row's stream."""
    if isinstance(value, bool):
        return str(value).lower()
    if value != value or not isinstance(value, str | Real | date):
        raise ValueError(f"expected a key in column {column!r}, came {shown(repr(value))}")
    key = str(value).strip()
    if not 0 < len(key) <= _LONGEST_KEY or any("\ud800" <= each <= "\udfff" for each in key):
        raise ValueError(
            f"expected a key of 1 to {_LONGEST_KEY} characters in column {column!r}, came "
            f"{shown(repr(value))}"
        )
    return key


def read_number(value: Any, column: str) -> float:
    """Return a cell as a number, NaN where it is empty or a word for missing."""
    number: float | None = None
    if value is None:
        number = math.nan
    elif isinstance(value, str):
        text = value.strip()
        number = float(text) if _NUMBER.fullmatch(text) else _WORDS.get(text.lower())
    elif isinstance(value, Real | Decimal):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if number is None or math.isinf(number):
        wanted = "a number" if number is None else "a finite number"
        raise ValueError(
            f"expected {wanted} in column {column!r}, came {shown(repr(value))}: mend it or leave "
            "it empty"
        )
    return number


def read_rows(source: BinaryIO, required: Sequence[str]) -> Iterator[dict[str, Any] | ValueError]:
    """Yield rows of a pipe as they come, or what is wrong with one.

    A first line that begins with `{` makes them JSON lines; otherwise it names the columns of CSV,
    which commas, semicolons or tabs separate.
    """
    lines = read_lines(source)
    first = next((line for line in lines if isinstance(line, ValueError) or line.strip()), None)
    if first is None:
        raise ValueError(
            "expected rows in the input, came nothing: give a header and rows, or JSON"
        )
    parse: Callable[[str], dict[str, Any] | None] = _read_json
    if isinstance(first, bytes) and first.lstrip().startswith(b"{"):
        lines = chain([first], lines)
    else:
        parse = _reader_of_csv(_decoded(first), required)
    for line in lines:
        try:
            row = parse(_decoded(line))
        except ValueError as error:
            yield error
            continue
        if row is not None:
            yield row


def read_lines(source: BinaryIO) -> Iterator[bytes | ValueError]:
    """Yield lines with their ends as they come; of one that is too long only that it is."""
    begun = False
    while line := source.readline(_LONGEST_LINE + 1):
        if not begun:
            line, begun = line.removeprefix(b"\xef\xbb\xbf"), True
        if len(line) <= _LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = source.readline(_LONGEST_LINE + 1)
        yield ValueError(f"expected a line of at most {_LONGEST_LINE:,} bytes, came a longer one")


def shown(text: str, longest: int = 60) -> str:
    """Show text in a message: one line, printable, of bounded length."""
    start = text[:longest] if text[:longest].isprintable() else ascii(text[:longest])
    return start if len(text) <= longest else f"{start}... ({len(text)} characters)"


def _parsed(value: str | float | date, written_as: str) -> int:
    """Return a time as a whole number."""
    if isinstance(value, date):
        midnight = datetime(value.year, value.month, value.day)
        return _microseconds(value if isinstance(value, datetime) else midnight)
    if written_as in _COUNTED:
        if isinstance(value, str):
            value = int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
        if value != value // 1:
            raise ValueError(f"{value} is not whole")
        return int(value) * _COUNTED[written_as] // 1000
    text = str(value).strip()
    if written_as != "iso":
        return _microseconds(datetime.strptime(text, written_as))
    return _microseconds(datetime.fromisoformat(f"{text}-01" if len(text) == 7 else text))


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _month(time: int) -> int:
    moment = _EPOCH + timedelta(microseconds=time)
    return moment.year * 12 + moment.month


def _decoded(line: bytes | ValueError) -> str:
    if isinstance(line, ValueError):
        raise line
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected UTF-8, came the byte 0x{line[error.start]:02x} at place {error.start + 1} "
            "of the line"
        ) from None
    if "\0" in text:
        raise ValueError("expected text, came a zero byte: the input looks binary")
    return text


def _read_json(text: str) -> dict[str, Any] | None:
    if not text.strip():
        return None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object on one line, came {shown(text.strip(), 120)}")
    return row


def _reader_of_csv(header: str, required: Sequence[str]) -> Callable[[str], dict[str, Any] | None]:
    """Return what reads a line of a table with this header."""
    unquoted = "".join(header.split('"')[::2])
    delimiter = max((",", ";", "\t"), key=unquoted.count)
    names = [name.strip() for name in _cells(header, delimiter, "a header that names the columns")]
    if lacking := [name for name in required if name not in names]:
        raise ValueError(
            f"expected the column {', '.join(map(repr, lacking))} in the header of the input, came "
            f"{shown(header.strip(), 120)}: let the first line name the columns, as in training"
        )
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(
            f"expected each column name once in the input, came {twice[0]!r} more than once: "
            "rename the columns"
        )

    def parse(text: str) -> dict[str, Any] | None:
        cells = _cells(text, delimiter, f"a row of {len(names)} cells")
        if not any(each.strip() for each in cells):
            return None
        if len(cells) > len(names):
            raise ValueError(
                f"expected {len(names)} cells in a row, came {len(cells)}: "
                f"{shown(text.strip(), 120)}"
            )
        if delimiter != ",":
            cells = [
                each.replace(",", ".") if _DECIMAL_COMMA.fullmatch(each) else each for each in cells
            ]
        return dict(zip_longest(names, cells))

    return parse


def _cells(line: str, delimiter: str, wanted: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise ValueError(
            f"expected {wanted} on one line, came {shown(line.strip(), 120)} ({error})"
        ) from None
