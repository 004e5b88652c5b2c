"""From data to a run: the whole way, in one call.

`fit` reads the data, scores the baselines, trains, evaluates and writes the run directory;
`resume` goes on with a run that was interrupted.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError

from throughtime import layers
from throughtime.data.tables import read_table
from throughtime.data.text import Mode, read_text
from throughtime.data.windows import Buckets, Lanes
from throughtime.errors import BundleError, OptionError
from throughtime.kernels import threads_for
from throughtime.model import ModelConfig, SequenceModel
from throughtime.run import Run, locate, results, save, task_from_json
from throughtime.tasks.forecast import ForecastOptions, ForecastTask, Head
from throughtime.tasks.language import LanguageOptions, LanguageTask
from throughtime.tasks.task import Task, mean_loss
from throughtime.training import checkpoint, choices
from throughtime.training.config import Budget, TrainingConfig
from throughtime.training.interrupt import Interrupted, asked_to_stop
from throughtime.training.loop import Loop, count_targets
from throughtime.training.progress import Watcher, watcher


def fit(
    data: Any,
    *,
    task: str | None = None,
    layer: str | None = None,
    out: str | os.PathLike[str] | None = None,
    budget: str | int | float = "60s",
    seed: int = 0,
    device: str = "auto",
    split: str | None = None,
    horizon: int | None = None,
    head: Head | None = None,
    mode: Mode | None = None,
    reading: Mapping[str, Any] | None = None,
    embedding: int | None = None,
    embedding_dropout: float | None = None,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    zoneout: float = 0.0,
    weight_drop: float = 0.0,
    memory: int | None = None,
    learned_initial_state: bool = False,
    negative_eigenvalues: bool = False,
    lanes: int | None = None,
    window: int | None = None,
    bptt: Literal["truncated", "full"] | None = None,
    chunks: int = 1,
    learning_rate: float | None = None,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    patience: int | None = None,
    watch_gradients: bool = False,
    show: bool = True,
) -> Run:
    """Train a model on data and write its run directory.

    Args:
        data: a CSV, Parquet or text file, a polars or pandas frame, or `demo:NAME`.
        task: "forecast" or "language"; by the kind of data when None.
        layer: the layers, such as "gru:64x2", "gru:256,128,64", "gru:64x2+attention:64" or
            "rg_lru:192x4:conv:block"; the task's own choice when None.
        out: the run directory; a new one below `runs/` when None.
        budget: how long to train: "60s", "500steps", "3epochs"; a number without a unit is refused.
        seed: of everything random.
        device: "auto", "cpu", "cuda".
        split: shares such as "70/15/15" (tables) or "90/10" (text), in time order.
        horizon: h, steps ahead, for forecasts; 1 when None.
        head: "quantile" (when None) or "gaussian", for forecasts.
        mode: "characters" (when None) or "bytes", for text.
        reading: options of `throughtime.data.read_table`, for tables.
        embedding: size of a symbol's vector, for text; 128 when None.
        embedding_dropout: share of the symbols dropped, for text; 0 when None.
        dropout: share dropped between layers.
        recurrent_dropout: share of h that the gates of classic layers do not see.
        zoneout: share of units of classic layers that stay as they are at a step.
        weight_drop: share of recurrent weights of classic layers dropped.
        memory: steps that the gates should remember from the start (chrono initialisation).
        learned_initial_state: whether the state that a sequence starts from is learned.
        negative_eigenvalues: whether linear recurrences may turn their states around at a step,
            which counting modulo two needs.
        lanes: B; as many as the data fills, up to the task's choice, when None.
        window: T of a window; the task's choice when None.
        bptt: "truncated" (when None) or "full"; independent sequences are always read whole.
        chunks: pieces to recompute under full BPTT.
        learning_rate: the highest; the task's choice when None.
        weight_decay: of AdamW.
        clip: the gradient norm allowed.
        patience: validations without improvement before stopping early.
        watch_gradients: whether to measure how far back gradients reach, at each validation.
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
    name = choices.task_name(data, task)
    given = choices.fractions(split, name)
    parsed = Budget.parse(budget)
    torch_device = choices.device(device)
    directory = choices.new_directory(out, data, name)
    for_tables = choices.said(horizon=horizon, head=head)
    for_text = choices.said(mode=mode)
    for_symbols = choices.said(embedding=embedding, embedding_dropout=embedding_dropout)
    fitted: Task
    try:
        if name == ForecastTask.name:
            choices.refuse({**for_text, **for_symbols}, name)
            share = {"training_share": given["fractions"][0]} if given else {}
            read: Any = read_table(data, **choices.reading(reading), **share)
            fitted = ForecastTask.fit(read, ForecastOptions(**for_tables, **given))
        else:
            choices.refuse({**for_tables, **(reading or {})}, name)
            read = read_text(data, **for_text)
            fitted = LanguageTask.fit(read, LanguageOptions(**for_text, **given))
        recipe = fitted.recipe
        steps = choices.window(fitted, window, bptt)
        whole = bptt == "full" or fitted.independent
        if chunks > 1 and not whole:
            raise OptionError(
                f"expected bptt='full' with chunks, got 'truncated' and {chunks} chunks"
            )
        examples = fitted.examples(read, "train")
        choices.check_targets(examples)
        config = TrainingConfig(
            budget=parsed,
            lanes=choices.lanes(examples, lanes, recipe.lanes, steps, fitted),
            steps=steps,
            bptt="full" if whole else "truncated",
            chunks=chunks,
            learning_rate=recipe.learning_rate if learning_rate is None else learning_rate,
            weight_decay=weight_decay,
            clip=clip,
            patience=patience,
            seed=seed,
            watch_gradients=watch_gradients,
        )
        if whole and not fitted.independent:
            config = choices.whole_lanes(examples, config)
        model_config = fitted.model_config(
            str(layers.parse(recipe.layer if layer is None else layer)),
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            weight_drop=weight_drop,
            memory=memory,
            learned_initial_state=learned_initial_state,
            negative_eigenvalues=negative_eigenvalues,
            **for_symbols,
        )
        choices.check_layers(model_config)
    except ValidationError as error:
        raise choices.option_error(error) from None
    for line in read.findings.lines:
        tell.say(line)
    source = os.fspath(data) if choices.is_path(data) else ""
    origin = {
        "source": source,
        "place": os.path.abspath(source) if os.path.exists(source) else source,
        "task": {"name": name, **fitted.to_json()},
        "vocabulary": fitted.vocabulary_json(),
        "model": model_config.model_dump(mode="json"),
        "training": config.model_dump(mode="json"),
        "device": str(torch_device),
        "data": _digest(fitted, read),
    }
    return _train(fitted, read, directory, origin, tell, None)


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
    source = data
    if data is None:
        near = locate(origin["source"], directory)
        source = near if os.path.exists(near) else origin["place"]
    if isinstance(source, str) and not source:
        raise BundleError(
            f"expected the data of {directory} again, got none: it was trained on a frame; "
            "give it as resume(path, data)"
        )
    task = task_from_json(origin["task"], origin["vocabulary"])
    read = task.read(source)
    if _digest(task, read) != origin["data"]:
        raise BundleError(
            f"expected the data that {directory} was trained on, got other data"
            f"{f' in {source}' if choices.is_path(source) else ''}; train anew, or restore the file"
        )
    tell.say(f"going on with {directory} at step {content['course']['step']}")
    return _train(task, read, directory, origin, tell, content)


def _train(
    task: Task,
    data: Any,
    directory: Path,
    origin: dict[str, Any],
    tell: Watcher,
    content: dict[str, Any] | None,
) -> Run:
    config = TrainingConfig.model_validate(origin["training"])
    plan = choices.plan(task, task.examples(data, "train"), config)
    validation = task.examples(data, "validation")
    baselines = task.baselines(data)
    # The caller's random numbers are left alone; nothing draws from a GPU's generator.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        model = SequenceModel(ModelConfig.model_validate(origin["model"]))
        model = model.to(choices.device(origin["device"]))
        _describe(tell, task, model, plan, config, baselines)
        if not sum(map(count_targets, validation)):
            tell.say("no validation targets: the last weights are kept")
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
        if content is None:
            choices.make_directory(directory)
        else:
            loop.restore(content)
        try:
            work = plan.lanes * model.parameter_count()
            with asked_to_stop() as wish, threads_for(work):
                finished = loop.run(lambda: wish.asked)
        finally:
            tell.ended()
    stopped = Interrupted(
        f"stopped at step {loop.course.step}, all saved; "
        f"go on with: throughtime train --resume {directory}"
    )
    if not finished:
        raise stopped
    tell.say(f"trained {loop.course.step} steps in {loop.course.seconds:.0f} s; evaluating")
    try:
        run = _finish(task, data, loop, baselines)
    except KeyboardInterrupt:
        raise stopped from None
    checkpoint.remove(directory)
    return run


def _finish(
    task: Task, data: Any, loop: Loop, baselines: dict[str, dict[str, dict[str, float]]]
) -> Run:
    """Evaluate the model that training left, and write its run directory."""
    model = loop.model
    figures = results(task, task.evaluate(model, data), baselines)
    figures["training"] = {
        "steps": loop.course.step,
        "seconds": round(loop.course.seconds, 1),
        "best_step": loop.best.step,
        "skipped": loop.skipped,
        "parameters": model.parameter_count(),
    }
    return save(
        loop.directory,
        task,
        model,
        data=data,
        training=loop.origin["training"],
        source=loop.origin["source"],
        figures=figures,
    )


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


def _digest(task: Task, data: Any) -> str:
    """Return what tells one set of data, as a task reads it, from another."""
    digest = hashlib.sha256()
    for part in task.parts:
        for example in task.examples(data, part):
            digest.update(f"{part} {len(example)} ".encode())
            for column in (example.inputs, example.targets, example.starts):
                digest.update(column.tobytes())
    return digest.hexdigest()
