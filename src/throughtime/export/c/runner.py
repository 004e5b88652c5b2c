"""An export in C, compiled and running in a process of its own, as the gate wants it."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from throughtime.errors import ThroughtimeError
from throughtime.export.c.compiler import compile_c
from throughtime.export.c.pieces import filled
from throughtime.export.c.program import Leaf, Program
from throughtime.run import Run
from throughtime.tasks.forecast import ForecastTask


class CRunner:
    """Runs the `model.c` of a folder; close it when done.

    Args:
        run: the run that it was made of.
        program: its network.
        folder: where `model.h` and `model.c` are; the program is put there too.
        flags: of the compiler.
        compiler: its command; one that is found when empty.
    """

    def __init__(
        self,
        run: Run,
        program: Program,
        folder: Path,
        flags: Sequence[str],
        compiler: Sequence[str] = (),
    ) -> None:
        self._task = run.task
        self._places, self._bytes = _places(run, program)
        self._outputs = run.model.config.outputs
        self._lanes = 0
        forecast = isinstance(run.task, ForecastTask)
        words = {
            "FORECAST": int(forecast),
            "LANGUAGE": int(not forecast),
            "STATE_BYTES": self._bytes,
        }
        harness = folder / "harness.c"
        harness.write_text(filled("harness.c", words))
        program_file = folder / "harness"
        compile_c([harness, folder / "model.c"], program_file, ["-std=c99", *flags], compiler)
        self._process = subprocess.Popen(
            [program_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> "CRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def begin(self, lanes: int) -> None:
        """Have so many lanes, all before their first step."""
        self._lanes = lanes
        self._send(b"l", np.int32(lanes))

    def run(self, inputs: Tensor, present: Tensor, resets: Tensor) -> Tensor:
        """Run steps, as `Runner.run` says."""
        kind = np.float32 if inputs.is_floating_point() else np.int32
        what = present.numpy().astype(np.uint8) | resets.numpy().astype(np.uint8) << 1
        steps = inputs.shape[1]
        self._send(b"r", np.int32(steps), what, inputs.numpy().astype(kind))
        return self._receive(np.float32, self._lanes, steps, self._outputs)

    def state(self) -> dict[str, Tensor]:
        """Return the leaves of the lanes' states by name, as Python has them."""
        self._send(b"s")
        whole = self._receive(np.uint8, self._lanes, self._bytes).numpy()
        found = {}
        for name, (shape, leaf, begin, end) in self._places.items():
            numbers = whole[:, begin:end].copy(order="C").view(leaf.start.dtype)
            found[name] = _as_python(torch.from_numpy(numbers), leaf).reshape(-1, *shape)
        return found

    def answer(self, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the quantiles of raw rows, or the symbols of raw text."""
        if not isinstance(self._task, ForecastTask):
            codes = sample["text"].numpy().astype(np.uint32)
            self._send(b"e", np.int32(len(codes)), codes)
            return {"symbols": self._receive(np.int32, len(codes)).long()}
        restarts = sample["restarts"].numpy().astype(np.int32)
        rows = sample_rows(self._task, sample)
        unique_id = "".join(map(chr, sample["unique_id"].tolist()))
        each = [part for pair in zip(restarts, rows, strict=True) for part in pair]
        self._send(b"f", *_named(unique_id), np.int32(len(rows)), *each)
        return {"quantiles": self._forecasts(len(rows))}

    def push(
        self, unique_id: str, times: Sequence[int], rows: np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give rows (T, ...) of one series with their times to `model_push`.

        Returns:
            What became of each row (T,), the median that was expected (T,), and the quantiles
            (T, h, Q) that are forecast after it.
        """
        each = [part for t, row in zip(times, rows, strict=True) for part in (np.int64(t), row)]
        self._send(b"p", *_named(unique_id), np.int32(len(rows)), *each)
        arrivals = self._receive(np.float64, len(rows), 2)
        return arrivals[:, 0].long(), arrivals[:, 1], self._forecasts(len(rows))

    def _forecasts(self, count: int) -> Tensor:
        assert isinstance(self._task, ForecastTask)
        options = self._task.options
        return self._receive(np.float64, count, options.horizon, len(options.levels))

    def _send(self, *parts: bytes | np.ndarray | np.generic) -> None:
        assert self._process.stdin is not None
        try:
            for part in parts:
                self._process.stdin.write(part if isinstance(part, bytes) else part.tobytes())
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def _receive(self, kind: type, *shape: int) -> Tensor:
        assert self._process.stdout is not None
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        content = self._process.stdout.read(size)
        if len(content) != size:
            raise self._ended()
        return torch.from_numpy(np.frombuffer(bytearray(content), kind).reshape(shape))

    def _ended(self) -> ThroughtimeError:
        code = self._process.wait()
        return ThroughtimeError(f"expected the exported C to run, got exit code {code}")


def sample_rows(task: ForecastTask, sample: Mapping[str, Tensor]) -> np.ndarray:
    """Return the rows (T, 1 + C + K h) of a task's sample as `model_row` has them.

    What a row knows of the future is what later rows of the sample say.
    """
    y, covariates = sample["y"].numpy(), sample["covariates"].numpy()
    columns = [y[:, None], covariates]
    for index in task.features.known:
        later = np.full((len(y), task.options.horizon), np.nan)
        for k in range(min(task.options.horizon, len(y) - 1)):
            later[: len(y) - k - 1, k] = covariates[k + 1 :, index]
        columns.append(later)
    return np.ascontiguousarray(np.concatenate(columns, axis=1), dtype=np.float64)


_Place = tuple[tuple[int, ...], Leaf, int, int]
"""The shape of a leaf in Python, the leaf, and its first byte in the struct and the one behind."""


def _places(run: Run, program: Program) -> tuple[dict[str, _Place], int]:
    """Return where each leaf lies, by its name, and the bytes of all together."""
    if program.numbers == "float32":
        leaves = zip(run.config.state, program.leaves, strict=True)
        named = {id(leaf): (name, shape) for (name, shape, _), leaf in leaves if leaf}
    else:
        named = {id(leaf): (leaf.names[0], (leaf.size,)) for leaf in program.leaves if leaf}
    found: dict[str, _Place] = {}
    place = 0
    for leaf in program.fields():
        name, shape = named[id(leaf)]
        end = place + leaf.room * len(leaf.names) * leaf.start.itemsize
        found[name] = (shape, leaf, place, end)
        place = end
    return found, place


def _as_python(whole: Tensor, leaf: Leaf) -> Tensor:
    """Return (B, N) of the C arrays of a leaf; complex numbers as pairs."""
    planes = whole.reshape(len(whole), len(leaf.names), leaf.room)[:, :, : leaf.size]
    return planes.transpose(1, 2).flatten(1)


def _named(unique_id: str) -> tuple[np.generic, bytes]:
    name = unique_id.encode("utf-8", "surrogatepass")
    return np.int32(len(name)), name
