"""How long a step of an exported model takes, beside ONNX Runtime and torch in the same process.

    python benchmarks/c_export.py            # prints the figures
    python benchmarks/c_export.py --check    # exits with 1 when a bar is missed

F = H for both models, one stream, one thread. Of each way of running the least time of many
repetitions counts: whatever else the machine does can only make it longer.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import throughtime as tt
from throughtime.bench import onnx_peer
from throughtime.bench.measure import Unavailable
from throughtime.export import to_c
from throughtime.export.c.compiler import FAST, STRICT, compile_c

CASES = {"lstm": (16, 0.15), "gru": (64, 2.5)}
"""Units, and microseconds that a step may take with the flags for speed."""

PORTABLE, PORTABLE_SHARE = ("-O2",), 5.0
REPETITIONS = 200

LOOP = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>

#include "model.h"

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return 1e6 * (double)at.tv_sec + 1e-3 * (double)at.tv_nsec;
}

int main(void)
{
    static float features[64][MODEL_FEATURES], outputs[MODEL_OUTPUTS];
    static model_state state;
    static model_forecast forecast;
    static model_row row;
    double network = 1e9, rows = 1e9;
    model_init(&state, MODEL_POOLED);
    for (int i = 0; i < 64 * MODEL_FEATURES; i++) {
        features[i / MODEL_FEATURES][i %% MODEL_FEATURES] = (float)((i * 7919) %% 1001) / 500 - 1;
    }
    for (int repetition = 0; repetition < %(repetitions)d; repetition++) {
        double begun = now();
        for (int t = 0; t < 2000; t++) {
            model_step_scaled(&state, features[t %% 64], outputs);
        }
        const double taken = (now() - begun) / 2000;
        network = taken < network ? taken : network;
        begun = now();
        for (int t = 0; t < 2000; t++) {
            row.y = t %% 7;
            model_step(&state, &row, &forecast);
        }
        const double taken_by_rows = (now() - begun) / 2000;
        rows = taken_by_rows < rows ? taken_by_rows : rows;
    }
    printf("%%g %%g %%g\\n", network, rows, outputs[0] + forecast.quantiles[0][0]);
    return 0;
}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    parser.add_argument("--compiler", default="gcc", help="the C compiler")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    missed = []
    for name, (units, bar) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            fast, portable = _exported(name, units, Path(folder), asked.compiler)
        print(f"{name}:{units}, F = {units}, microseconds a step")
        print(f"  C, network and head   {fast[0]:8.3f}   bar {bar}; -O2 {portable[0]:.3f}")
        print(f"  C, row to quantiles   {fast[1]:8.3f}   -O2 {portable[1]:.3f}")
        for peer, taken in _peers(name, units).items():
            print(f"  {peer:<20}  {taken:8.3f}   {taken / fast[0]:.0f}x")
        if fast[0] > bar:
            missed.append(f"{name}:{units} takes {fast[0]:.3f}, asked {bar}")
        if portable[0] > PORTABLE_SHARE * fast[0]:
            missed.append(f"{name}:{units} with -O2 takes {portable[0] / fast[0]:.1f}x, asked 5x")
    for line in missed:
        print("missed:", line)
    return 1 if asked.check and missed else 0


def _exported(
    name: str, units: int, folder: Path, compiler: str
) -> tuple[Sequence[float], Sequence[float]]:
    """Return microseconds of the network and of a row, with the flags for speed and with -O2."""
    numbers = np.random.default_rng(0).standard_normal((200, units - 1))
    # The target and the flag that it was there are two features; the others are covariates.
    names = ["y", *(f"x{place}" for place in range(units - 2))]
    frame = pl.DataFrame(numbers, schema=names).with_columns(ds=pl.arange(200, eager=True))
    run = tt.fit(frame, layer=f"{name}:{units}", budget="1steps", out=folder / "run", show=False)
    made = to_c(run, folder / "c")
    loop = folder / "loop.c"
    loop.write_text(LOOP % {"repetitions": REPETITIONS})
    found = []
    for flags in (FAST, PORTABLE):
        program = folder / "loop"
        files = [loop, made.path / "model.c"]
        compile_c(files, program, [*STRICT, f"-I{made.path}", *flags], (compiler,))
        printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        found.append([float(word) for word in printed.split()[:2]])
    return found[0], found[1]


def _peers(name: str, units: int) -> dict[str, float]:
    """Return microseconds of a step of the bare layer in torch and in ONNX Runtime."""
    module = (torch.nn.LSTM if name == "lstm" else torch.nn.GRU)(units, units, batch_first=True)
    cell = (torch.nn.LSTMCell if name == "lstm" else torch.nn.GRUCell)(units, units)
    x = torch.randn(1, units)
    zeros = torch.zeros(1, units)
    held: dict[str, Any] = {"cell": (zeros, zeros) if name == "lstm" else zeros, "module": None}

    def step_of_cell() -> None:
        held["cell"] = cell(x, held["cell"])

    def step_of_module() -> None:
        _, held["module"] = module(x[None], held["module"])

    found = {}
    with torch.inference_mode():
        found["torch cell"] = _least(step_of_cell)
        found["torch module, T = 1"] = _least(step_of_module)
    try:
        found["ONNX Runtime, bound"] = _least(_bound(name, module))
    except Unavailable as why:
        print(f"  ONNX Runtime was not measured: {why}")
    return found


def _bound(name: str, module: torch.nn.RNNBase) -> Callable[[], None]:
    """Return a step in ONNX Runtime whose states go to and fro between bound buffers."""
    model = onnx_peer.model(name, module)
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    states = ["h", "c"] if name == "lstm" else ["h"]

    def buffer() -> Any:
        zeros = np.zeros((1, 1, module.hidden_size), np.float32)
        return runtime.OrtValue.ortvalue_from_numpy(zeros)

    x = buffer()
    buffers = [{state: buffer() for state in states} for _ in range(2)]
    bindings = []
    for before, after in (buffers, buffers[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x)
        for state in states:
            binding.bind_ortvalue_input(state, before[state])
            binding.bind_ortvalue_output(f"{state}_next", after[state])
        bindings.append(binding)

    def step() -> None:
        session.run_with_iobinding(bindings[0])
        bindings.reverse()

    return step


def _least(step: Callable[[], None], steps: int = 200) -> float:
    """Return the least microseconds of a step, over many repetitions of some steps."""
    least = float("inf")
    for _ in range(REPETITIONS):
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        least = min(least, (time.perf_counter() - begun) / steps)
    return 1e6 * least


if __name__ == "__main__":
    sys.exit(main())
