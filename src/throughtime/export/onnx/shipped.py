"""Runs the graphs that lie beside this file, with numpy and onnxruntime alone.

    streams = ForecastStreams(FOLDER, series=["a", "b"])     # two streams, side by side
    streams.step([1.5, float("nan")])                        # quantiles (2, h, Q) of what follows
    streams.push({"y": 1.7, "load": 3}, lane=0)              # one row of one of them

    streams = TextStreams(FOLDER, lanes=1)
    streams.read("some text")                                # how surprising it is, in nats

Rows and quantiles are in the data's own units. As a program it reads rows as CSV or JSON lines, or
lines of text, from its standard input, and prints a JSON line for each:

    python runner.py < rows.csv
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

FORMAT = "throughtime.onnx/1"

ONE_SERIES = "series"
"""The name of the series of data that has only one."""

Array = np.ndarray


class Streams:
    """Streams of one model, a lane each, with the state of each carried from call to call.

    Args:
        folder: where `step.onnx` and `sequence.onnx` are; that of this file when None.
        lanes: how many streams.
        threads: that a call may use.

    Attributes:
        about: what the files say of the model, by name.
        state: by the names of the graphs' inputs, (B, ...) each.
        fresh: (B,) bool, which streams are before their first step.
    """

    task = ""

    def __init__(
        self, folder: str | Path | None = None, *, lanes: int = 1, threads: int = 1
    ) -> None:
        where = Path(__file__).parent if folder is None else Path(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        self._sessions = {
            name: onnxruntime.InferenceSession(
                str(where / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]
            )
            for name in ("step", "sequence")
        }
        self._outputs = [each.name for each in self._sessions["step"].get_outputs()]
        self.about = describe(self._sessions["step"])
        if (self.about["format"], self.about["task"]) != (FORMAT, self.task):
            raise ValueError(
                f"expected {FORMAT} of a {self.task} model in {where}, got "
                f"{self.about['format']} of a {self.about['task']} model"
            )
        self.lanes = lanes
        self._present = {each["past"]: each["present"] for each in self.about["states"]}
        self.state: dict[str, Array] = {
            each["past"]: np.zeros((lanes, *each["shape"]), each["dtype"])
            for each in self.about["states"]
        }
        # A graph makes the state before the first step of any other, where it is told to reset.
        self.fresh = np.ones(lanes, bool)

    def reset(self, lanes: Sequence[int] | None = None) -> None:
        """Let some streams, or all, start afresh."""
        self.fresh[slice(None) if lanes is None else list(lanes)] = True

    def save(self, path: str | Path) -> None:
        """Keep the streams in a file of plain numbers; it belongs to this model alone."""
        with open(path, "wb") as file:
            fingerprint = np.frombuffer(bytes.fromhex(self.about["fingerprint"]), np.uint8)
            np.savez(file, **{"fingerprint": fingerprint, **self._kept()})  # type: ignore[arg-type]

    def load(self, path: str | Path) -> None:
        """Go on with the streams that `save` kept; nothing in the file is executed."""
        with np.load(path, allow_pickle=False) as found:
            if found["fingerprint"].tobytes().hex() != self.about["fingerprint"]:
                raise ValueError(f"expected streams of this model in {path}, got those of another")
            kept = self._kept()
            for name, numbers in kept.items():
                if found[name].shape != numbers.shape or found[name].dtype != numbers.dtype:
                    raise ValueError(
                        f"expected {name} {numbers.shape} in {path}, got {found[name].shape}; "
                        "make as many streams as were saved"
                    )
            for name, numbers in kept.items():
                numbers[...] = found[name]

    def _kept(self) -> dict[str, Array]:
        """Return everything that the streams remember."""
        return {**self.state, "fresh": self.fresh}

    def _step(self, given: Mapping[str, Array], lanes: Sequence[int]) -> dict[str, Array]:
        index = np.asarray(lanes)
        past = {name: numbers[index] for name, numbers in self.state.items()}
        fed = {**given, "reset": self.fresh[index], **past}
        made = self._sessions["step"].run(self._outputs, fed)
        found = dict(zip(self._outputs, made, strict=True))
        for name, present in self._present.items():
            self.state[name][index] = found[present]
        self.fresh[index] = False
        return found

    def _run(
        self,
        given: Mapping[str, Array],
        steps: int,
        lengths: Any = None,
        resets: Any = None,
        lanes: Sequence[int] | None = None,
    ) -> dict[str, Array]:
        index = np.arange(self.lanes) if lanes is None else np.asarray(lanes)
        counts = np.full(len(index), steps) if lengths is None else np.asarray(lengths)
        starts = np.zeros((len(index), steps), bool)
        if resets is not None:
            starts |= np.asarray(resets, bool)
        starts[:, 0] |= self.fresh[index]
        past = {name: numbers[index] for name, numbers in self.state.items()}
        fed = {**given, "lengths": counts.astype(np.int64), "resets": starts, **past}
        made = self._sessions["sequence"].run(self._outputs, fed)
        found = dict(zip(self._outputs, made, strict=True))
        for name, present in self._present.items():
            self.state[name][index] = found[present]
        self.fresh[index] &= counts == 0
        return found


class ForecastStreams(Streams):
    """Streams of a forecasting model.

    A row has the target `y`, the covariates in the order of `about["covariates"]` and, of those
    whose future is known, their values 1 to h steps later. NaN stands for a number that is missing,
    and a row of NaN for a step that is.

    Args:
        folder: as in `Streams`.
        series: the name of each stream's series, which sets its scale; any other name has the scale
            of all of them together. As many streams as there are names.
        threads: as in `Streams`.
    """

    task = "forecast"

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        series: Sequence[str] = (ONE_SERIES,),
        threads: int = 1,
    ) -> None:
        super().__init__(folder, lanes=len(series), threads=threads)
        known = {name: place for place, name in enumerate(self.about["series"])}
        self._series = np.array([known.get(name, -1) for name in series], np.int64)
        past, present, width = self.about["held"]
        self._present[past] = present
        self.state[past] = np.zeros((self.lanes, width))

    def add(self, series: str) -> int:
        """Have one more stream, of a series, and return its lane."""
        names = self.about["series"]
        number = names.index(series) if series in names else -1
        self._series = np.append(self._series, np.int64(number))
        for name, numbers in self.state.items():
            self.state[name] = np.concatenate(
                [numbers, np.zeros((1, *numbers.shape[1:]), numbers.dtype)]
            )
        self.fresh = np.append(self.fresh, True)
        self.lanes += 1
        return self.lanes - 1

    def step(self, y: Any, covariates: Any = None, future: Any = None) -> Array:
        """Read the next row of every stream.

        Args:
            y: (B,).
            covariates: (B, C); missing when None.
            future: (B, K, h); not known when None.

        Returns:
            Quantiles (B, h, Q) of the h values that follow, by the levels of `about["levels"]`.
        """
        given = self._rows((self.lanes,), y, covariates, future)
        return self._step({**given, "series": self._series}, range(self.lanes))["quantiles"]

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
        given = self._rows((self.lanes, steps), y, covariates, future)
        return self._run({**given, "series": self._series}, steps, lengths, resets)["quantiles"]

    def push(self, row: Mapping[str, Any], lane: int = 0) -> Array:
        """Read a row of one stream, as a dictionary by the names of the columns.

        A known future comes as `NAME@+1` to `NAME@+h`. What is absent, empty or None is missing.

        Returns:
            Quantiles (h, Q).
        """
        about = self.about
        ahead = range(1, about["horizon"] + 1)
        names = [[f"{name}@+{k}" for k in ahead] for name in about["known_future"]]
        future = [[[_number(row.get(name)) for name in each] for each in names]]
        covariates = [[_number(row.get(name)) for name in about["covariates"]]]
        given = self._rows((1,), [_number(row.get(about["target"]))], covariates, future)
        given["series"] = self._series[lane : lane + 1]
        quantiles: Array = self._step(given, [lane])["quantiles"][0]
        return quantiles

    def _rows(
        self, sizes: tuple[int, ...], y: Any, covariates: Any, future: Any
    ) -> dict[str, Array]:
        about = self.about
        given = {"y": np.asarray(y, np.float64).reshape(sizes)}
        shapes = {
            "covariates": (len(about["covariates"]),),
            "future": (len(about["known_future"]), about["horizon"]),
        }
        for (name, shape), numbers in zip(shapes.items(), (covariates, future), strict=True):
            if shape[0]:
                wanted = (*sizes, *shape)
                missing = np.full(wanted, np.nan)
                given[name] = (
                    missing if numbers is None else np.asarray(numbers, np.float64).reshape(wanted)
                )
        return given


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
        self._unknown = vocabulary["unknown"]
        self._bytes = vocabulary["mode"] == "bytes"
        # The last symbol that was read, which the model has yet to see.
        self._waiting = np.full(lanes, -1, np.int64)

    def reset(self, lanes: Sequence[int] | None = None) -> None:
        """Let some streams, or all, start afresh."""
        super().reset(lanes)
        self._waiting[slice(None) if lanes is None else list(lanes)] = -1

    def encode(self, text: str | bytes) -> Array:
        """Return the symbols (T,) of a text, as numbers."""
        if self._bytes:
            content = text.encode() if isinstance(text, str) else text
            return np.frombuffer(content, np.uint8).astype(np.int64)
        whole = text.decode() if isinstance(text, bytes) else text
        whole = whole.replace("\r\n", "\n").replace("\r", "\n")
        return np.array([self._numbers.get(each, self._unknown) for each in whole], np.int64)

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
        symbols = self.encode(text)
        if self._waiting[lane] >= 0:
            symbols = np.concatenate([self._waiting[lane : lane + 1], symbols])
        if not len(symbols):
            return 0, float("nan")
        self._waiting[lane] = symbols[-1]
        if len(symbols) == 1:
            return 0, float("nan")
        made = self._run({"symbols": symbols[None, :-1]}, len(symbols) - 1, lanes=[lane])
        logits = made["logits"][0].astype(np.float64)
        largest = logits.max(axis=1)
        total = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
        nats = total - logits[np.arange(len(logits)), symbols[1:]]
        return len(nats), float(nats.mean())

    def _kept(self) -> dict[str, Array]:
        return {**super()._kept(), "waiting": self._waiting}


def describe(session: Any) -> dict[str, Any]:
    """Return what a graph's file says of the model, by name."""
    plain = ("format", "throughtime", "task", "layer", "fingerprint", "parity_sha256")
    found = session.get_modelmeta().custom_metadata_map
    return {name: text if name in plain else json.loads(text) for name, text in found.items()}


def _number(cell: Any) -> float:
    return float("nan") if cell is None or cell == "" else float(cell)


def _rows_of(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield rows of JSON lines or, where the first line is none, of CSV with a header."""
    lines = (line for line in lines if line.strip())
    first = next(lines, "")
    whole = chain([first], lines)
    yield from map(json.loads, whole) if first.lstrip().startswith("{") else csv.DictReader(whole)


def main() -> None:
    """Read rows or lines from the standard input and print an answer for each."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    session = onnxruntime.InferenceSession(
        str(folder / "step.onnx"), providers=["CPUExecutionProvider"]
    )
    if describe(session)["task"] == "language":
        text = TextStreams(folder)
        for line in sys.stdin.buffer:
            if text.about["independent"]:
                text.reset()
                line = line.removesuffix(b"\n")
            count, nats = text.read(line)
            print(json.dumps({"symbols": count, "nats": nats if count else None}), flush=True)
        return
    streams, lanes = ForecastStreams(folder, series=[]), dict[str, int]()
    key, time = streams.about["key"], streams.about["time"]
    for row in _rows_of(sys.stdin):
        name = ONE_SERIES if key is None else str(row[key])
        if name not in lanes:
            lanes[name] = streams.add(name)
        quantiles = streams.push(row, lanes[name])
        answer = {
            "unique_id": name,
            "ds": row.get(time),
            "prediction": float(np.median(quantiles[0])),
            "lower": float(quantiles[0, 0]),
            "upper": float(quantiles[0, -1]),
            "quantiles": quantiles.tolist(),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
