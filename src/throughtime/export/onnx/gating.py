"""The graphs of a run as the gate runs them.

The gate knows what the network reads and puts out, so of a forecasting graph the network is cut out
of the very file that is shipped; raw rows go through the whole of it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from throughtime.export.onnx.forecast import FEATURES, HELD, OUTPUTS, QUANTILES
from throughtime.export.onnx.graph import cut, describe
from throughtime.export.onnx.language import LOGITS, SYMBOLS
from throughtime.export.onnx.network import LANES, STEPS, of_model
from throughtime.export.onnx.sessions import Session
from throughtime.run import Run
from throughtime.tasks.forecast import ForecastTask


class _GraphRunner:
    """What both graphs have in common: lanes, their state, and which values are asked for."""

    steps: tuple[str, ...]

    def __init__(self, run: Run, model: Any) -> None:
        self._run = run
        self._network = of_model(run.model)
        self._leaves = self._network.layout.leaves
        self._names = (SYMBOLS, LOGITS)
        self._whole: Session | None = None
        sizes = [LANES, *self.steps]
        task = run.task
        if isinstance(task, ForecastTask):
            self._names = (FEATURES, OUTPUTS)
            outputs = [
                describe(OUTPUTS, "float32", [*sizes, self._network.output_size]),
                *(describe(leaf.present, leaf.kind, [LANES, *leaf.shape]) for leaf in self._leaves),
            ]
            features = describe(FEATURES, "float32", [*sizes, task.features.size])
            self._session = Session(cut(model, [features], outputs))
            self._whole = Session(model)
        else:
            self._session = Session(model)
        self._state: list[Tensor] = []
        self._fresh = torch.zeros(0, dtype=torch.bool)

    def begin(self, lanes: int) -> None:
        """Have so many lanes, all before their first step."""
        self._state = self._network.layout.example(lanes)
        # A stream begins as whoever has no initial state begins it: by a reset.
        self._fresh = torch.ones(lanes, dtype=torch.bool)

    def state(self) -> dict[str, Tensor]:
        """Return the leaves of the lanes' states by the names that the run has for them."""
        prefix = "layers." if self._run.config.model.embedding_dropout else ""
        return {
            self._run_name(prefix, leaf.name): each
            for leaf, each in zip(self._leaves, self._state, strict=True)
        }

    def _run_name(self, prefix: str, name: str) -> str:
        return prefix.rstrip(".") if prefix and name == "state" else f"{prefix}{name}"

    def _past(self) -> dict[str, Tensor]:
        return {leaf.past: each for leaf, each in zip(self._leaves, self._state, strict=True)}

    def _begun(self, present: Tensor, resets: Tensor) -> Tensor:
        """Return resets (B, T) with those of lanes whose first step is among these."""
        starting = self._fresh & present[:, 0]
        self._fresh = self._fresh & ~present[:, 0]
        begun = resets.clone()
        begun[:, 0] |= starting
        return begun


class SequenceRunner(_GraphRunner):
    """Runs `sequence.onnx`."""

    steps = (STEPS,)

    def run(self, inputs: Tensor, present: Tensor, resets: Tensor) -> Tensor:
        """Run steps, as `Runner.run` says; those that are there come first in each lane."""
        given = {
            self._names[0]: inputs,
            "lengths": present.sum(1),
            "resets": self._begun(present, resets),
        }
        made = self._session.run(given | self._past())
        self._state = [made[leaf.present] for leaf in self._leaves]
        return made[self._names[1]]

    def answer(self, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the quantiles of raw rows; symbols are made by the runner, not by the graph."""
        task = self._run.task
        if not isinstance(task, ForecastTask) or self._whole is None:
            return {}
        given = {name: each[None] for name, each in rows_of(task, sample).items()}
        count = len(sample["y"])
        given |= {
            "series": torch.tensor([series_of(task, sample)]),
            "lengths": torch.tensor([count]),
            "resets": sample["restarts"][None],
            f"past_{HELD}": torch.zeros(1, 1 + len(task.format.covariates), dtype=torch.float64),
        }
        self.begin(1)
        return {"quantiles": self._whole.run(given | self._past())[QUANTILES][0]}


class StepRunner(_GraphRunner):
    """Runs `step.onnx`, step by step."""

    steps = ()

    def run(self, inputs: Tensor, present: Tensor, resets: Tensor) -> Tensor:
        """Run steps, as `Runner.run` says."""
        resets = self._begun(present, resets)
        outputs = []
        for step in range(inputs.shape[1]):
            given = {self._names[0]: inputs[:, step], "reset": resets[:, step]}
            made = self._session.run(given | self._past())
            here = present[:, step]
            if here.all():
                self._state = [made[leaf.present] for leaf in self._leaves]
            else:
                self._state = [
                    torch.where(here.view(-1, *[1] * (old.dim() - 1)), made[leaf.present], old)
                    for leaf, old in zip(self._leaves, self._state, strict=True)
                ]
            outputs.append(made[self._names[1]])
        return torch.stack(outputs, dim=1)

    def answer(self, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the quantiles of raw rows."""
        task = self._run.task
        if not isinstance(task, ForecastTask) or self._whole is None:
            return {}
        rows = rows_of(task, sample)
        series = torch.tensor([series_of(task, sample)])
        held = torch.zeros(1, 1 + len(task.format.covariates), dtype=torch.float64)
        self.begin(1)
        found = []
        for step in range(len(sample["y"])):
            given = {name: each[step : step + 1] for name, each in rows.items()}
            given |= {"series": series, "reset": sample["restarts"][step : step + 1]}
            made = self._whole.run(given | {f"past_{HELD}": held} | self._past())
            held = made[f"present_{HELD}"]
            self._state = [made[leaf.present] for leaf in self._leaves]
            found.append(made[QUANTILES][0])
        return {"quantiles": torch.stack(found)}


def series_of(task: ForecastTask, sample: Mapping[str, Tensor]) -> int:
    """Return the number of a sample's series, or that of any other."""
    names = list(task.scaler.series)
    name = "".join(map(chr, sample["unique_id"].tolist()))
    return names.index(name) if name in names else len(names)


def rows_of(task: ForecastTask, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a sample's rows (T, ...) as a graph has them: y, covariates and future.

    What a row knows of the future is what later rows of the sample say.
    """
    y, covariates = sample["y"].double(), sample["covariates"].double()
    found = {"y": y}
    if covariates.shape[1]:
        found["covariates"] = covariates
    if task.features.known:
        horizon = task.options.horizon
        later = torch.full((len(y), len(task.features.known), horizon), torch.nan).double()
        for place, index in enumerate(task.features.known):
            for k in range(min(horizon, len(y) - 1)):
                later[: len(y) - k - 1, place, k] = covariates[k + 1 :, index]
        found["future"] = later
    return found
