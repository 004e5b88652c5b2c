"""Rows from a pipe, line by line: CSV with a header, JSON lines, or lines of text.

Each line is given out as soon as it is there, and nothing of it is kept. A line that can't be read
is given out as the error that says why, and reading goes on with the next; what the cells mean is
not looked at here.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, Protocol, runtime_checkable

from throughtime.data.header import BYTE_ORDER_MARK, read_header
from throughtime.errors import DataError
from throughtime.formats import plain

LONGEST = 2**20
"""Most bytes of a line."""

Numbered = tuple[int, Mapping[str, Any] | DataError]
"""The number of a row, from 1 on, and the row or what is wrong with it."""


@runtime_checkable
class Lines(Protocol):
    """What is used of a file or pipe, of text or of bytes."""

    def readline(self, size: int = -1, /) -> str | bytes:
        """Give the next line, or so much of it."""


_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*", re.ASCII)
_NAME = "the input"


def read_rows(
    file: Lines, *, longest: int = LONGEST, required: Sequence[str] = ()
) -> Iterator[Numbered]:
    r"""Read rows one by one; a line that begins with `{` first makes them JSON lines, else CSV.

    In CSV the first line names the columns, which commas, semicolons or tabs separate; a row is
    one line. Without commas as separators 1,5 is read as 1.5. Blank lines and rows of empty cells
    are passed over.

    Args:
        file: a file or pipe. Of a text file with a buffer beneath, the buffer is read.
        longest: most bytes of a line.
        required: columns that the header of CSV must name; JSON lines are looked at one by one.

    Yields:
        The row's number, from 1 on, and its cells by column, or what is wrong with it. Cells of
        CSV are text, None where a row is too short.

    Raises:
        DataError: there is no row and no header at all, or the header is none or lacks a column.

    Example:
        >>> import io
        >>> list(read_rows(io.StringIO("ds;y\n1700;1,5\n")))
        [(1, {'ds': '1700', 'y': '1.5'})]
    """
    lines = _lines(file, longest)
    first = next((line for line in lines if isinstance(line, DataError) or line.strip()), None)
    if first is None:
        raise DataError(f"expected rows in {_NAME}, came nothing: give a header and rows, or JSON")
    parse: Callable[[str], Mapping[str, Any] | None] = _parse_json
    if isinstance(first, bytes) and first.lstrip().startswith(b"{"):
        lines = chain([first], lines)
    else:
        parse = _csv_parser(first, required)
    number = 0
    for line in lines:
        row = line if isinstance(line, DataError) else _parsed(parse, line)
        if row is not None:
            number += 1
            yield number, row


def read_text_lines(file: Lines, *, longest: int = LONGEST) -> Iterator[Numbered]:
    """Read lines of text, each a row with the one column `text`: the bytes, the newline included.

    Args:
        file: a file or pipe.
        longest: most bytes of a line.

    Yields:
        The line's number, from 1 on, and the row, or what is wrong with it.

    Raises:
        DataError: there is nothing at all.
    """
    number = 0
    for number, line in enumerate(_lines(file, longest), start=1):
        yield number, line if isinstance(line, DataError) else {"text": line}
    if not number:
        raise DataError(f"expected text in {_NAME}, came nothing")


def _lines(file: Lines, longest: int) -> Iterator[bytes | DataError]:
    """Yield lines with their ends as they come; of a line that is too long only that it is."""
    # Reading by `readline` takes what a pipe has and never waits for more than a line.
    source = getattr(file, "buffer", file)
    begun = False
    while line := _bytes(source.readline(longest + 1)):
        if not begun:
            line, begun = line.removeprefix(BYTE_ORDER_MARK), True
        if len(line) <= longest or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = _bytes(source.readline(longest + 1))
        yield DataError(f"expected a line of at most {longest:,} bytes, came a longer one")


def _bytes(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")


def _parsed(
    parse: Callable[[str], Mapping[str, Any] | None], line: bytes
) -> Mapping[str, Any] | DataError | None:
    try:
        return parse(_decoded(line))
    except DataError as error:
        return error


def _decoded(line: bytes) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected UTF-8, came the byte 0x{line[error.start]:02x} at place {error.start + 1} "
            "of the line"
        ) from None
    if "\0" in text:
        raise DataError("expected text, came a zero byte: the input looks binary")
    return text


def _parse_json(text: str) -> Mapping[str, Any] | None:
    if not text.strip():
        return None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object on one line, came {plain(text.strip())}")
    return row


def _csv_parser(
    first: bytes | DataError, required: Sequence[str]
) -> Callable[[str], Mapping[str, Any] | None]:
    """Return what reads a row of a table with this header."""
    if isinstance(first, DataError):
        raise first
    header = _decoded(first)
    try:
        names, delimiter = read_header(header.encode(), _NAME)
    except csv.Error as error:
        raise DataError(f"expected a header in {_NAME}, came {plain(header)} ({error})") from None
    if missing := [name for name in required if name not in names]:
        raise DataError(
            f"expected the column {', '.join(map(repr, missing))} in the header of {_NAME}, came "
            f"{plain(header.strip())}: let the first line name the columns, as in training"
        )

    def parse(text: str) -> Mapping[str, Any] | None:
        try:
            cells: list[str] = next(
                csv.reader([text.rstrip("\r\n")], delimiter=delimiter, strict=True), []
            )
        except csv.Error as error:
            raise DataError(
                f"expected a row of {len(names)} cells on one line, came {plain(text.strip())} "
                f"({error})"
            ) from None
        if not any(cell.strip() for cell in cells):
            return None
        if len(cells) > len(names):
            raise DataError(
                f"expected {len(names)} cells in a row, came {len(cells)}: {plain(text.strip())}"
            )
        if delimiter != ",":
            cells = [
                cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells
            ]
        return dict(zip_longest(names, cells))

    return parse
