"""What a layer is good and bad at, in a sentence: of the finished cells of `all`.

The docstrings of layers have these sentences, and a test holds them to the records.
"""

import json
from collections.abc import Iterable, Sequence
from math import log
from pathlib import Path

from benchmarks.battery.cells import Record
from benchmarks.battery.tasks import TASKS

MATRIX = Path(__file__).resolve().parents[1] / "results" / "battery.jsonl"
"""The finished cells of `python -m benchmarks.battery all`."""

_HALF = 0.5
_GUESSING = log(65)
"""Nats a character of knowing nothing but the 65 characters of tiny Shakespeare."""

_NAMED = {"memory": "`memory` of the task's length", "negative_eigenvalues": "negative eigenvalues"}


def read_matrix() -> list[Record]:
    """Return the finished cells, in the order in which they were run."""
    return [json.loads(line) for line in MATRIX.read_text(encoding="utf-8").splitlines()]


def verdict(records: Iterable[Record], layer: str) -> str:
    """Return what a layer solves, what it fails at, and what its options change.

    It fails where it is not even half way from guessing to being right.
    """
    variants: dict[str, list[Record]] = {"": []}
    for record in records:
        if record["layer"] == layer:
            option = "".join(name for name in record["options"] if name != "window")
            variants.setdefault(option, []).append(record)
    plain = variants.pop("")
    solved = _solved(plain)
    failed = [f"{_task(each)} ({each['accuracy']:.2f})" for each in plain if _is_failure(each)]
    said = [f"solves {_listed(solved)}" if solved else "solves nothing"]
    if failed:
        said.append(f"fails at {_listed(failed)}")
    text = f"In the battery it {' and '.join(said)}"
    for option, own in variants.items():
        if gained := [task for task in _solved(own) if task not in solved]:
            text += f"; with {_NAMED[option]} it solves {_listed(gained)} too"
    for record in plain:
        if record["task"] != "language":
            continue
        if record["loss"] < _GUESSING:
            text += f"; it comes to {record['loss']:.2f} nats a character of tiny Shakespeare"
        else:
            text += f"; on tiny Shakespeare it diverges at the rate picked, {record['rate']}"
    return f"{text} (`python -m benchmarks.battery all`)."


def _task(record: Record) -> str:
    return str(record["task"]).replace("_", " ")


def _solved(records: Sequence[Record]) -> list[str]:
    return [_task(record) for record in records if record["solved"]]


def _is_failure(record: Record) -> bool:
    if record["task"] == "language":
        return False
    chance = TASKS[record["task"]].chance
    better: float = (record["accuracy"] - chance) / (1 - chance)
    return better < _HALF


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
