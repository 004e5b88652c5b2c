"""The loop of the `stream` command: rows in, an answer a line out, the stream kept on disk.

A row that can't be read does not end a stream. Ctrl-C, SIGTERM and a reader that goes away do,
after the row that is being answered; then the stream is saved.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from throughtime.errors import BundleError, DataError, OptionError
from throughtime.stream.keyed import KeyedStream
from throughtime.stream.rows import Lines, Numbered, read_rows, read_text_lines

if TYPE_CHECKING:
    from throughtime.run import Run

SAVE_EVERY = 10.0
"""Seconds between two saves while rows come."""

# saving must not take more than this share of the time, however many keys there are
_SAVING_SHARE = 0.1


@runtime_checkable
class Output(Protocol):
    """What is used of a text file."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> object:
        """Pass on what was written."""


@dataclass(frozen=True)
class Summary:
    """What a stream did.

    Attributes:
        rows: rows that were answered.
        errors: rows that could not be read.
        keys: keys that have a state at the end.
        ended: "input" when the rows ended, "signal" when somebody asked to stop, "output" when
            nobody read the answers any more.
        saved: the file that the stream is saved in, or None.
    """

    rows: int
    errors: int
    keys: int
    ended: Literal["input", "signal", "output"]
    saved: str | None

    def __str__(self) -> str:
        parts = [f"{_count(self.rows, 'row')} answered", _count(self.keys, "key")]
        if self.errors:
            parts.insert(1, f"{self.errors:,} could not be read")
        if self.saved is not None:
            parts.append(f"state in {self.saved}")
        return ", ".join(parts)


def run_stream(
    run: "Run",
    lines_in: Lines,
    out: Output,
    *,
    save: str | os.PathLike[str] | None = None,
    load: str | os.PathLike[str] | None = None,
    key: str | None = None,
    save_every: float = SAVE_EVERY,
    tell: Callable[[str], object] | None = None,
) -> Summary:
    """Answer every row of a file or pipe with a line of JSON, at once.

    A row that can't be read is answered by `{"error": ..., "row": n}`. A language run reads plain
    lines of text, or, with a key column, rows with the columns `text` and that one.

    Args:
        run: the run.
        lines_in: where rows come from: see `read_rows`.
        out: where answers go; each is flushed.
        save: a file to keep the stream in: at the end, and while rows come now and then. One that
            is there already is written over only where `load` is given too.
        load: a file to go on from. Where it is the one to save in and is not there yet, the stream
            starts afresh and says so: so a service starts by the same call every time.
        key: the column that tells the streams apart.
        save_every: seconds between two saves.
        tell: takes each line for people; standard error by default.

    Returns:
        The counts.

    Raises:
        DataError: there are no rows, or the header of a table is none or lacks a column.
        BundleError: the file to go on from is none of this run, or the last save failed.
        OptionError: the file to save in is there already, is a folder or lies in none, or the key
            column has another role.
    """
    from throughtime.stream.stream import Stream

    tell = tell or _to_stderr
    if save is not None:
        _check_save(Path(save), again=load is not None)
    if load is not None and save is not None and _begins(Path(load), Path(save)):
        tell(f"{load} is not there yet: the stream starts afresh")
        load = None
    stream = Stream(run, key=key) if load is None else Stream.load(run, load, key=key)

    def keep() -> None:
        if save is not None:
            stream.save(save)

    answering = _Answering(stream, out, None if save is None else keep, save_every, tell)
    return _answer_all(answering, lines_in, saved=None if save is None else str(save))


def answer_rows(
    stream: KeyedStream, lines_in: Lines, out: Output, *, tell: Callable[[str], object]
) -> Summary:
    """Answer every row of a file or pipe by a stream that is there, and keep nothing.

    Arguments, result and what is raised are as of `run_stream`.
    """
    return _answer_all(_Answering(stream, out, None, SAVE_EVERY, tell), lines_in, saved=None)


def _answer_all(answering: "_Answering", lines_in: Lines, *, saved: str | None) -> Summary:
    stream = answering.stream
    by_line = stream.reads_lines
    rows = read_text_lines(lines_in) if by_line else read_rows(lines_in, required=stream.required)
    with _stopping() as wish:
        try:
            ended = answering.run(rows, wish)
        except Exception:
            answering.keep()
            raise
        answering.keep()
    return answering.summary(ended, saved)


def _check_save(path: Path, *, again: bool) -> None:
    """Refuse a file that can't be saved in, or that nobody said may be written over."""
    if not path.absolute().parent.is_dir():
        raise OptionError(f"expected a folder to save in, got {path.parent}: make it first")
    if path.is_dir():
        raise OptionError(f"expected a file to save in, got the folder {path}: name a file in it")
    if not again and path.exists():
        raise OptionError(
            f"expected a new file to save in, got {path}, which is there already: go on from it "
            f"with --load {path}, or name another"
        )


def _begins(load: Path, save: Path) -> bool:
    """Tell whether a stream that goes on from its own file has none yet."""
    return load.resolve() == save.resolve() and not load.exists()


class _Answering:
    """The loop and its counts."""

    def __init__(
        self,
        stream: KeyedStream,
        out: Output,
        save: Callable[[], object] | None,
        save_every: float,
        tell: Callable[[str], object],
    ) -> None:
        self.stream = stream
        self.out = out
        self.save = save
        self.save_every = save_every
        self.tell = tell
        self.rows = 0
        self.errors = 0
        self.unsaved = False
        self.save_at = time.monotonic() + save_every

    def run(self, rows: Iterator[Numbered], wish: "_Wish") -> Literal["input", "signal", "output"]:
        while True:
            try:
                with wish.waiting():
                    item = next(rows, None)
            except _AskedToStop:
                return "signal"
            if item is None:
                return "input"
            try:
                self._write(self._answer(*item))
            except BrokenPipeError:
                return "output"
            if self.unsaved and time.monotonic() >= self.save_at:
                self._save_meanwhile()

    def keep(self) -> None:
        """Save what has not been saved."""
        if self.save is not None and self.unsaved:
            self.save()
            self.unsaved = False

    def summary(self, ended: Literal["input", "signal", "output"], saved: str | None) -> Summary:
        kept = saved if self.rows else None
        return Summary(self.rows, self.errors, len(self.stream.keys), ended, kept)

    def _answer(self, number: int, row: Any) -> dict[str, Any]:
        try:
            if isinstance(row, DataError):
                raise DataError(f"row {number}: {row}")
            answer = self.stream.push(row, number=number)
        except DataError as error:
            self.errors += 1
            self.tell(str(error))
            return {"error": str(error), "row": number}
        self.rows += 1
        self.unsaved = True
        return answer

    def _write(self, answer: dict[str, Any]) -> None:
        self.out.write(json.dumps(answer, allow_nan=False) + "\n")
        self.out.flush()

    def _save_meanwhile(self) -> None:
        """Save; a full disk now is no reason to stop, as there may be room later."""
        began = time.monotonic()
        try:
            self.keep()
        except BundleError as error:
            self.tell(str(error))
        ended = time.monotonic()
        self.save_at = ended + max(self.save_every, (ended - began) / _SAVING_SHARE)


class _AskedToStop(Exception):
    """Somebody asked to stop while no row was there."""


class _Wish:
    """Whether somebody asked to stop, and whether it is safe to do so at once."""

    def __init__(self) -> None:
        self.asked = False
        self.is_waiting = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a signal end the wait for a row, which may last for ever."""
        self.is_waiting = True
        try:
            if self.asked:
                raise _AskedToStop
            yield
        finally:
            self.is_waiting = False

    def ask(self) -> None:
        """Ask to stop: at once while waiting, after the row otherwise."""
        self.asked = True
        if self.is_waiting:
            raise _AskedToStop


@contextmanager
def _stopping() -> Iterator[_Wish]:
    """Turn signals into a wish inside the block; a second one acts at once.

    Outside the main thread, where Python takes no signals, the wish is never asked.
    """
    wish = _Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return

    def note(number: int, frame: FrameType | None) -> None:
        if wish.asked:
            raise KeyboardInterrupt
        wish.ask()

    wanted = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, note) for number in wanted]
    try:
        yield wish
    finally:
        for number, handler in zip(wanted, before, strict=True):
            # None stands for a handler that was not set from Python and can't be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
