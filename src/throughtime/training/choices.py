"""What a training run needs and nobody said: the task, the device, the folder, the lanes.

Each choice is a function of what was said and of the data; an impossible wish is refused here, in
one line. What the task itself prefers is its `Recipe`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from throughtime import layers
from throughtime.data.demos import DEMO_PREFIX, describe
from throughtime.data.sequences import Duplicates
from throughtime.data.splits import parse_split
from throughtime.data.windows import Buckets, Example, Lanes
from throughtime.errors import DataError, OptionError
from throughtime.layers.sizes import nearest_possible
from throughtime.model import ModelConfig
from throughtime.tasks import NAMES, ForecastTask, LanguageTask
from throughtime.tasks.task import Task
from throughtime.training.config import TrainingConfig
from throughtime.training.loop import count_targets

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
LEAST_WINDOWS_A_LANE = 4
RUNS = "runs"


def task_name(data: Any, asked: str | None) -> str:
    """Return the task asked for, or the one that data is for.

    Raises:
        OptionError: when there is no such task.
        DataError: when there is no such demo.
    """
    if asked is not None:
        if asked not in NAMES:
            raise OptionError(f"expected a task among {', '.join(NAMES)}, got {asked!r}")
        return asked
    if not is_path(data):
        return ForecastTask.name
    text = os.fspath(data)
    if text.startswith(DEMO_PREFIX):
        for demo in describe():
            if demo.source == text:
                return demo.task
        known = ", ".join(demo.source for demo in describe())
        raise DataError(f"expected a demo among {known}, got {text}")
    table = Path(text).suffix.lower() in TABLE_SUFFIXES
    return ForecastTask.name if table else LanguageTask.name


def is_path(data: Any) -> bool:
    """Whether data is named by a path or a demo's name, and no frame."""
    return isinstance(data, str | os.PathLike)


def fractions(split: str | None, task: str) -> dict[str, Any]:
    """Return the shares of the parts as an option of the task; nothing where nobody said.

    Raises:
        OptionError: when they are none, or not as many as the task has parts.
    """
    if split is None:
        return {}
    parts = ForecastTask.parts if task == ForecastTask.name else LanguageTask.parts
    found = parse_split(split)
    if len(found) != len(parts):
        raise OptionError(f"expected a split into {' / '.join(parts)} for {task}, got {split!r}")
    return {"fractions": found}


def said(**options: Any) -> dict[str, Any]:
    """Return the options that somebody gave."""
    return {name: value for name, value in options.items() if value is not None}


def refuse(options: Mapping[str, Any], task: str) -> None:
    """Refuse options of the other task, rather than leave them without effect.

    Raises:
        OptionError: when there are any.
    """
    if options:
        other = LanguageTask.name if task == ForecastTask.name else ForecastTask.name
        names = ", ".join(map(option_name, options))
        which, it = ("is", "it") if len(options) == 1 else ("are", "them")
        raise OptionError(
            f"expected options of {task}, got {names}, which {which} for {other}; "
            f"leave {it} out or give --task {other}"
        )


def option_name(name: str) -> str:
    """Return an option of `fit` or of reading as it is typed on the command line."""
    return "--" + {"covariates": "covariate"}.get(name, name).replace("_", "-")


class Reading(BaseModel):
    """Options of `read_table` that may be given for training; fitting says the training share."""

    model_config = ConfigDict(extra="forbid")

    time: str | None = None
    target: str | None = None
    key: str | None = None
    covariates: Sequence[str] | None = None
    known_future: Sequence[str] = ()
    step: str | int | timedelta | None = None
    season: int | None = None
    max_gap: int | None = None
    duplicates: Duplicates = "last"
    time_format: str | None = None


def reading(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return options of reading a table, checked.

    Raises:
        OptionError: when there is no such option, or its value is of another type.
    """
    given = options or {}
    unknown = [str(name) for name in given if name not in Reading.model_fields]
    if unknown:
        raise OptionError(
            f"expected options of reading among {', '.join(Reading.model_fields)}, got "
            f"{', '.join(unknown)}; leave out what is not among them"
        )
    checked = Reading.model_validate(dict(given))
    return {name: getattr(checked, name) for name in given}


def window(task: Task, asked: int | None, bptt: str | None) -> int:
    """Return T of a window: as asked, or what the task prefers.

    Raises:
        OptionError: when the windows are whole sequences or lanes, whatever is asked.
    """
    if task.independent:
        typed = said(window=asked, bptt=bptt)
        if typed:
            names = " and ".join(map(option_name, typed))
            raise OptionError(
                f"expected no {names} for independent sequences, which are read whole, got "
                f"{' and '.join(str(value) for value in typed.values())}; leave it out"
            )
    elif bptt == "full" and asked is not None:
        raise OptionError(
            f"expected no --window with --bptt full, whose windows are whole lanes, got {asked}; "
            "leave it out, or choose how long they are by --lanes"
        )
    return task.recipe.steps if asked is None else asked


def check_targets(examples: Sequence[Example]) -> None:
    """Refuse training data in which there is nothing to learn, at any step ahead.

    Raises:
        DataError: when there are no targets, or none so many steps ahead.
    """
    rows = sum(map(len, examples))
    if not sum(map(count_targets, examples)):
        raise DataError(
            f"expected training rows with a value to learn, got none in {rows} rows; give more "
            "data or another --split"
        )
    if examples[0].targets.ndim == 1:
        return
    there = np.any([(~np.isnan(example.targets)).any(axis=0) for example in examples], axis=0)
    if not there.all():
        longest = int(there.argmin())
        raise DataError(
            f"expected training rows with a value at each of {len(there)} steps ahead, got none "
            f"{longest + 1} ahead in {rows} rows; "
            + (f"give --horizon {longest} at most, or more data" if longest else "give more data")
        )


def device(asked: str) -> torch.device:
    """Return the device asked for; the GPU, where there is one, for "auto".

    Raises:
        OptionError: when there is no such device.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked not in ("cpu", "cuda") or (asked == "cuda" and not torch.cuda.is_available()):
        has = "auto, cpu, cuda" if torch.cuda.is_available() else "auto, cpu (no GPU is visible)"
        raise OptionError(f"expected a device among {has}, got {asked!r}")
    return torch.device(asked)


def check_layers(config: ModelConfig) -> None:
    """Refuse layers that can't be built, before anything is worked out for them.

    Raises:
        OptionError: when they can't have their sizes or options, or there is no place in them for
            dropout.
    """
    spec, options = layers.parse(config.layer), config.layer_options()
    if config.dropout and len(spec.layers) == 1:
        raise OptionError(
            f"expected two layers or more with dropout, which goes between them, got {spec} and "
            f"dropout {config.dropout}; take {layers.StackSpec(spec.layers * 2)} or leave dropout "
            "out"
        )
    with torch.device("meta"):
        try:
            layers.build(spec, 1, noise=config.noise_options(), **options)
        except OptionError as error:
            near = nearest_possible(spec, **options)
            if near == spec:
                raise
            layers.build(near, 1, **options)
            raise OptionError(f"{error}; or take {near}") from None


def lanes(examples: Sequence[Example], asked: int | None, most: int, steps: int, task: Task) -> int:
    """Return how many lanes: as asked, or so many that each has some windows to carry over.

    Args:
        examples: the training data.
        asked: lanes asked for.
        most: lanes that the task prefers.
        steps: T of a window.
        task: whose examples these are.
    """
    if asked is not None:
        return asked
    if task.independent:
        return most
    total = sum(map(len, examples))
    return max(1, min(most, total // (LEAST_WINDOWS_A_LANE * max(steps, 1))))


def plan(task: Task, examples: list[Example], config: TrainingConfig) -> Lanes | Buckets:
    """Return the windows: batches of independent sequences, or lanes with carried state."""
    if task.independent:
        return Buckets(examples, config.lanes, config.seed)
    return Lanes(examples, config.lanes, config.steps, config.seed)


def whole_lanes(examples: list[Example], config: TrainingConfig) -> TrainingConfig:
    """Return a configuration with windows as long as its lanes, as under full BPTT.

    Raises:
        DataError: when there are more lanes than steps.
    """
    steps = Lanes(examples, config.lanes, config.steps, config.seed).lane_steps
    return config.model_copy(update={"steps": steps})


def new_directory(out: str | os.PathLike[str] | None, data: Any, task: str) -> Path:
    """Return where the run goes; what is there already is never written over.

    Raises:
        OptionError: when the folder asked for holds something.
    """
    if out is not None:
        path = Path(out)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OptionError(
                f"expected a new or empty folder for --out, got {path}, which holds something; "
                "choose another, or go on with an interrupted run by --resume"
            )
        return path
    stem = Path(str(data).removeprefix(DEMO_PREFIX)).stem if is_path(data) else "frame"
    base = Path(RUNS) / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', stem)}-{task}"
    candidates = [base, *(base.with_name(f"{base.name}-{n}") for n in range(2, 10_000))]
    return next(path for path in candidates if not path.exists())


def make_directory(path: Path) -> None:
    """Make the run directory.

    Raises:
        OptionError: when that can't be done.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"expected a folder that can be made for --out, got {path} ({error.strerror}); "
            "choose another"
        ) from None


def option_error(error: ValidationError) -> OptionError:
    """Return the error that says, in one line, which option is not possible."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "the configuration"
    option = {"steps": "window"}.get(name, name).replace("_", "-")
    allowed = first["msg"][:1].lower() + first["msg"][1:]
    return OptionError(f"expected {option} in its range, got {first['input']!r}: {allowed}")
