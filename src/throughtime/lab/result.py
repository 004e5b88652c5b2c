"""What an experiment came to over its seeds, on disk as on the screen."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from throughtime import __version__
from throughtime.errors import DataError
from throughtime.files import read_regular_file, write_atomically
from throughtime.formats import JSON_LIMIT, finite, parse_json
from throughtime.lab.experiment import Outcome, Value
from throughtime.lab.experiments import find, names

FILE = "lab.json"


class Result(NamedTuple):
    """An experiment that was run.

    Attributes:
        name: of the experiment.
        knobs: the value of each.
        seeds: one for each outcome.
        outcomes: what the seeds came to.
        seconds: from the start of the first seed to the end of the last.
        failure: why there are no outcomes, empty where there are.
    """

    name: str
    knobs: dict[str, Value]
    seeds: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    seconds: float
    failure: str = ""

    @property
    def turned(self) -> dict[str, Value]:
        """The knobs that are not at their default, to which no interval belongs."""
        knobs = find(self.name).knobs
        return {name: value for name, value in self.knobs.items() if value != knobs[name].default}

    @property
    def holds(self) -> bool | None:
        """Whether figures lie in the interval, controls outside; None where a knob was turned."""
        if self.failure:
            return False
        return None if self.turned else find(self.name).holds(self.outcomes)

    @property
    def verdict(self) -> str:
        """What became of the claim, in a word."""
        if self.failure:
            return "not run"
        return {True: "holds", False: "does not hold", None: "knobs turned"}[self.holds]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        experiment = find(self.name)
        return {
            "name": self.name,
            "holds": self.holds,
            "figure": experiment.figure,
            "interval": list(experiment.interval),
            "control": experiment.control,
            "knobs": self.knobs,
            "seconds": self.seconds,
            "failure": self.failure,
            "seeds": [
                {"seed": seed, **outcome._asdict()}
                for seed, outcome in zip(self.seeds, self.outcomes, strict=True)
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Result":
        """Return what `to_json` wrote."""
        runs = content["seeds"]
        return cls(
            content["name"],
            content["knobs"],
            tuple(each["seed"] for each in runs),
            tuple(
                Outcome(_number(each["figure"]), _number(each["control"]), each["details"])
                for each in runs
            ),
            content["seconds"],
            content["failure"],
        )


def read(folder: Path) -> dict[str, Result]:
    """Return the results that this version left in a folder, by name; none where there are none.

    Raises:
        DataError: when the file there is none of ours.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        content = parse_json(read_regular_file(path, FILE, JSON_LIMIT), source=FILE)
        if content["throughtime"] != __version__:
            return {}
        found = [Result.from_json(each) for each in content["experiments"]]
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"expected results of the lab in {path}, got something else; choose another folder"
        ) from None
    return {result.name: result for result in found if result.name in names()}


def write(results: Sequence[Result], folder: Path) -> None:
    """Write results to a folder, all at once."""
    content = {
        "throughtime": __version__,
        "experiments": [result.to_json() for result in results],
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(finite(content), indent=1, allow_nan=False)
    write_atomically(folder / FILE, f"{text}\n".encode())


def _number(value: float | None) -> float:
    """Return a figure as it was: what is not finite is null on disk."""
    return math.nan if value is None else value


def shown(value: float) -> str:
    """Return a figure in as few digits as tell it apart.

    Example:
        >>> shown(0.66713), shown(41.0)
        ('0.667', '41')
    """
    return f"{value:.3g}"
