"""Graphs that lie in a folder, and what is remembered of each stream between their calls.

What rows and text mean is in `runner.py`, which belongs to this file.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

FORMAT = "throughtime.onnx/1"

Array = np.ndarray


class Streams:
    """Streams of one model, a lane each, with the state of each carried from call to call.

    Args:
        folder: where `step.onnx` and `sequence.onnx` are; that of this file when None.
        lanes: how many streams.
        threads: that a call may use.

    Attributes:
        about: what the files say of the model, by name.
        lanes: how many streams there are.
        kept: what is remembered of each stream, (B, ...) each: the states by the names of the
            graphs' inputs, and `fresh`, whether it is before its first step.
    """

    task = ""

    def __init__(
        self, folder: str | Path | None = None, *, lanes: int = 1, threads: int = 1
    ) -> None:
        where = Path(__file__).parent if folder is None else Path(folder)
        self._sessions = {
            name: open_graph(where / f"{name}.onnx", threads) for name in ("step", "sequence")
        }
        self._outputs = [each.name for each in self._sessions["step"].get_outputs()]
        self.about = describe(self._sessions["step"])
        if self.about["task"] != self.task:
            raise ValueError(
                f"expected a {self.task} model in {where}, got a {self.about['task']} model; "
                f"{'TextStreams' if self.task == 'forecast' else 'ForecastStreams'} is for it"
            )
        if describe(self._sessions["sequence"])["fingerprint"] != self.about["fingerprint"]:
            raise ValueError(
                f"expected graphs of one run in {where}, got those of two; export again"
            )
        self._present = {each["past"]: each["present"] for each in self.about["states"]}
        self._blank = {name: np.asarray(each) for name, each in self._begin().items()}
        self.lanes = lanes
        self.kept = self._blanks(lanes)

    def reset(self, lanes: Sequence[int] | None = None) -> None:
        """Let some streams, or all, start afresh."""
        for name, numbers in self.kept.items():
            numbers[slice(None) if lanes is None else list(lanes)] = self._blank[name]

    def save(self, path: str | Path) -> None:
        """Keep the streams in a file of plain numbers, whole or not at all.

        It belongs to this model alone. Where writing fails, an older file is left as it was.
        """
        told = json.dumps({"fingerprint": self.about["fingerprint"], **self._told()}).encode()
        kept = {name: numbers[: self.lanes] for name, numbers in self.kept.items()}
        kept["about"] = np.frombuffer(told, np.uint8)
        partial = Path(f"{path}.{os.getpid()}.partial")
        try:
            with open(partial, "wb") as file:
                np.savez(file, **kept)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def load(self, path: str | Path) -> None:
        """Go on with the streams that `save` kept, and with no others; nothing is executed."""
        try:
            with np.load(path, allow_pickle=False) as found:
                kept = {name: found[name] for name in found.files}
            told = json.loads(kept.pop("about").tobytes())
            owner, lanes = told["fingerprint"], len(kept["fresh"])
        except Exception as error:
            raise ValueError(
                f"expected streams that were saved in {path}, got {error}; give what `save` wrote"
            ) from None
        if owner != self.about["fingerprint"]:
            raise ValueError(
                f"expected streams of this model in {path}, got those of another; load them with "
                "the runner of that one"
            )
        shapes = {name: (each.dtype, each.shape) for name, each in self._blanks(lanes).items()}
        if shapes != {name: (each.dtype, each.shape) for name, each in kept.items()}:
            raise ValueError(f"expected {lanes} whole streams in {path}, got parts of some")
        self._go_on(told, lanes)
        self.kept, self.lanes = kept, lanes

    def _begin(self) -> dict[str, Any]:
        """Return what is remembered of a stream before its first step."""
        # A graph makes the state before the first step of any other, where it is told to reset.
        states = self.about["states"]
        return {"fresh": True} | {e["past"]: np.zeros(e["shape"], e["dtype"]) for e in states}

    def _told(self) -> dict[str, Any]:
        """Return what else is kept, as JSON values."""
        return {}

    def _go_on(self, told: Mapping[str, Any], lanes: int) -> None:
        """Take what `_told` gave."""

    def _blanks(self, lanes: int) -> dict[str, Array]:
        return {name: np.repeat(each[None], lanes, axis=0) for name, each in self._blank.items()}

    def _more(self) -> int:
        """Make one more stream and return its lane; there is room made for many at once."""
        if self.lanes == len(self.kept["fresh"]):
            more = self._blanks(max(1, self.lanes))
            self.kept = {k: np.concatenate([old, more[k]]) for k, old in self.kept.items()}
        self.lanes += 1
        return self.lanes - 1

    def _step(self, given: Mapping[str, Array], lanes: Sequence[int]) -> dict[str, Array]:
        index = np.asarray(lanes)
        return self._made("step", {**given, "reset": self.kept["fresh"][index]}, index)

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
        fresh = self.kept["fresh"][index]
        starts[:, 0] |= fresh
        fed = {**given, "lengths": counts.astype(np.int64), "resets": starts}
        found = self._made("sequence", fed, index)
        self.kept["fresh"][index] = fresh & (counts == 0)
        return found

    def _made(self, graph: str, fed: Mapping[str, Array], index: Array) -> dict[str, Array]:
        """Run a graph on the states of some lanes, and keep those that come out."""
        past = {name: self.kept[name][index] for name in self._present}
        made = self._sessions[graph].run(self._outputs, {**fed, **past})
        found = dict(zip(self._outputs, made, strict=True))
        for name, present in self._present.items():
            self.kept[name][index] = found[present]
        self.kept["fresh"][index] = False
        return found


def open_graph(path: Path, threads: int = 1) -> Any:
    """Open the file of a graph that `throughtime export` wrote."""
    if not path.is_file():
        raise ValueError(
            f"expected {path.name} in {path.parent}, got no such file; give the folder that "
            "`throughtime export --to onnx` wrote"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        found = session.get_modelmeta().custom_metadata_map.get("format", "another graph")
    except Exception as error:
        found = " ".join(str(error).split())
    if found != FORMAT:
        raise ValueError(f"expected {FORMAT} in {path}, got {found[:300]}; export the run again")
    return session


def describe(session: Any) -> dict[str, Any]:
    """Return what a graph's file says of the model, by name."""
    plain = ("format", "throughtime", "task", "layer", "fingerprint", "parity_sha256")
    found = session.get_modelmeta().custom_metadata_map
    return {name: text if name in plain else json.loads(text) for name, text in found.items()}


def task_of(folder: Path) -> str:
    """Return the task of the model whose graphs lie in a folder."""
    task: str = describe(open_graph(folder / "step.onnx"))["task"]
    return task


def finite(value: Any) -> float | None:
    """Return a number that JSON has a word for, None otherwise."""
    return float(value) if math.isfinite(value) else None


def median(quantiles: Array) -> float | None:
    """Return the median of quantiles (Q,), or None where it is not finite."""
    count = len(quantiles)
    return finite((quantiles[(count - 1) // 2] + quantiles[count // 2]) / 2)
