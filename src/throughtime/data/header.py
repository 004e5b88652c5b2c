"""The first line of a CSV table: the names of its columns, and what separates them.

Nothing here needs more than Python's own library, so that a stream reads rows without polars.
"""

import csv
from pathlib import Path

from throughtime.errors import DataError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may separate columns, and its name."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_header(content: bytes, path: Path | str) -> tuple[list[str], str]:
    """Read the column names of a CSV table and guess what separates them.

    Args:
        content: UTF-8 text; only its first line is looked at.
        path: where it came from, for messages.

    Returns:
        The names, and a comma, a semicolon or a tab.

    Raises:
        DataError: the line names no columns, one column only, or one of them twice.
    """
    opening = content.removeprefix(BYTE_ORDER_MARK).lstrip(b"\r\n")
    line = opening[: opening.find(b"\n") if b"\n" in opening else None].decode("utf-8")
    unquoted = "".join(line.split('"')[::2])
    delimiter = max(DELIMITERS, key=unquoted.count)
    names = [name.strip() for name in next(csv.reader([line.strip("\r")], delimiter=delimiter))]
    if len(names) == 1:
        raise DataError(
            f"expected columns of times and of numbers in {path}, came the single column "
            f"{names[0][:40]!r}: separate columns by commas, or read the file as text"
        )
    if all(_is_number(name) for name in names):
        raise DataError(
            f"expected column names in the first row of {path}, came {line.strip()[:60]!r}: "
            "add a header such as ds,y"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"expected each column name once in {path}, came {twice[0]!r} more than once: "
            "rename the columns"
        )
    return names, delimiter


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        # a date or a clock time is data as well
        return text[:4].isdigit() and text[4:5] in ("-", "/")
    return True
