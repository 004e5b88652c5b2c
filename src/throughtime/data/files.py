"""Opening a table: a path, a polars or a pandas frame becomes one polars frame.

CSV cells stay text here, so that a wrong cell can be named as it was written; what they mean is
decided in `columns`. Whatever can be wrong with a file as a file is said here.
"""

import csv
import io
import os
import stat
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from throughtime.data.header import BYTE_ORDER_MARK, DELIMITERS, read_header
from throughtime.errors import DataError

_MAGIC = {
    b"\x1f\x8b": "a gzip file: unpack it",
    b"PK\x03\x04": "a zip or Excel file: export it as CSV",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it",
    b"\xff\xfe": "text in UTF-16: save it as UTF-8",
    b"\xfe\xff": "text in UTF-16: save it as UTF-8",
}


@runtime_checkable
class PandasFrame(Protocol):
    """What is used of a pandas DataFrame, so that pandas need not be there."""

    @property
    def index(self) -> Any:
        """The row labels."""

    def reset_index(self) -> Any:
        """Make the row labels a column."""


TableSource = str | os.PathLike[str] | pl.DataFrame | PandasFrame


def open_table(source: TableSource) -> tuple[pl.DataFrame, str, tuple[str, ...]]:
    """Give a source as a polars frame.

    Args:
        source: path of a CSV or Parquet file, or a frame.

    Returns:
        The frame (cells of a CSV file are text), a name for messages, and lines to print.

    Raises:
        DataError: it is not a readable table.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        frame, lines = _read_file(path)
        name = str(path)
    elif isinstance(source, pl.DataFrame):
        frame, lines, name = source, (), "the polars frame"
    elif type(source).__module__.partition(".")[0] == "pandas":
        frame, lines = _from_pandas(source)
        name = "the pandas frame"
    else:
        raise DataError(
            f"expected a path, a polars frame or a pandas frame, came {type(source).__name__}: "
            "give one of these"
        )
    if not frame.width:
        raise DataError(f"expected a table with columns, came {name} without any: fill it first")
    return frame, name, lines


def _from_pandas(frame: Any) -> tuple[pl.DataFrame, tuple[str, ...]]:
    lines: tuple[str, ...] = ()
    index = frame.index
    if type(index).__name__ in ("DatetimeIndex", "PeriodIndex") or any(index.names):
        if type(index).__name__ == "PeriodIndex":
            frame = frame.to_timestamp()
        taken = " and ".join(repr(name or "index") for name in index.names)
        frame = frame.reset_index()
        lines = (f"the row labels of the pandas frame are read as column {taken}",)
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise DataError(f"expected each column name once, came {names}: rename the columns")
    try:
        return pl.from_pandas(frame.set_axis(names, axis=1)), lines
    except Exception as error:
        # pyarrow's and polars' own errors share no base
        raise DataError(
            f"expected a pandas frame of times, numbers and text, came one that polars can't "
            f"take ({_first_line(error)}): convert its columns first"
        ) from error


def _read_file(path: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    content = _read_bytes(path)
    if not content.removeprefix(BYTE_ORDER_MARK).strip():
        raise DataError(f"expected a table in {path}, came an empty file: give one with rows")
    if content.startswith(b"PAR1"):
        try:
            return pl.read_parquet(io.BytesIO(content)), ()
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"expected a Parquet file in {path}, came one that is damaged "
                f"({_first_line(error)}): write it again"
            ) from error
    return _read_csv(content, path)


def _read_bytes(path: Path) -> bytes:
    if "\0" in str(path):
        raise DataError(f"expected a path, came {str(path)!r} with a zero in it: check the path")
    try:
        if path.is_dir():
            raise DataError(f"expected a file, came the directory {path}: name a file in it")
        # a pipe ends, as a file does; a device may go on for ever
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
            raise DataError(f"expected a file, came {path}, which is none: save the data first")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"expected a table, came {path}, which does not exist in {Path.cwd()}: "
            "check the path, or use a name such as demo:sunspots"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"expected a readable file, came {path} ({reason}): check its permissions"
        ) from error


def _read_csv(content: bytes, path: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    for magic, meaning in _MAGIC.items():
        if content.startswith(magic):
            raise DataError(f"expected CSV or Parquet in {path}, came {meaning}")
    zero = content.find(b"\0")
    if zero >= 0:
        raise DataError(
            f"expected CSV or Parquet in {path}, came a binary file (a zero byte at offset "
            f"{zero}): export it as CSV"
        )
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected UTF-8 in {path}, came the byte 0x{content[error.start]:02x} at offset "
            f"{error.start}: save the file as UTF-8"
        ) from error
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    header, delimiter = read_header(content, path)
    lines: tuple[str, ...] = (
        () if delimiter == "," else (f"columns are separated by {DELIMITERS[delimiter]}",)
    )
    try:
        frame = pl.read_csv(
            content,
            separator=delimiter,
            infer_schema=False,
            new_columns=header,
            raise_if_empty=True,
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"expected {len(header)} columns in every row of {path}, came "
            f"{_misfit(content, len(header), delimiter) or _first_line(error)}: mend the file"
        ) from error
    if frame.width > 1:
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    if delimiter != ",":
        frame, changed = _decimal_points(frame)
        lines += (f"1,5 is read as 1.5 in {' '.join(map(repr, changed))}",) if changed else ()
    return frame, lines


def _misfit(content: bytes, width: int, delimiter: str) -> str | None:
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), delimiter=delimiter)
        for number, cells in enumerate(reader):
            if len(cells) > width:
                return f"{len(cells)} in row {number}"
    except csv.Error as error:
        return str(error)
    return None


def _decimal_points(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    changed = [
        column.name
        for column in frame
        if column.str.contains(r"^\s*[+-]?\d+,\d+\s*$").any()
        and not column.str.contains(r",.*,|\.").any()
    ]
    return frame.with_columns(pl.col(changed).str.replace(",", ".", literal=True)), changed


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
