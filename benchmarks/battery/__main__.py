"""The commands: `python -m benchmarks.battery quick|claims|all`."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from benchmarks.battery import claims, show
from benchmarks.battery.cells import Cell, Record, Store, variants
from benchmarks.battery.tasks import TASKS
from benchmarks.battery.train import Budget, budget_of
from benchmarks.battery.workers import Work, run_all
from throughtime import __version__, layers
from throughtime.bench.machine import describe
from throughtime.errors import OptionError, ThroughtimeError

RESULTS = Path(__file__).resolve().parents[1] / "results"
COMMANDS = {
    "quick": "every task with two layers, a few updates: that everything runs, and nothing more",
    "claims": "the named pairs of layer and task, with three seeds",
    "all": "every layer on every task, one seed; goes on where it was stopped",
}
QUICK_LAYERS = ("gru", "min_gru")
QUICK = Budget(updates=12, probe=3, every=3, lanes=8, tested=16)
QUICK_TESTED = 64
"""T at most of its evaluation sets, where a task can do with it."""
INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 1 where a claim is not shown, 2 for wrong words."""
    try:
        asked = _read(arguments)
        return _run(asked)
    except ThroughtimeError as error:
        show.say(f"error: {error}")
        return 2


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m benchmarks.battery",
        description="Which layer solves which task, and what it needs for it.",
        epilog="  ".join(f"{name}: {about}." for name, about in COMMANDS.items()),
    )
    parser.add_argument("command", help=" | ".join(COMMANDS))
    parser.add_argument("--out", type=Path, help="file of finished cells, a line of JSON each")
    parser.add_argument("--task", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--layer", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--seed", type=int, help="instead of 0, or of all three for claims")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--jobs",
        type=int,
        help=f"cells run side by side, each on one thread; {cores} here, and 1 for quick",
    )
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    asked = parser.parse_args(arguments)
    if asked.jobs is None:
        asked.jobs = 1 if asked.command == "quick" else cores
    if asked.jobs < 1:
        raise OptionError(f"expected --jobs of 1 or more, got {asked.jobs}")
    show.check_names("command", [asked.command], list(COMMANDS))
    show.check_names("task", asked.task, list(TASKS))
    named = {claim.layer for claim in claims.CLAIMS} if asked.command == "claims" else set()
    there = list(layers.names())
    show.check_names("layer", asked.layer, there + sorted(named - set(there)))
    return asked


def _run(asked: argparse.Namespace) -> int:
    # Small work gains nothing from a second thread, and one adds in the same order every time.
    torch.set_num_threads(1)
    began = time.perf_counter()
    out = asked.out
    if out is None and asked.command != "quick":
        out = RESULTS / {"all": "battery.jsonl", "claims": "claims.jsonl"}[asked.command]
    chosen = [claim for claim in claims.CLAIMS if _is_asked(claim, asked)]
    cells = _claimed(chosen, asked) if asked.command == "claims" else _matrix(asked)
    store = Store(out)
    budgets = {name: QUICK if asked.command == "quick" else budget_of(name) for name in TASKS}
    stopped = False
    try:
        _fill(cells, store, budgets, jobs=asked.jobs, quick=asked.command == "quick")
    except KeyboardInterrupt:
        stopped = True
        show.say("stopped; what is finished is kept" + (f" in {out}" if out else ""))

    def find(cell: Cell) -> Record | None:
        return store.find(cell, budgets[cell.task])

    found = [record for cell in cells if (record := find(cell)) is not None]
    judged: list[claims.Verdict] = []
    if asked.command == "claims":
        judged = [claims.judge(claim, find) for claim in chosen]
    _print(asked, found, judged, time.perf_counter() - began)
    if stopped:
        return INTERRUPTED
    return 0 if all(verdict.shown for verdict in judged) else 1


def _is_asked(pair: Any, asked: argparse.Namespace) -> bool:
    return (not asked.task or pair.task in asked.task) and (
        not asked.layer or pair.layer in asked.layer
    )


def _claimed(chosen: Sequence[claims.Claim], asked: argparse.Namespace) -> list[Cell]:
    lacking = claims.missing(chosen)
    if lacking:
        names = ", ".join(claim.text for claim in lacking)
        show.say(f"no such layer or option yet, so not shown: {names}")
    cells = [cell for claim in chosen if claim not in lacking for cell in claim.cells]
    return [cell for cell in cells if asked.seed in (None, cell.seed)]


def _matrix(asked: argparse.Namespace) -> list[Cell]:
    names = QUICK_LAYERS if asked.command == "quick" and not asked.layer else layers.names()
    cells = []
    for task in TASKS.values():
        for name in names:
            # The quick look is at every layer once.
            several = [{}] if asked.command == "quick" else variants(name, task)
            cells += [Cell(task.name, name, options, asked.seed or 0) for options in several]
    return [cell for cell in cells if _is_asked(cell, asked)]


def _fill(
    cells: Sequence[Cell], store: Store, budgets: Mapping[str, Budget], *, jobs: int, quick: bool
) -> None:
    """Run the cells that are not in the store, so many side by side."""
    reasons = {name: TASKS[name].missing() for name in {cell.task: None for cell in cells}}
    for name, reason in reasons.items():
        if reason:
            show.say(f"without {name}: it {reason}")
    possible = [cell for cell in cells if not reasons[cell.task]]
    to_run = [cell for cell in possible if store.find(cell, budgets[cell.task]) is None]
    if len(to_run) < len(possible):
        show.say(f"{len(possible) - len(to_run)} of {len(possible)} were finished before")
    progress = show.Progress(len(to_run))
    versions = {"throughtime": __version__, "torch": str(torch.__version__)}
    tested = QUICK_TESTED if quick else None
    work = [Work(cell, budgets[cell.task], tested) for cell in to_run]
    for cell, result in run_all(work, jobs):
        store.add(cell, budgets[cell.task], {**result.to_json(), **versions})
        progress.end(cell, result)


def _print(
    asked: argparse.Namespace,
    found: Sequence[Record],
    judged: Sequence[claims.Verdict],
    seconds: float,
) -> None:
    if asked.json:
        whole = {
            "command": asked.command,
            "machine": describe(),
            "seconds": round(seconds, 1),
            "cells": list(found),
            "claims": [verdict.to_json() for verdict in judged],
        }
        print(json.dumps(whole, indent=2))
        return
    show.print_table(found)
    if judged:
        show.verdicts(judged)


if __name__ == "__main__":
    sys.exit(main())
