"""What a learner predicted and measured, kept from one visit to the next: a file for each."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from throughtime import __version__
from throughtime.errors import DataError
from throughtime.files import read_regular_file, write_atomically
from throughtime.formats import JSON_LIMIT, finite, parse_json
from throughtime.lab.experiments import find, names
from throughtime.lab.result import Result

MOST_RUNS = 8
"""Runs of an experiment that are kept; the oldest goes first."""


def folder() -> Path:
    """Return where learners are kept: with what other programs keep of their users."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "throughtime" / "lab"


@dataclass
class Learner:
    """One browser's way through the lesson.

    Attributes:
        path: the file that holds it.
        predicted: the place of the answer that was committed to, by experiment.
        runs: what was measured, by experiment, from earlier to later.
        last: the experiment that was looked at last, empty before the first.
    """

    path: Path
    predicted: dict[str, int] = field(default_factory=dict)
    runs: dict[str, list[Result]] = field(default_factory=dict)
    last: str = ""

    @classmethod
    def read(cls, path: Path) -> "Learner":
        """Return what this version left in a file; a new learner where there is none of that."""
        learner = cls(path)
        try:
            content = parse_json(read_regular_file(path, path.name, JSON_LIMIT), source=path.name)
            if content["throughtime"] != __version__:
                return learner
            runs = {
                name: [Result.from_json(each) for each in of_one]
                for name, of_one in content["runs"].items()
            }
            return cls(path, content["predicted"], runs, content["last"])
        except (OSError, KeyError, TypeError, ValueError, AttributeError):
            return learner

    def write(self) -> None:
        """Keep what is there now.

        Raises:
            DataError: when the file can't be written.
        """
        content = {
            "throughtime": __version__,
            "predicted": self.predicted,
            "runs": {name: [run.to_json() for run in runs] for name, runs in self.runs.items()},
            "last": self.last,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps(finite(content), allow_nan=False).encode())
        except OSError as error:
            raise DataError(
                f"expected to keep the lesson's progress in {self.path.parent}, got "
                f"{error.strerror}; set XDG_STATE_HOME to a folder that can be written"
            ) from None

    def predict(self, name: str, answer: int) -> None:
        """Commit to an answer."""
        self.predicted[name] = answer
        self.write()

    def add(self, result: Result) -> None:
        """Keep a run, in place of an earlier one with the same knobs."""
        others = [run for run in self.runs.get(result.name, []) if run.knobs != result.knobs]
        # Only the latest is drawn, and what it is drawn from can be long.
        bare = [
            run._replace(outcomes=tuple(each._replace(details={}) for each in run.outcomes))
            for run in others
        ]
        self.runs[result.name] = [*bare[1 - MOST_RUNS :], result]
        self.write()

    def look(self, name: str) -> None:
        """Note where the learner is."""
        self.last = name
        self.write()

    def forget(self) -> None:
        """Start over."""
        self.predicted, self.runs, self.last = {}, {}, ""
        self.write()

    def plain(self, name: str) -> Result | None:
        """Return the run with the knobs as they come, which the question is about."""
        return next((run for run in self.runs.get(name, []) if not run.turned), None)

    def was_right(self, name: str) -> bool | None:
        """Return whether a prediction came true; None before it is known."""
        run = self.plain(name)
        if name not in self.predicted or run is None or not run.holds:
            return None
        return self.predicted[name] == find(name).question.right

    @property
    def done(self) -> tuple[int, int]:
        """How many experiments were predicted, and how many were run."""
        return (
            sum(name in self.predicted for name in names()),
            sum(bool(self.runs.get(name)) for name in names()),
        )
