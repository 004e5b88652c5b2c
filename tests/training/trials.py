"""What the tests of training share: small data, loops without a run, interruptions at will."""

import csv
import importlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import throughtime as tt
from throughtime.data.findings import Findings
from throughtime.data.tables import read_table
from throughtime.data.text import Text
from throughtime.data.windows import Example, Lanes
from throughtime.model import SequenceModel
from throughtime.tasks.forecast import ForecastOptions, ForecastTask
from throughtime.tasks.language import LanguageOptions, LanguageTask
from throughtime.training.config import TrainingConfig
from throughtime.training.loop import Loop
from throughtime.training.progress import Watcher

# The module, whose name in its package is the function's.
fitting = importlib.import_module("throughtime.training.fit")

WORDS = "so much depends upon a red wheel barrow glazed with rain water "


def frame(rows: int = 120, series: int = 1, *, missing: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """Noisy waves, in long format, with a covariate and some values missing."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(series):
        t = np.arange(rows)
        y = 10 * number + np.sin(t / 3) + 0.1 * rng.normal(size=rows)
        y[rng.random(rows) < missing] = np.nan
        parts.append(
            pl.DataFrame({"unique_id": [f"s{number}"] * rows, "ds": t, "y": y, "x": np.cos(t / 3)})
        )
    return pl.concat(parts).with_columns(pl.col("y").fill_nan(None))


def forecast(horizon: int = 1, head: str = "quantile", **options: Any) -> tuple[ForecastTask, Any]:
    table = read_table(frame(**options), season=1)
    return ForecastTask.fit(table, ForecastOptions(horizon=horizon, head=head)), table


def text(length: int = 600, *, independent: bool = False, seed: int = 0) -> Text:
    rng = np.random.default_rng(seed)
    words = WORDS.split()
    said = " ".join(words[i] for i in rng.integers(len(words), size=length // 4))[:length]
    documents = tuple(said.split(" so ")) if independent else (said,)
    return Text("words", documents, independent, Findings())


def language(**options: Any) -> tuple[LanguageTask, Text]:
    said = text(**options)
    return LanguageTask.fit(said, LanguageOptions()), said


def model_for(task: Any, layer: str = "gru:6", **options: Any) -> SequenceModel:
    small = {"embedding": 5} if isinstance(task, LanguageTask) else {}
    torch.manual_seed(1)
    return SequenceModel(task.model_config(layer, **small, **options))


def config(budget: str = "20steps", **options: Any) -> TrainingConfig:
    usual: dict[str, Any] = {"lanes": 3, "steps": 8, "learning_rate": 1e-2}
    return TrainingConfig(budget=budget, **usual | options)  # type: ignore[arg-type]


def loop_for(
    folder: Path,
    task: Any,
    examples: list[Example],
    model: SequenceModel,
    settings: TrainingConfig,
    *,
    validate: Callable[[], float] = lambda: 1.0,
    **options: Any,
) -> Loop:
    plan = Lanes(examples, settings.lanes, settings.steps, settings.seed)
    watcher = options.pop("watcher", Watcher())
    return Loop(task, model, plan, validate, settings, folder, watcher, {}, **options)


class Heard(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def snapshot(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class _Wish:
    def __init__(self, at: int) -> None:
        self.left = at

    @property
    def asked(self) -> bool:
        self.left -= 1
        return self.left < 0


@contextmanager
def stopping(monkeypatch: Any, at: float) -> Iterator[None]:
    """Let training wish to stop after so many steps of this sitting."""

    @contextmanager
    def asked_to_stop() -> Iterator[Any]:
        yield _Wish(at if math.isfinite(at) else 10**9)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "asked_to_stop", asked_to_stop)
        yield


def metrics(folder: Path) -> list[dict[str, str]]:
    """Rows of `metrics.csv`, all columns but the clock's."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


def outcome(run: tt.Run) -> tuple[dict[str, torch.Tensor], list[dict[str, str]], dict[str, Any]]:
    """What a run came to: weights, rows, figures; all of it but the clock's."""
    figures = json.loads((run.path / "results.json").read_text())
    del figures["training"]["seconds"]
    return snapshot(run.model), metrics(run.path), figures
