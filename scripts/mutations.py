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

import mutations_of_cells as of_cells
import mutations_of_scans as of_scans
import mutations_of_variants as of_variants
from mutation import Mutation
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


MUTATIONS = (*of_cells.MUTATIONS, *of_variants.MUTATIONS, *of_scans.MUTATIONS)

_SEQUENCES = [f"test_native{part}.py" for part in ("", "_lanes", "_step", "_numbers", "_autograd")]
RELEVANT = {
    "step.h": ("test_native_step.py", "test_step*.py"),
    "map.h": ("test_native_map.py",),
    "linear.h": ("test_linear*.py",),
    "maths.h": (*_SEQUENCES, "test_gated.py"),
    **dict.fromkeys(
        ("variant_cells.h", "variant_forward.h", "variant_backward.h"), ("test_variants.py",)
    ),
    **dict.fromkeys(
        ("gated.h", "gated_units.h", "leave.h", "rows.h", "selective.h"), ("test_gated.py",)
    ),
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
    # What multiplies bfloat16 in registers is not in tiles, so with these both are built.
    sets = "avx512_bf16;amx" if best == "amx" else best
    options = {"THROUGHTIME_SETS": sets, "THROUGHTIME_OPTIMIZATION": "-O0"}
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
    missing = {"avx512_bf16": ("tiles:",), "amx": ()}.get(best, ("tiles:", "bfloat16"))
    mutations = [each for each in mutations if not any(words in each.name for words in missing)]
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
