"""Runs the graphs that lie beside this file, with numpy and onnxruntime alone.

    streams = ForecastStreams(FOLDER)                        # of a forecasting model
    streams.push({"ds": "2024-05-01 10:00", "y": 1.7})       # what `throughtime stream` answers

    streams = ForecastStreams(FOLDER, series=["a", "b"])     # rows in order, without times
    streams.step([1.5, float("nan")])                        # quantiles (2, h, Q) of what follows

    streams = TextStreams(FOLDER, lanes=1)                   # of a language model
    streams.read("some text")                                # how surprising it is, in nats

Rows and quantiles are in the data's own units. As a program, `python runner.py < rows.csv` reads
rows as CSV or JSON lines, or lines of text, and prints a JSON line for each. `runner_graphs.py` and
`runner_rows.py` belong to this file.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

try:
    import numpy as np

    from throughtime.export.onnx.shipped.runner_graphs import Streams, finite, median, task_of
    from throughtime.export.onnx.shipped.runner_rows import (
        DROPPED,
        ONE_SERIES,
        Row,
        RowReader,
        read_lines,
        read_rows,
    )
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    sys.exit(
        f"runner.py: error: expected the module {error.name}, got none; install numpy and "
        "onnxruntime, and keep runner_graphs.py and runner_rows.py beside this file"
    )

Array = np.ndarray


class ForecastStreams(Streams):
    """Streams of a forecasting model.

    A row has the target `y`, the covariates in the order of `about["covariates"]` and, of those
    whose future is known, their values 1 to h steps later. NaN stands for a number that is missing,
    and a row of NaN for a step that is.

    `push` goes by the times of rows. `step` and `run` take rows in order and know no time: use
    these or that one for a stream.

    Args:
        folder: as in `Streams`.
        series: the name of each stream's series, which sets its scale; any other name has the scale
            of all of them together. As many streams as there are names; `push` adds others.
        key: the column that tells the streams apart; that of training when None.
        threads: as in `Streams`.

    Attributes:
        names: of each stream's series.
        required: the columns that every row of `push` must have.
        kept: as in `Streams`; `quantiles` (B, h, Q) are what `push` forecast last.
    """

    task = "forecast"

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        series: Sequence[str] = (ONE_SERIES,),
        key: str | None = None,
        threads: int = 1,
    ) -> None:
        super().__init__(folder, lanes=len(series), threads=threads)
        self._reader = RowReader(self.about, key)
        self.required = self._reader.required
        self._known = {name: place for place, name in enumerate(self.about["series"])}
        self._name_all(series)

    def add(self, series: str) -> int:
        """Have one more stream, of a series, and return its lane."""
        self._name(series)
        return self._more()

    def step(self, y: Any, covariates: Any = None, future: Any = None) -> Array:
        """Read the next row of every stream.

        Args:
            y: (B,).
            covariates: (B, C); missing when None.
            future: (B, K, h); not known when None.

        Returns:
            Quantiles (B, h, Q) of the h values that follow, by the levels of `about["levels"]`.
        """
        given = self._rows((self.lanes,), self._series, y, covariates, future)
        return self._step(given, range(self.lanes))["quantiles"]

    def run(
        self,
        y: Any,
        covariates: Any = None,
        future: Any = None,
        *,
        lengths: Any = None,
        resets: Any = None,
    ) -> Array:
        """Read many rows of every stream at once.

        Args:
            y: (B, T).
            covariates: (B, T, C).
            future: (B, T, K, h).
            lengths: (B,), rows that are there; all when None.
            resets: (B, T), rows before which a stream starts afresh.

        Returns:
            Quantiles (B, T, h, Q); of rows that are not there they mean nothing.
        """
        steps = np.shape(y)[1]
        given = self._rows((self.lanes, steps), self._series, y, covariates, future)
        return self._run(given, steps, lengths, resets)["quantiles"]

    def push(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Read a row that has its time, and answer it as `throughtime.Stream.push` does.

        Missing steps are filled, after a long gap the state starts afresh, and a row that comes
        late, twice or off the grid is dropped; `note` says so.

        Args:
            row: the cells by column, as text or as numbers, dates and times. A known future comes
                as `NAME@+1` to `NAME@+h`. What is absent, empty or None is missing.

        Returns:
            JSON values: `unique_id`, `ds`, `y`; `expected`, what was predicted for this row before
            it came; `prediction`, `lower` and `upper` for the next one, and `ahead` where there is
            more than one step.

        Raises:
            ValueError: a cell can't be read; the stream is then as if the row had not come.
        """
        reader = self._reader
        arrived = reader.read(row)
        lane = self._lane_of.get(arrived.key, -1)
        begun = lane >= 0 and bool(self.kept["begun"][lane])
        kind, missing = reader.admit(int(self.kept["time"][lane]) if begun else None, arrived.time)
        if kind in DROPPED:
            return self._answer(lane, arrived, None, [DROPPED[kind], *reader.surplus(row)])
        notes = reader.notes(arrived, kind, missing)
        if not begun and arrived.key not in self._known:
            notes.insert(0, "series never seen in training: pooled scale")
        if lane < 0:
            lane = self.add(arrived.key)
        if (silent := reader.silent(arrived)) and not self.kept["told"][lane]:
            notes.append(f"future of {', '.join(silent)} not given: held")
            self.kept["told"][lane] = True
        if kind == "restart":
            self.kept["fresh"][lane] = True
        for steps in range(missing if kind == "gap" else 0, 0, -1):
            future = reader.future_of_missing(arrived, steps)
            self._read(lane, math.nan, None, future)
        expected = None if kind == "restart" else median(self.kept["quantiles"][lane, 0])
        self._read(lane, arrived.y, arrived.covariates, arrived.future)
        self.kept["time"][lane], self.kept["begun"][lane] = arrived.time, True
        return self._answer(lane, arrived, expected, notes + reader.surplus(row))

    def _read(self, lane: int, y: float, covariates: Any, future: Any) -> None:
        given = self._rows((1,), self._series[lane : lane + 1], y, covariates, future)
        self.kept["quantiles"][lane] = self._step(given, [lane])["quantiles"][0]

    def _answer(
        self, lane: int, row: Row, expected: float | None, notes: Sequence[str]
    ) -> dict[str, Any]:
        named = [
            {"prediction": median(each), "lower": finite(each[0]), "upper": finite(each[-1])}
            for each in self.kept["quantiles"][lane]
        ]
        told = {"unique_id": row.key, "ds": row.ds, "y": finite(row.y), "expected": expected}
        answer: dict[str, Any] = {**told, **named[0]}
        if len(named) > 1:
            answer["ahead"] = [{"horizon": k, **each} for k, each in enumerate(named, start=1)]
        return answer | ({"note": "; ".join(notes)} if notes else {})

    def _rows(
        self, sizes: tuple[int, ...], series: list[int], y: Any, covariates: Any, future: Any
    ) -> dict[str, Array]:
        given = {"y": np.reshape(np.asarray(y, np.float64), sizes)}
        given["series"] = np.array(series, np.int64)
        known, count = len(self.about["known_future"]), len(self.about["covariates"])
        ahead = (known, self.about["horizon"])
        others = {"covariates": (covariates, (count,)), "future": (future, ahead)}
        for name, (numbers, shape) in others.items():
            if shape[0]:
                given[name] = np.full((*sizes, *shape), np.nan)
                if numbers is not None:
                    given[name][...] = np.reshape(numbers, given[name].shape)
        return given

    def _begin(self) -> dict[str, Any]:
        past, present, width = self.about["held"]
        self._present[past] = present
        made = np.full((self.about["horizon"], len(self.about["levels"])), np.nan)
        own = {past: np.zeros(width), "quantiles": made, "time": np.int64(0)}
        return {**super()._begin(), **own, "begun": False, "told": False}

    def _told(self) -> dict[str, Any]:
        return {"names": self.names, "noted": self._reader.noted}

    def _go_on(self, told: Mapping[str, Any], lanes: int) -> None:
        if len(told["names"]) != lanes:
            raise ValueError(f"expected the names of {lanes} streams, got {len(told['names'])}")
        self._name_all(told["names"])
        self._reader.noted = list(told["noted"])

    def _name_all(self, names: Sequence[str]) -> None:
        self.names: list[str] = []
        self._lane_of: dict[str, int] = {}
        self._series: list[int] = []
        for series in names:
            self._name(series)

    def _name(self, series: str) -> None:
        self._lane_of.setdefault(series, len(self.names))
        self.names.append(series)
        self._series.append(self._known.get(series, -1))


class TextStreams(Streams):
    """Streams of a language model.

    Args:
        folder: as in `Streams`.
        lanes: how many streams.
        threads: as in `Streams`.
    """

    task = "language"

    def __init__(
        self, folder: str | Path | None = None, *, lanes: int = 1, threads: int = 1
    ) -> None:
        super().__init__(folder, lanes=lanes, threads=threads)
        vocabulary = self.about["vocabulary"]
        self.symbols: list[str] = vocabulary["symbols"]
        self._numbers = {symbol: number for number, symbol in enumerate(self.symbols)}
        self.unknown = vocabulary["unknown"]
        self._bytes = vocabulary["mode"] == "bytes"

    def encode(self, text: str | bytes) -> Array:
        """Return the symbols (T,) of a text, as numbers."""
        if self._bytes:
            content = text.encode() if isinstance(text, str) else text
            return np.frombuffer(content, np.uint8).astype(np.int64)
        try:
            whole = text.decode() if isinstance(text, bytes) else text
        except UnicodeDecodeError as error:
            raise ValueError(f"expected text in UTF-8, came {error}") from None
        whole = whole.replace("\r\n", "\n").replace("\r", "\n")
        return np.array([self._numbers.get(each, self.unknown) for each in whole], np.int64)

    def step(self, symbols: Any) -> Array:
        """Read a symbol (B,) of every stream; return probabilities (B, V) of the next."""
        given = {"symbols": np.asarray(symbols, np.int64).reshape(self.lanes)}
        return self._step(given, range(self.lanes))["probabilities"]

    def run(self, symbols: Any, *, lengths: Any = None, resets: Any = None) -> Array:
        """Read many symbols (B, T) of every stream; return probabilities (B, T, V)."""
        given = {"symbols": np.asarray(symbols, np.int64)}
        steps = given["symbols"].shape[1]
        return self._run(given, steps, lengths, resets)["probabilities"]

    def read(self, text: str | bytes, lane: int = 0) -> tuple[int, float]:
        """Read text of one stream.

        Returns:
            How many of its symbols have a surprise, which is each but the first of a stream, and
            the mean surprise of those in nats, NaN where there is none.
        """
        return self._read(self.encode(text), lane)

    def answer(self, line: bytes) -> dict[str, Any]:
        """Read a line of the first stream, and answer it as `throughtime stream` does."""
        if self.about["independent"]:
            self.reset([0])
            line = line.removesuffix(b"\n")
        symbols = self.encode(line)
        count, nats = self._read(symbols, 0)
        answer = {"unique_id": ONE_SERIES, "symbols": count, "nats": finite(nats)}
        strange = 0 if self.unknown is None else int((symbols == self.unknown).sum())
        note = {"note": f"symbols unknown to the vocabulary: {strange:,}"} if strange else {}
        return answer | note

    def _read(self, symbols: Array, lane: int) -> tuple[int, float]:
        # The last symbol that was read is one that the model has yet to see.
        waiting = self.kept["waiting"][lane : lane + 1]
        symbols = np.concatenate([waiting[waiting >= 0], symbols])
        if len(symbols):
            waiting[:] = symbols[-1]
        if len(symbols) < 2:
            return 0, math.nan
        made = self._run({"symbols": symbols[None, :-1]}, len(symbols) - 1, lanes=[lane])
        logits = made["logits"][0].astype(np.float64)
        largest = logits.max(axis=1)
        total = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
        nats = total - logits[np.arange(len(logits)), symbols[1:]]
        return len(nats), float(nats.mean())

    def _begin(self) -> dict[str, Any]:
        return {**super()._begin(), "waiting": np.int64(-1)}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        sys.exit(1 + _refuse(f"expected a call as in `runner.py --help`, got {message}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer rows or lines of the standard input; return the exit code."""
    parser = _Parser(prog="runner.py", description="Answer each row of the standard input.")
    folder = Path(__file__).parent
    parser.add_argument("folder", nargs="?", default=folder, type=Path, help="where the graphs are")
    parser.add_argument("--key", help="the column that tells the streams apart")
    asked = parser.parse_args(arguments)
    answered, refused, code = 0, 0, 0
    try:
        if sys.stdin is None or sys.stdout is None:
            raise ValueError("expected a standard input and output, got one that is closed")
        for answer in _answers(asked.folder, asked.key, sys.stdin.buffer):
            answered, refused = answered + ("error" not in answer), refused + ("error" in answer)
            print(json.dumps(answer, allow_nan=False), flush=True)
    except BrokenPipeError:
        # Nobody reads the answers any more; nor must Python try to write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        return _refuse(
            "expected an input that can be read and an output that takes the answers, got "
            f"{error.strerror!r}; free space, or name other files"
        )
    except ValueError as error:
        return _refuse(" ".join(str(error).split()))
    also = f", {refused:,} could not be read" if refused else ""
    _say(f"{answered:,} {'row' if answered == 1 else 'rows'} answered{also}")
    if refused and not answered and not code:
        return _refuse(f"expected rows that can be read, got {refused} that can't, as said above")
    return code


def _answers(folder: Path, key: str | None, source: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield what is answered to each row or line."""
    is_text, number = task_of(folder) == "language", 0
    if is_text:
        if key is not None:
            raise ValueError(
                "expected --key with a forecasting model, got it with a language model"
            )
        lines: Iterator[Any] = read_lines(source)
        answer: Callable[[Any], dict[str, Any]] = TextStreams(folder).answer
    else:
        streams = ForecastStreams(folder, series=[], key=key)
        lines = read_rows(source, streams.required)
        answer = streams.push
    for number, line in enumerate(lines, start=1):
        try:
            if isinstance(line, ValueError):
                raise line
            yield answer(line)
        except ValueError as error:
            message = f"row {number}: {error}"
            _say(message)
            yield {"error": message, "row": number}
    if not number and is_text:
        raise ValueError("expected text in the input, came nothing")


def _refuse(message: str) -> int:
    _say(f"runner.py: error: {message}")
    return 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
