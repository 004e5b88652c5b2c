"""Cells of the matrix: a layer with its options, on a task, with a seed; and the file they go into.

The file has one line of JSON for each finished cell. A line is written at once, and one that was
torn by a power cut is left out at reading, so a run that was stopped goes on where it was.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.battery.task import Task
from benchmarks.battery.train import Budget
from throughtime import layers
from throughtime.errors import OptionError

Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """What is trained on what.

    Attributes:
        task: its name.
        layer: its name.
        options: of the layer.
        seed: of the model and the batches.
    """

    task: str
    layer: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def title(self) -> str:
        """Name and options of the layer, in a few words."""
        return " ".join([self.layer, *(f"{key}={value}" for key, value in self.options.items())])

    def key(self, budget: Budget) -> str:
        """Return what a finished cell is found by; another budget is another cell."""
        return _key({**self.to_json(), "budget": budget._asdict()})

    def to_json(self) -> Record:
        """Return it as JSON has it."""
        return {
            "task": self.task,
            "layer": self.layer,
            "options": dict(self.options),
            "seed": self.seed,
        }


def is_there(layer: str, options: Mapping[str, Any]) -> bool:
    """Return whether a layer of this name, which takes these options, exists."""
    if layer not in layers.names():
        return False
    try:
        layers.make(layer, 8, 8, **options)
    except OptionError as error:
        # A layer that is there but has no such option; anything else is for the run to show.
        return "expected options of" not in str(error)
    return True


def variants(layer: str, task: Task) -> list[dict[str, Any]]:
    """Return the options that a layer is run with on a task in the full matrix."""
    whole = {"window": task.tested}
    if layer == "attention" and is_there(layer, whole):
        # It is to see the whole sequence.
        return [whole]
    found: list[dict[str, Any]] = [{}]
    for options in ({"negative_eigenvalues": True}, {"memory": task.tested}):
        if is_there(layer, options):
            found.append(options)
    return found


class Store:
    """Finished cells, in a file or, without one, in memory.

    Args:
        path: of the file; it need not be there yet.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        if path is not None and path.exists():
            for record in _readable(path.read_text(encoding="utf-8").splitlines()):
                self.records[_key(record)] = record

    def find(self, cell: Cell, budget: Budget) -> Record | None:
        """Return what was found for a cell, or None."""
        return self.records.get(cell.key(budget))

    def add(self, cell: Cell, budget: Budget, found: Record) -> Record:
        """Keep what was found, on disk before this returns."""
        record = {**cell.to_json(), **found, "budget": budget._asdict()}
        if self.path is not None:
            _append(self.path, json.dumps(record))
        self.records[_key(record)] = record
        return record


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        # One write at the end of the file: two runs into the same file lose nothing.
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def _readable(lines: Iterable[str]) -> Iterable[Record]:
    for line in lines:
        try:
            record = json.loads(line)
            _key(record)
        except (ValueError, KeyError, TypeError):
            continue
        yield record


def _key(record: Record) -> str:
    parts = [record[name] for name in ("task", "layer", "options", "seed", "budget")]
    return json.dumps(parts, sort_keys=True)
