"""From data to a run: the whole way, in one call.

`fit` reads the data, scores the baselines, trains, evaluates and writes the run directory;
`resume` goes on with a run that was interrupted.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError

from throughtime import layers
from throughtime.data.demos import DEMO_PREFIX, describe
from throughtime.data.splits import parse_split
from throughtime.data.tables import read_table
from throughtime.data.text import Mode, read_text
from throughtime.data.windows import Buckets, Example, Lanes
from throughtime.errors import BundleError, DataError, OptionError
from throughtime.model import ModelConfig, SequenceModel
from throughtime.run import Run, results, save, task_from_json
from throughtime.tasks import NAMES
from throughtime.tasks.forecast import ForecastOptions, ForecastTask, Head
from throughtime.tasks.language import LanguageOptions, LanguageTask
from throughtime.tasks.task import Task, mean_loss
from throughtime.training import checkpoint
from throughtime.training.config import Budget, TrainingConfig
from throughtime.training.interrupt import Interrupted, asked_to_stop
from throughtime.training.loop import Loop
from throughtime.training.progress import Watcher, watcher

_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
_LEAST_WINDOWS_A_LANE = 4


def fit(
    data: Any,
    *,
    task: str | None = None,
    layer: str | None = None,
    out: str | os.PathLike[str] | None = None,
    budget: str = "60s",
    seed: int = 0,
    device: str = "auto",
    split: str | None = None,
    horizon: int = 1,
    head: Head = "quantile",
    mode: Mode = "characters",
    reading: Mapping[str, Any] | None = None,
    embedding: int = 128,
    dropout: float = 0.0,
    memory: int | None = None,
    lanes: int | None = None,
    window: int | None = None,
    bptt: Literal["truncated", "full"] = "truncated",
    chunks: int = 1,
    learning_rate: float | None = None,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    patience: int | None = None,
    show: bool = True,
) -> Run:
    """Train a model on data and write its run directory.

    Args:
        data: a CSV, Parquet or text file, a polars or pandas frame, or `demo:NAME`.
        task: "forecast" or "language"; by the kind of data when None.
        layer: name, size and depth, such as "gru:64x2"; the task's own choice when None.
        out: the run directory; a new one below `runs/` when None.
        budget: how long to train: "60s", "500steps", "3epochs".
        seed: of everything random.
        device: "auto", "cpu", "cuda".
        split: shares such as "70/15/15" (tables) or "90/10" (text), in time order.
        horizon: h, steps ahead, for forecasts.
        head: "quantile" or "gaussian", for forecasts.
        mode: "characters" or "bytes", for text.
        reading: options of `throughtime.data.read_table`, for tables.
        embedding: size of a symbol's vector, for text.
        dropout: share dropped between layers.
        memory: steps that the gates should remember from the start (chrono initialisation).
        lanes: B; as many as the data fills, up to the task's choice, when None.
        window: T of a window; the task's choice when None.
        bptt: "truncated" or "full".
        chunks: pieces to recompute under full BPTT.
        learning_rate: the highest; the task's choice when None.
        weight_decay: of AdamW.
        clip: the gradient norm allowed.
        patience: validations without improvement before stopping early.
        show: whether to tell what is found and how training goes, on standard error.

    Returns:
        The run.

    Raises:
        DataError: when the data can't be read or is too little.
        OptionError: when an option is none.
        Interrupted: after Ctrl-C, with a checkpoint that `resume` goes on from.

    Example:
        >>> import tempfile
        >>> run = fit("demo:sunspots", budget="2steps", out=tempfile.mkdtemp(), show=False)
        >>> sorted(run.evaluate()["splits"])
        ['test', 'validation']
    """
    tell = watcher(show)
    name = _task_name(data, task)
    fractions = None if split is None else parse_split(split)
    parsed = Budget.parse(budget)
    torch_device = _device(device)
    directory = _new_directory(out, data, name)
    fitted: Task
    try:
        if name == ForecastTask.name:
            table = read_table(data, **(reading or {}))
            fitted = ForecastTask.fit(
                table,
                ForecastOptions(horizon=horizon, head=head, **_given(fractions=fractions)),
            )
            read: Any = table
        else:
            if reading:
                raise OptionError(
                    f"expected options of text, got {', '.join(reading)}: they are for tables"
                )
            text = read_text(data, mode=mode)
            fitted = LanguageTask.fit(
                text, LanguageOptions(mode=mode, **_given(fractions=fractions))
            )
            read = text
        examples = fitted.examples(read, "train")
        recipe = fitted.recipe
        config = TrainingConfig(
            budget=parsed,
            lanes=_lanes(examples, lanes, recipe.lanes, window or recipe.steps, fitted),
            steps=window or recipe.steps,
            bptt=bptt,
            chunks=chunks,
            learning_rate=recipe.learning_rate if learning_rate is None else learning_rate,
            weight_decay=weight_decay,
            clip=clip,
            patience=patience,
            seed=seed,
        )
        model_config = fitted.model_config(
            str(layers.parse(layer or recipe.layer)),
            dropout=dropout,
            memory=memory,
            **({"embedding": embedding} if name == LanguageTask.name else {}),
        )
    except ValidationError as error:
        raise _option_error(error) from None
    if chunks > 1 and bptt != "full":
        raise OptionError(f"expected bptt='full' with chunks, got {bptt!r} and {chunks} chunks")
    for line in read.findings.lines:
        tell.say(line)
    origin = {
        "source": data if isinstance(data, str) else str(data) if _is_path(data) else "",
        "task": {"name": name, **fitted.to_json()},
        "vocabulary": fitted.vocabulary_json(),
        "model": model_config.model_dump(mode="json"),
        "training": config.model_dump(mode="json"),
        "device": str(torch_device),
        "examples": _digest(examples),
    }
    directory.mkdir(parents=True, exist_ok=True)
    return _train(fitted, read, examples, directory, origin, tell, None)


def resume(path: str | os.PathLike[str], data: Any = None, *, show: bool = True) -> Run:
    """Go on with an interrupted run.

    Under a budget in steps or epochs the result is, bit for bit, that of a run that was never
    interrupted, on the same machine and number of threads. A budget in seconds goes on with the
    seconds that are left.

    Args:
        path: the run directory.
        data: the data, if it was a frame or has moved.
        show: whether to tell how training goes.

    Raises:
        BundleError: when there is nothing to go on with, or the data is not the same any more.
    """
    tell = watcher(show)
    directory = Path(path)
    content = checkpoint.load(directory)
    origin = content["origin"]
    source = data if data is not None else origin["source"]
    if isinstance(source, str) and not source:
        raise BundleError(
            f"expected the data of {directory} again, got none: it was trained on a frame; "
            "give it as resume(path, data)"
        )
    task = task_from_json(origin["task"], origin["vocabulary"])
    read = task.read(source)
    examples = task.examples(read, "train")
    if _digest(examples) != origin["examples"]:
        raise BundleError(
            f"expected the data that {directory} was trained on, got other data in {source}; "
            "train anew, or restore the file"
        )
    tell.say(f"going on with {directory} at step {content['course']['step']}")
    return _train(task, read, examples, directory, origin, tell, content)


def _train(
    task: Task,
    data: Any,
    examples: list[Example],
    directory: Path,
    origin: dict[str, Any],
    tell: Watcher,
    content: dict[str, Any] | None,
) -> Run:
    config = TrainingConfig.model_validate(origin["training"])
    baselines = task.baselines(data)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = SequenceModel(ModelConfig.model_validate(origin["model"]))
        model = model.to(origin["device"])
        plan = _plan(task, examples, config)
        _describe(tell, task, model, plan, config, baselines)
        validation = task.examples(data, "validation")
        loop = Loop(
            task,
            model,
            plan,
            lambda: mean_loss(task, model, validation),
            config,
            directory,
            tell,
            origin,
        )
        if content is not None:
            loop.restore(content)
        try:
            with asked_to_stop() as wish:
                finished = loop.run(lambda: wish.asked)
        finally:
            tell.ended()
    if not finished:
        raise Interrupted(
            f"stopped at step {loop.course.step}, all saved; "
            f"go on with: throughtime train --resume {directory}"
        )
    tell.say(f"trained {loop.course.step} steps in {loop.course.seconds:.0f} s; evaluating")
    figures = results(task, task.evaluate(model, data), baselines)
    figures["training"] = {
        "steps": loop.course.step,
        "seconds": round(loop.course.seconds, 1),
        "best_step": loop.best.step,
        "skipped": loop.skipped,
        "parameters": model.parameter_count(),
    }
    run = save(
        directory,
        task,
        model,
        data=data,
        training=origin["training"],
        source=origin["source"],
        figures=figures,
    )
    checkpoint.remove(directory)
    return run


def _plan(task: Task, examples: list[Example], config: TrainingConfig) -> Lanes | Buckets:
    if task.independent:
        return Buckets(examples, config.lanes, config.seed)
    lanes = Lanes(examples, config.lanes, config.steps, config.seed)
    if config.bptt == "full":
        return Lanes(examples, config.lanes, lanes.lane_steps, config.seed)
    return lanes


def _lanes(examples: list[Example], asked: int | None, most: int, steps: int, task: Task) -> int:
    """Return how many lanes: as asked, or so many that each has some windows to carry over."""
    total = sum(map(len, examples))
    if total == 0:
        raise DataError("expected training rows, got none; give more data or another --split")
    if asked is not None:
        return asked
    if task.independent:
        return most
    return max(1, min(most, total // (_LEAST_WINDOWS_A_LANE * steps)))


def _describe(
    tell: Watcher,
    task: Task,
    model: SequenceModel,
    plan: Lanes | Buckets,
    config: TrainingConfig,
    baselines: dict[str, dict[str, dict[str, float]]],
) -> None:
    """Say what will be trained and what it has to beat."""
    how = (
        f"{plan.lanes} lanes x {plan.steps} steps, state carried"
        if isinstance(plan, Lanes)
        else f"batches of {plan.lanes} whole sequences"
    )
    tell.say(
        f"model {model.config.layer}, {model.parameter_count():,} parameters; {how}; "
        f"{len(plan)} windows an epoch; budget {config.budget}"
    )
    figure = "mse_scaled" if task.name == ForecastTask.name else "nats"
    shown = ", ".join(
        f"{name} {values[figure]:.4f}" for name, values in baselines[task.parts[-1]].items()
    )
    tell.say(f"to beat, {figure} on {task.parts[-1]}: {shown}")


def _task_name(data: Any, asked: str | None) -> str:
    if asked is not None:
        if asked not in NAMES:
            raise OptionError(f"expected a task among {', '.join(NAMES)}, got {asked!r}")
        return asked
    if not _is_path(data):
        return ForecastTask.name
    text = os.fspath(data)
    if text.startswith(DEMO_PREFIX):
        for demo in describe():
            if demo.source == text:
                return demo.task
        known = ", ".join(demo.source for demo in describe())
        raise DataError(f"expected a demo among {known}, got {text}")
    table = Path(text).suffix.lower() in _TABLE_SUFFIXES
    return ForecastTask.name if table else LanguageTask.name


def _is_path(data: Any) -> bool:
    return isinstance(data, str | os.PathLike)


def _device(asked: str) -> torch.device:
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked not in ("cpu", "cuda") or (asked == "cuda" and not torch.cuda.is_available()):
        has = "auto, cpu, cuda" if torch.cuda.is_available() else "auto, cpu (no GPU is visible)"
        raise OptionError(f"expected a device among {has}, got {asked!r}")
    return torch.device(asked)


def _new_directory(out: str | os.PathLike[str] | None, data: Any, task: str) -> Path:
    """Return where the run goes; what is there already is never written over."""
    if out is not None:
        path = Path(out)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OptionError(
                f"expected a new or empty folder for --out, got {path}, which holds something; "
                "choose another, or go on with an interrupted run by --resume"
            )
        return path
    stem = Path(str(data).removeprefix(DEMO_PREFIX)).stem if _is_path(data) else "frame"
    base = Path("runs") / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', stem)}-{task}"
    candidates = [base, *(base.with_name(f"{base.name}-{n}") for n in range(2, 10_000))]
    return next(path for path in candidates if not path.exists())


def _digest(examples: list[Example]) -> str:
    """Return what tells one set of training data from another."""
    digest = hashlib.sha256()
    for example in examples:
        for part in (example.inputs, example.targets, example.starts):
            digest.update(part.tobytes())
    return digest.hexdigest()


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _option_error(error: ValidationError) -> OptionError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "the configuration"
    return OptionError(
        f"expected {name} that is possible ({first['msg'].lower()}), got {first['input']!r}"
    )
