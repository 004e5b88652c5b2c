"""What whole numbers cost and save: taxi rides and tiny shakespeare in float32 and in int8, as C.

    python benchmarks/int8.py            # prints the figures and writes benchmarks/results/
    python benchmarks/int8.py --check    # exits with 1 when a bar is missed
    python benchmarks/int8.py --runs DIR # keeps the runs there, and takes those that are there

Reads `../shared/data` beside the checkout. The taxi model is the default one; of tiny shakespeare
a `gru:128` is trained for its figures, and the default layer for a few steps for its size.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import throughtime as tt
from throughtime.export import to_c
from throughtime.export.c.compiler import FAST, STRICT, compile_c
from throughtime.run import Run, load

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

SHARE, WORSE, CODE = 0.3, 0.01, 6 * 1024
"""The bars: of flash in float32; of a figure; bytes of flash beside the weights."""

CASES: dict[str, dict[str, Any]] = {
    "taxi": {"data": "nab/nyc_taxi.csv", "task": "forecast", "budget": "60s"},
    "shakespeare": {
        "data": "tinyshakespeare.txt",
        "task": "language",
        "layer": "gru:128",
        "budget": "150s",
    },
    "shakespeare, default layer": {
        "data": "tinyshakespeare.txt",
        "task": "language",
        "budget": "3steps",
    },
}

LOOP = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>

#include "model.h"

int main(void)
{
    static model_state state;
    double least = 1e9;
%(begin)s
    for (int repetition = 0; repetition < 100; repetition++) {
        struct timespec begun, done;
        clock_gettime(CLOCK_MONOTONIC, &begun);
        for (int t = 0; t < 200; t++) {
%(step)s
        }
        clock_gettime(CLOCK_MONOTONIC, &done);
        const double taken = 1e6 * (double)(done.tv_sec - begun.tv_sec)
                             + 1e-3 * (double)(done.tv_nsec - begun.tv_nsec);
        least = taken / 200 < least ? taken / 200 : least;
    }
    printf("%%g\\n", least);
    return 0;
}
"""

STEPS = {
    "forecast": {
        "begin": "    static float features[MODEL_FEATURES], outputs[MODEL_OUTPUTS];\n"
        "    model_init(&state, MODEL_POOLED);",
        "step": "            features[0] = (float)(t % 7) / 4 - 1;\n"
        "            model_step_scaled(&state, features, outputs);",
    },
    "language": {
        "begin": "    static float logits[MODEL_SYMBOLS];\n    model_init(&state);",
        "step": "            model_step(&state, t % MODEL_SYMBOLS, logits);",
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
    parser.add_argument("--runs", type=Path, help="a folder that keeps the runs")
    asked = parser.parse_args()
    if not DATA.exists():
        print("expected ../shared/data beside the checkout, got none; nothing was measured")
        return 1
    torch.set_num_threads(1)
    results, missed = {}, []
    with tempfile.TemporaryDirectory() as name:
        for case, options in CASES.items():
            run = _run(asked.runs or Path(name), case, dict(options))
            found = results[case] = _measured(run, Path(name) / "c")
            missed += _shown(case, found, judged="steps" not in options["budget"])
    out = ROOT / "benchmarks" / "results" / "int8.json"
    out.write_text(json.dumps(results, indent=2) + "\n")
    for line in missed:
        print("missed:", line)
    return 1 if asked.check and missed else 0


def _run(folder: Path, case: str, options: dict[str, Any]) -> Run:
    out = folder / case.replace(", ", "_").replace(" ", "_")
    if not out.exists():
        data = DATA / options.pop("data")
        tt.fit(data, out=out, show=False, **options)
    return load(out)


def _measured(run: Run, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"layer": run.config.model.layer}
    for numbers in ("float32", "int8"):
        made = to_c(run, folder / numbers, numbers=numbers)
        found[numbers] = {**made.to_json(), "microseconds": _step(run, made.path)}
        found[numbers].pop("path")  # It says nothing elsewhere.
    return found


def _step(run: Run, folder: Path) -> float:
    """Return the least microseconds of a step of the network, with the flags for speed."""
    loop, program = folder / "loop.c", folder / "loop"
    loop.write_text(LOOP % STEPS[run.task.name])
    compile_c([loop, folder / "model.c"], program, [*STRICT, *FAST])
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _shown(case: str, found: dict[str, Any], *, judged: bool) -> list[str]:
    """Print what was found, and return which bars are missed."""
    missed = []
    print(f"{case}: {found['layer']}")
    machines = [found[numbers]["size"]["machines"] for numbers in ("float32", "int8")]
    for before, after in zip(*machines, strict=True):
        share = after["flash"] / before["flash"]
        code = after["flash"] - found["int8"]["size"]["weights"]
        print(
            f"  {after['target']}: flash {before['flash']:,} -> {after['flash']:,} ({share:.3f}x, "
            f"code {code:,}), state {before['state']} -> {after['state']}, "
            f"stack {before['stack']} -> {after['stack']}"
        )
        if share > SHARE:
            missed.append(f"{case} on {after['target']}: {share:.3f}x of the flash, asked {SHARE}")
        if code > CODE:
            missed.append(f"{case} on {after['target']}: {code} bytes of code, asked {CODE}")
    times = [found[numbers]["microseconds"] for numbers in ("float32", "int8")]
    print(f"  a step: {times[0]:.2f} -> {times[1]:.2f} microseconds")
    if judged:
        for each in found["int8"]["figures"]:
            print(
                f"  {each['part']} {each['name']}: {each['run']:.6g} -> {each['export']:.6g} "
                f"({each['worse']:+.2%})"
            )
            if each["worse"] > WORSE:
                missed.append(f"{case}: {each['part']} {each['name']} {each['worse']:+.2%}")
        for each in found["int8"]["drift"]:
            print(
                f"  outputs by step {each['step']:,}: {each['largest']:.1e} apart at most, "
                f"{each['typical']:.1e} typically"
            )
    return missed


if __name__ == "__main__":
    sys.exit(main())
