"""How times are written and what whole number each stands for.

A time is one int64: microseconds since 1970 in UTC, or the whole number itself (a year, a step).
Here the text, dates and numbers of a whole column become that integer, by a named format; in
`moments` those of one row do, as a stream receives it. Which column holds the times is guessed in
`columns`; where a time lies on the grid is decided in `grid`.

The formats: "iso" (ISO 8601, with `T` or a space, with or without seconds, fraction and zone),
a strptime pattern such as "%d.%m.%Y %H:%M", "epoch_s", "epoch_ms", "epoch_us" and "epoch_ns"
(whole numbers counted from 1970), and "integer" (the number itself).
"""

import re

import polars as pl

from throughtime.data.moments import EPOCH_UNITS

# seconds since 1970 from 2001 on have ten digits; a count of anything else rarely has
_EPOCH_STARTS = {10**9: "epoch_s", 10**12: "epoch_ms", 10**15: "epoch_us", 10**18: "epoch_ns"}
_ISO_PATTERNS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m",
)
_DAY_PATTERNS = ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y")
_CLOCK_PATTERNS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", "T%H:%M:%S")
_PATTERNS = (
    *(day + clock for day in _DAY_PATTERNS for clock in _CLOCK_PATTERNS),
    "%Y/%m",
    "%Y%m%d",
    "%Y%m%d %H:%M:%S",
    "%Y%m%dT%H%M%S",
    "%Y%m%d%H%M%S",
)
_ZONE = r"\d{2}:\d{2}\S*(?:Z|z|[+-]\d{2}(?::?\d{2})?)$"
_SAMPLE = 1000


def text_format(column: pl.Series) -> str | None:
    """Guess how a text column writes times.

    Args:
        column: text, possibly with nulls.

    Returns:
        The format that reads most rows, at least half of them; None where there is none. Of two
        that read the same rows (day and month are both at most 12) the earlier in the
        list wins: month first with slashes, day first with dots and dashes.
    """
    values = column.drop_nulls()
    sample = values.head(_SAMPLE)
    if not len(sample):
        return None
    best, most = None, 0.5 * len(sample)
    for name in ("iso", *_PATTERNS):
        read = len(sample) - read_times(sample, name).null_count()
        if read < most or (read == most and best is not None):
            continue
        if read == len(sample) and read_times(values, name).null_count():
            # one that reads the head but not the rest, such as the wrong order of day and
            # month, stays only until one reads everything
            if best is None:
                best = name
            continue
        best, most = name, read
        if read == len(sample):
            break
    return best


def other_order(column: pl.Series, name: str) -> str | None:
    """Give the format with day and month exchanged where the column fits that one too.

    Args:
        column: text, possibly with nulls.
        name: the format that was guessed.

    Returns:
        The other format, or None where the order of day and month is certain.
    """
    marks = {"%d": "%m", "%m": "%d"}
    if not name.startswith(("%d/", "%m/", "%d-", "%m-")):
        return None
    other = re.sub("%[dm]", lambda found: marks[found.group()], name)
    return None if read_times(column.drop_nulls(), other).null_count() else other


def number_format(column: pl.Series) -> str:
    """Guess what whole numbers in a time column count.

    Args:
        column: whole numbers, possibly with nulls.

    Returns:
        "epoch_s" to "epoch_ns" where all lie between the years 2001 and 2286 in that unit,
        "%Y%m%d" where all are days written as one number, else "integer".
    """
    values = column.drop_nulls().cast(pl.Int64)
    if not len(values):
        return "integer"
    low, high = values.min(), values.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return "integer"
    for start, name in _EPOCH_STARTS.items():
        if start <= low and high < min(10 * start, 2**63):
            return name
    if low >= 19000101 and high <= 21001231 and not read_times(values, "%Y%m%d").null_count():
        return "%Y%m%d"
    return "integer"


def has_zone(column: pl.Series, name: str) -> bool:
    """Tell whether times carry a time zone, and so have been converted to UTC.

    Args:
        column: the column as it is in the file.
        name: its format.

    Returns:
        Whether any value has a zone.
    """
    if isinstance(column.dtype, pl.Datetime):
        return column.dtype.time_zone is not None
    return name == "iso" and column.dtype == pl.String and bool(column.str.contains(_ZONE).any())


def read_times(column: pl.Series, name: str) -> pl.Series:
    """Turn a column into whole numbers.

    Args:
        column: text, dates, timestamps or numbers.
        name: the format, see the module.

    Returns:
        Int64, null where a value is empty or is not written in this format.
    """
    if isinstance(column.dtype, pl.Datetime):
        if column.dtype.time_zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return column.cast(pl.Datetime("us")).cast(pl.Int64)
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us")).cast(pl.Int64)
    if name == "integer" or name in EPOCH_UNITS:
        return _read_whole(column, name)
    text = column.cast(pl.String).str.strip_chars()
    return _read_iso(text) if name == "iso" else _read_pattern(text, name)


def _read_whole(column: pl.Series, name: str) -> pl.Series:
    cells = column.str.strip_chars() if column.dtype == pl.String else column
    if cells.dtype.is_integer():
        whole = cells.cast(pl.Int64, strict=False)
    else:
        # 1700.0 is a whole number, 1700.5 is not, and 1e30 does not fit
        number = cells.cast(pl.Float64, strict=False)
        exact = ((number.round(0) == number) & (number.abs() < 2**53)).fill_null(False)
        whole = number.set(~exact, None).cast(pl.Int64)
        if cells.dtype == pl.String:
            whole = cells.cast(pl.Int64, strict=False).fill_null(whole)
    multiplier, divisor = EPOCH_UNITS.get(name, (1, 1))
    return (whole * multiplier // divisor).alias(column.name)


def _read_iso(text: pl.Series) -> pl.Series:
    plain = text.str.replace(r"^(\d{4}-\d{2}-\d{2})[Tt]", "${1} ")
    times = pl.Series(text.name, [None], dtype=pl.Int64).new_from_index(0, len(text))
    for pattern in _ISO_PATTERNS:
        if times.null_count() == text.null_count():
            return times
        times = times.zip_with(times.is_not_null(), _read_pattern(plain, pattern))
    if times.null_count() > text.null_count() and text.str.contains(_ZONE).any():
        zoned = (
            plain.str.replace(r"[Zz]$", "+00:00")
            .str.replace(r"([+-]\d{2})$", "${1}:00")
            .str.replace(r" (\d{2}:\d{2})([+-])", " ${1}:00${2}")
        )
        read = zoned.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", strict=False, time_unit="us")
        times = times.zip_with(times.is_not_null(), read.dt.timestamp("us"))
    return times


def _read_pattern(text: pl.Series, pattern: str) -> pl.Series:
    if pattern in ("%Y-%m", "%Y/%m"):
        text, pattern = text + pattern[2] + "01", pattern + pattern[2] + "%d"
    return text.str.to_datetime(pattern, strict=False, time_unit="us").dt.timestamp("us")
