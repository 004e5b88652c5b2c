"""Break the native kernels in many small ways, and see a test fail for each.

    python scripts/mutations.py [NAME ...] [--list] [--jobs N]

A mutation that no test catches means that a test is missing, or that a line does nothing. The
kernels are built without optimisation and for the best instruction set of this machine alone.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

from native_builds import (
    ROOT,
    Build,
    BuildError,
    environment_for,
    pytest_command,
    replace_once,
    test_files,
)

TIME_LIMIT = 600
"""Seconds after which a run of the tests hangs, which is a way of failing, too."""


class Mutation(NamedTuple):
    """In a file of native/, `old` is there exactly once and becomes `new`."""

    name: str
    file: str
    old: str
    new: str


MUTATIONS = (
    # What a cell computes
    Mutation(
        "lstm: input and forget gate swapped",
        "cells.h",
        "c = slot[1] * c + slot[0] * slot[2];",
        "c = slot[0] * c + slot[1] * slot[2];",
    ),
    Mutation(
        "lstm: derivative of the output gate",
        "cells.h",
        "slot[3] = dh * t * o * (1.0f - o);",
        "slot[3] = dh * t * (1.0f - o);",
    ),
    Mutation(
        "gru: sign in the update gate's gradient",
        "cells.h",
        "slot[2] = dh * (h - n) * z * (1.0f - z);",
        "slot[2] = dh * (n - h) * z * (1.0f - z);",
    ),
    Mutation(
        "gru: state's gradients start at another slot",
        "cells.h",
        "kGates = 3, kSlots = 4, kHiddenSlot = 1;",
        "kGates = 3, kSlots = 4, kHiddenSlot = 0;",
    ),
    Mutation(
        "gru: order of slots in the input's gradient",
        "cells.h",
        "return (slot + 2) % 3;",
        "return slot;",
    ),
    Mutation(
        "tanh ends early",
        "maths.h",
        "at_most(20.0f, absolute(x) * 2.0f)",
        "at_most(12.0f, absolute(x) * 2.0f)",
    ),
    # Resets
    Mutation(
        "a reset at step 0 is missed",
        "plan.h",
        "if (s.resets && s.resets[lane * s.steps + t]) return",
        "if (t && s.resets && s.resets[lane * s.steps + t]) return",
    ),
    Mutation(
        "a reset at step 0 leaves the cell",
        "forward.h",
        "from = reset ? s.c_restart : s.c;",
        "from = reset && t ? s.c_restart : s.c;",
    ),
    Mutation(
        "all lanes restart from the first one's state",
        "plan.h",
        "return s.h_restart + lane * H;",
        "return s.h_restart;",
    ),
    Mutation(
        "only one reset's gradient reaches the restart state",
        "backward.h",
        "load_some(step.dc_restart + at, width) + dc, width);",
        "dc, width);",
    ),
    Mutation(
        "the cell's gradient passes a reset",
        "backward.h",
        "    dc = Vec{};\n    return Vec{};",
        "    return Vec{};",
    ),
    # Lengths
    Mutation(
        "one step too many",
        "forward.h",
        "if (length <= t) break;",
        "if (length < t) break;",
    ),
    Mutation(
        "the gradient of the end is forgotten",
        "backward.h",
        "put(d.dh, d.dh_end, lane);",
        "put(d.dh, nullptr, lane);",
    ),
    Mutation(
        "rows of ragged lanes begin where dense ones do",
        "plan.h",
        "plan.rows += plan.length[lane];",
        "plan.rows += s.steps;",
    ),
    Mutation(
        "shortest lanes first",
        "plan.h",
        "return plan.length[(size_t)a] > plan.length[(size_t)b];",
        "return plan.length[(size_t)a] < plan.length[(size_t)b];",
    ),
    Mutation(
        "an empty lane's state is not copied",
        "forward.h",
        "if (!length) std::copy_n(s.h + lane * H, H, s.h_end + lane * H);",
        "",
    ),
    Mutation(
        "the input's gradient is not cleared in the padding",
        "backward.h",
        "if (d.dx) std::fill_n(",
        "if (d.dx && !s.lengths) std::fill_n(",
    ),
    # Chunks of time
    Mutation(
        "the last chunk's rows are looked for as in a full one",
        "forward.h",
        "((int64_t)alive * (end - begin) + t - begin)",
        "((int64_t)alive * chunk + t - begin)",
    ),
    Mutation(
        "the bias's gradient is carried into the next chunk",
        "backward.h",
        "            partial[i] = 0.0f;\n",
        "",
    ),
    Mutation(
        "what goes past the products does not begin at zero",
        "backward.h",
        "std::fill_n(to + lane * H, H, 0.0f);",
        "std::fill_n(to + lane * H, H, 1e-3f);",
    ),
    # Products
    Mutation(
        "the state's bias is forgotten",
        "forward.h",
        "pack_bias(layer.bias_hh, units, Cell::kGates, g, bias);",
        ";",
    ),
    Mutation(
        "gates of a panel the other way round",
        "product.h",
        "panel + (k / kPair * gates + g) * kWidth",
        "panel + (k / kPair * gates + gates - 1 - g) * kWidth",
    ),
    Mutation(
        "one unit too many in a tail",
        "product.h",
        "return left < kWidth ? (int)left : kWidth;",
        "return left < kWidth - 1 ? (int)left : kWidth;",
    ),
    Mutation(
        "the last lane of the last block is dropped",
        "product.h",
        "visit_block<kGates, kMost, 4>(many, some, row, vector, visit);",
        "visit_block<kGates, kMost, 4>(many - (block > 0), some, row, vector, visit);",
    ),
    Mutation(
        "the second half of many terms is begun twice",
        "product.h",
        "add_terms(others, row, panels, panel_stride, 2 * half, terms);",
        "add_terms(others, row, panels, panel_stride, 2 * half - 1, terms);",
    ),
    Mutation(
        "few rows and many take their terms in another order",
        "product.h",
        "add_terms(others, row, panels, panel_stride, half, terms);",
        "add_terms(others, row, panels, panel_stride, half + 1, terms);\n"
        "        add_terms(others, row, panels, panel_stride, half, half + 1);",
    ),
    Mutation(
        "an odd term is dropped from a bfloat16 product",
        "product.h",
        "if ((end - begin) % 2) add_pair(end - 1, 2);",
        "",
    ),
    Mutation(
        "the bfloat16 state of the step before is read again",
        "forward.h",
        "ring + ((~t & 1) * (int64_t)many",
        "ring + ((t & 1) * (int64_t)many",
    ),
    # Gradients of weights
    Mutation(
        "the last gate of a tile is dropped",
        "weights.h",
        "std::min(kTileGates, height - m)",
        "std::min(kTileGates, height - m - 1)",
    ),
    Mutation(
        "only the last block of rows counts",
        "weights.h",
        "tile.first ? sums[m][u] : load_some(to, width) + sums[m][u]",
        "sums[m][u]",
    ),
    Mutation(
        "a weight's gradient looks past a reset",
        "weights.h",
        "h[k] = h_before(s, lane, t);",
        "h[k] = t ? s.y + (lane * s.steps + t - 1) * H : s.h + lane * H;",
    ),
    Mutation(
        "empty lanes are taken for lanes of one row",
        "weights.h",
        "while (t == plan.length[lane]) ++lane, t = 0;",
        "if (t == plan.length[lane]) ++lane, t = 0;",
    ),
    Mutation(
        "every other row is dropped from a bfloat16 gradient",
        "weights.h",
        "k + 1 < count ? load_some(rows[k + 1] + at, width) : Vec{}",
        "Vec{}",
    ),
    # Threads
    Mutation(
        "threads leave some panels unpacked",
        "forward.h",
        "last = (int)(vectors * (part + 1) / parts);",
        "last = first + (int)(vectors / parts);",
    ),
    # Steps
    Mutation(
        "a stepper does not restart",
        "step.h",
        "if (resets && resets[begin + i]) restart(lane);",
        "",
    ),
    Mutation(
        "a stepper's cell does not restart",
        "step.h",
        "if (Cell::kHasCell) std::copy_n((const float*)c_restart_, H, c_ + lane * H);",
        "",
    ),
    Mutation(
        "a stepper reads its first lanes' input again",
        "step.h",
        "inputs[i] = x + (begin + i) * F;",
        "inputs[i] = x + i * F;",
    ),
    Mutation(
        "a stepper takes a lane twice",
        "step.h",
        "|| named_[(size_t)which[i]] == calls_)",
        ")",
    ),
    Mutation(
        "a tail of one is dropped from a dot product",
        "step.h",
        "if (k < terms) {",
        "if (k + 1 < terms) {",
    ),
    # Linear recurrences
    Mutation(
        "linear: resets are missed",
        "linear.h",
        "if (resets && resets[t]) before = s.restart + at;",
        "",
    ),
    Mutation(
        "linear: only one reset's gradient reaches the restart state",
        "linear.h",
        "d.drestart[at + i] += carry[i];",
        "d.drestart[at + i] = carry[i];",
    ),
    Mutation(
        "linear: gradients are not conjugate",
        "linear.h",
        "da[i + 1] = im * before[i] - re * before[i + 1];",
        "da[i + 1] = im * before[i] + re * before[i + 1];",
    ),
    Mutation(
        "linear: the tail of a row is dropped",
        "linear.h",
        "if (i < count) Step::forward(count - i,",
        "if (i + 1 < count) Step::forward(count - i,",
    ),
    # Gated linear recurrences
    Mutation(
        "gated: only the first step's gradient reaches the restart state",
        "gated.h",
        "more[p] += g[p], g[p] = Vec{};",
        "more[p] = g[p], g[p] = Vec{};",
    ),
    Mutation(
        "gated: a state's gradient passes a reset",
        "gated.h",
        "more[p] += g[p], g[p] = Vec{};",
        "more[p] += g[p];",
    ),
    Mutation(
        "gated: what is left of the steps is skipped",
        "gated.h",
        "for (; t < steps; ++t) tile(t,",
        "for (; t + 1 < steps; ++t) tile(t,",
    ),
    Mutation(
        "gated: the scale of eigenvalues in min_gru's gradient",
        "gated_units.h",
        "(db * candidate - da * scale) * enter",
        "(db * candidate - da) * enter",
    ),
    Mutation(
        "gated: min_lstm's shares of the closed gates",
        "gated_units.h",
        "x < 0.0f ? splat(1.0f) : tail - 1.0f",
        "x > 0.0f ? splat(1.0f) : tail - 1.0f",
    ),
    Mutation(
        "gated: rg_lru's input share does not depend on what is kept",
        "gated_units.h",
        "(da * scale - db * enter * u * keep / share)",
        "(da * scale)",
    ),
    Mutation(
        "gated: hgrn's norm has no derivative",
        "gated_units.h",
        "load_some(dh + i, width) - normal * mean",
        "load_some(dh + i, width)",
    ),
    Mutation(
        "rows: the bias has no gradient",
        "rows.h",
        "add(features_, i, total, width);",
        "add(features_, i, Vec{}, width);",
    ),
    Mutation(
        "rows: features' gradients miss the last vector",
        "rows.h",
        "if (i < count) work(i, (int)(count - i));",
        "if (i + 1 < count) work(i, (int)(count - i));",
    ),
    Mutation(
        "selective: what is kept is of the tile before",
        "selective.h",
        "return t / kTile + t % kTile;",
        "return t / kTile;",
    ),
    Mutation(
        "selective: rates have no gradient",
        "selective.h",
        "drate += dpower * lengths[k];",
        "",
    ),
    Mutation(
        "selective: softplus of a large number",
        "selective.h",
        "return at_least(0.0f, x) + 2.0f",
        "return x + 2.0f",
    ),
)

_SEQUENCES = [f"test_native{part}.py" for part in ("", "_lanes", "_step", "_numbers", "_autograd")]
RELEVANT = {
    "step.h": ("test_native_step.py", "test_step*.py"),
    "linear.h": ("test_linear*.py",),
    **dict.fromkeys(("gated.h", "gated_units.h", "rows.h", "selective.h"), ("test_gated.py",)),
}
"""Tests of a file of native/; those of whole sequences for the others."""


def tests_of(file: str) -> list[str]:
    return test_files(*RELEVANT.get(file, _SEQUENCES))


class Outcome(NamedTuple):
    """Whether the tests passed, and what they said last."""

    passed: bool
    words: str


def outcome(library: Path, tests: list[str]) -> Outcome:
    """Run tests against a library until one fails."""
    # Tracing is left out: it is slow, and computes what is computed without it.
    command = pytest_command("-x", "-k", "not compiled", *tests)
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment_for(library),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIME_LIMIT,
        )
    except subprocess.TimeoutExpired:
        return Outcome(False, f"tests that hang for {TIME_LIMIT} s")
    if done.returncode == 0:
        if " passed" not in done.stdout or "needs the native library" in done.stdout:
            raise SystemExit(f"expected tests to run against {library}, got\n{done.stdout[-2000:]}")
        return Outcome(True, done.stdout.splitlines()[-1].strip("= "))
    if done.returncode == 1 and (
        failed := re.search(r"^FAILED \S*?(\w+\.py::\S+)", done.stdout, re.M)
    ):
        return Outcome(False, failed[1])
    if done.returncode < 0:
        begun = re.findall(r"^\S*?(\w+\.py::\S+)", done.stdout, re.M)
        return Outcome(False, f"{begun[-1] if begun else 'a start'} (signal {-done.returncode})")
    raise SystemExit(f"expected tests to pass or fail, got\n{done.stdout[-3000:]}{done.stderr}")


def best_set() -> str:
    """The best instruction set that the installed library has here."""
    from throughtime.kernels import library

    if reason := library.why_missing():
        raise SystemExit(f"expected the native library to be installed, got none: {reason}")
    return str(library.load().tt_instruction_set().decode())


def judged(
    mutations: list[Mutation], best: str, jobs: int, folder: Path
) -> Iterator[tuple[Mutation, Outcome]]:
    """Build and test each mutation, some side by side, each in one of as many folders."""
    options = {"THROUGHTIME_SETS": best, "THROUGHTIME_OPTIMIZATION": "-O0"}
    free: Queue[Build] = Queue()
    for job in range(jobs):
        free.put(Build(folder / str(job), options))

    def judge(mutation: Mutation) -> Outcome:
        build = free.get()
        path = build.sources / mutation.file
        try:
            before = replace_once(path, mutation.old, mutation.new)
            try:
                return outcome(build.make(), tests_of(mutation.file))
            except BuildError as error:
                raise SystemExit(f"expected {mutation.name!r} to compile, got\n{error}") from None
            finally:
                path.write_text(before)
        finally:
            free.put(build)

    with ThreadPoolExecutor(jobs) as threads:
        yield from zip(mutations, threads.map(judge, mutations), strict=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="parts of names of mutations; all when none")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="builds at a time")
    chosen = parser.parse_args()
    mutations = [
        each
        for each in MUTATIONS
        if not chosen.names or any(part in each.name for part in chosen.names)
    ]
    if not mutations:
        parser.error("no mutation has such a name; see --list")
    if chosen.list:
        print("\n".join(f"{each.file:12} {each.name}" for each in mutations))
        return
    best = best_set()
    if best != "avx512_bf16":
        mutations = [each for each in mutations if "bfloat16" not in each.name]
    # Unchanged sources are the first to be judged: what fails without a mutation proves nothing.
    files = {tuple(tests_of(each.file)): each.file for each in mutations}.values()
    whole = [Mutation("nothing", file, "#pragma once", "#pragma once") for file in files]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        for mutation, found in judged([*whole, *mutations], best, chosen.jobs, Path(folder)):
            wanted = mutation in whole
            verdict = found.words if found.passed is wanted else f"WRONG: {found.words}"
            survivors += found.passed is not wanted
            print(f"{mutation.name:60} {verdict}", flush=True)
    if survivors:
        raise SystemExit(f"{survivors} of {len(mutations)} survive, or fail unmutated")


if __name__ == "__main__":
    main()
