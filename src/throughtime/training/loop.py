"""The training loop: windows in order, state carried, one optimiser step a window.

This is the whole of it, for every task. It knows windows, gradients, the course and the checkpoint;
where data comes from and what becomes of the weights is `fit`'s business.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from throughtime import state as states
from throughtime.data.windows import Buckets, Lanes
from throughtime.errors import ThroughtimeError
from throughtime.model import SequenceModel
from throughtime.state import State
from throughtime.tasks.task import Task, tensors
from throughtime.training import checkpoint
from throughtime.training.config import TrainingConfig
from throughtime.training.gradients import clip, finite_lanes, window_loss
from throughtime.training.progress import Watcher
from throughtime.training.schedule import Course

REPORT_EVERY = 10
MOST_SKIPPED = 50


@dataclass
class Best:
    """The best weights so far, by validation loss."""

    loss: float = math.inf
    step: int = 0
    stale: int = 0
    weights: dict[str, Tensor] | None = None


class Loop:
    """One training run, from its first step or from a checkpoint.

    Args:
        task: gives the loss.
        model: trained in place.
        plan: the windows.
        validate: returns the validation loss of the model.
        config: how to train.
        directory: the run directory; checkpoint and `metrics.csv` go there.
        watcher: told how it goes.
        origin: kept in each checkpoint, for `fit` to find its data again.
    """

    def __init__(
        self,
        task: Task,
        model: SequenceModel,
        plan: Lanes | Buckets,
        validate: Callable[[], float],
        config: TrainingConfig,
        directory: Path,
        watcher: Watcher,
        origin: dict[str, Any],
    ) -> None:
        self.task = task
        self.model = model
        self.plan = plan
        self.validate = validate
        self.config = config
        self.directory = directory
        self.watcher = watcher
        self.origin = origin
        self.course = Course(config.budget, len(plan))
        self.best = Best()
        self.carried: State | None = None
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.recent = _Recent()
        self.optimiser = _optimiser(model, config)
        self.targets_per_window = _count_targets(plan) / len(plan)
        self.resumed_at: int | None = None
        self.last_validation = math.nan

    def run(self, stop: Callable[[], bool]) -> bool:
        """Train until the budget is used, patience is out, or `stop` says so.

        Returns:
            True when the run is finished; False when it was stopped, with its checkpoint written.
        """
        metrics = checkpoint.MetricsFile(self.directory / "metrics.csv", self.resumed_at)
        self.model.train()
        while not self._finished():
            if stop():
                self.save()
                return False
            began = time.monotonic()
            norm = self._step()
            self.course.stepped(time.monotonic() - began)
            self._tell()
            due = self.course.validation_due or self._finished()
            if due:
                self._validate()
            if due or self.course.step % REPORT_EVERY == 0:
                metrics.add(self._row(norm, validated=due))
                self.recent = _Recent()
            if due:
                self.save()
        if self.best.weights is not None:
            self.model.load_state_dict(self.best.weights)
        return True

    def save(self) -> None:
        """Write a checkpoint from which `restore` goes on."""
        checkpoint.save(
            self.directory,
            {
                "origin": self.origin,
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "carried": None if self.carried is None else states.leaves(self.carried),
                "random": torch.get_rng_state(),
                "course": {
                    name: value
                    for name, value in vars(self.course).items()
                    if name not in ("budget", "windows")
                },
                "best": vars(self.best),
                "skipped": [self.skipped, self.skipped_in_a_row],
                "recent": vars(self.recent),
            },
        )

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from a checkpoint that `save` wrote."""
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimiser"])
        if content["carried"] is not None:
            lanes = len(content["carried"][0])
            device = next(self.model.parameters()).device
            like = self.model.initial_state(lanes, device=device)
            kept = iter(content["carried"])
            self.carried = states.tree_map(lambda leaf: next(kept).to(leaf.device), like)
        for name, value in content["course"].items():
            setattr(self.course, name, value)
        self.best = Best(**content["best"])
        self.skipped, self.skipped_in_a_row = content["skipped"]
        self.recent = _Recent(**content["recent"])
        self.resumed_at = self.course.step
        torch.set_rng_state(content["random"])

    def _finished(self) -> bool:
        patience = self.config.patience
        return self.course.finished or (patience is not None and self.best.stale >= patience)

    def _step(self) -> float:
        """Take one optimiser step on the next window and return the gradient's norm."""
        epoch, cursor = divmod(self.course.step, len(self.plan))
        device = next(self.model.parameters()).device
        window = tensors(self.plan.window(epoch, cursor), device)
        carried = self.carried if self.plan.carries and cursor else None
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * self.course.rate()
        loss = window_loss(self.task, self.model, window, carried, chunks=self.config.chunks)
        self.optimiser.zero_grad()
        # Each target weighs the same, whichever window it is in.
        torch.autograd.backward(loss.total / self.targets_per_window)
        norm, culprit = clip(self.model.named_parameters(), self.config.clip)
        self.carried = states.detach(loss.state) if self.plan.carries else None
        if culprit is None:
            self.optimiser.step()
            self.skipped_in_a_row = 0
            self.recent.add(float(loss.total.detach()), int(loss.targets))
        else:
            self._skip(culprit)
        return norm

    def _skip(self, culprit: str) -> None:
        """Leave the weights as they are, and free the carried state of what is not finite."""
        self.skipped += 1
        self.skipped_in_a_row += 1
        self.optimiser.zero_grad()
        self.watcher.say(
            f"step {self.course.step + 1}: the gradient of {culprit} is not finite; step skipped, "
            f"{self.skipped} so far"
        )
        if self.skipped_in_a_row >= MOST_SKIPPED:
            raise ThroughtimeError(
                f"expected finite gradients, got {MOST_SKIPPED} steps in a row without, last at "
                f"{culprit}; lower --learning-rate or look for extreme values in the data"
            )
        if self.carried is not None:
            lanes = states.lanes(self.carried)
            fresh = self.model.initial_state(lanes, device=next(self.model.parameters()).device)
            self.carried = states.detach(
                states.where(finite_lanes(self.carried), self.carried, fresh)
            )

    def _validate(self) -> None:
        began = time.monotonic()
        loss = self.validate()
        self.best.stale += 1
        better = loss < self.best.loss
        if better:
            weights = {name: value.clone() for name, value in self.model.state_dict().items()}
            self.best = Best(loss, self.course.step, 0, weights)
        self.last_validation = loss
        self.watcher.validated(self.course.step, loss, better)
        self.course.validated(time.monotonic() - began)

    def _tell(self) -> None:
        speed = 1 / self.course.step_seconds if self.course.step_seconds else 0.0
        self.watcher.stepped(self.course.progress, self.course.step, self.recent.mean, speed)

    def _row(self, norm: float, *, validated: bool) -> dict[str, float | int | str]:
        return {
            "step": self.course.step,
            "epoch": (self.course.step - 1) // len(self.plan),
            "seconds": round(self.course.seconds, 3),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "loss": self.recent.mean,
            "gradient_norm": norm,
            "skipped": self.skipped,
            "validation_loss": self.last_validation if validated else "",
        }


@dataclass
class _Recent:
    """The loss since the last report."""

    total: float = 0.0
    count: int = 0

    def add(self, total: float, count: int) -> None:
        self.total += total
        self.count += count

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else math.nan


def _optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices alone (Loshchilov and Hutter 2019)."""
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1]},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )


def _count_targets(plan: Lanes | Buckets) -> int:
    """Return how many targets an epoch has."""
    return sum(
        int((example.targets >= 0).sum())
        if example.targets.dtype.kind == "i"
        else int((example.targets == example.targets).sum())
        for example in plan.examples
    )
