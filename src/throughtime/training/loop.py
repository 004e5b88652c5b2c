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
from throughtime.errors import BundleError, ThroughtimeError
from throughtime.model import SequenceModel
from throughtime.state import State
from throughtime.tasks.task import Task, tensors
from throughtime.training import checkpoint
from throughtime.training.config import TrainingConfig
from throughtime.training.gradients import clip, finite_lanes, window_loss
from throughtime.training.progress import Watcher
from throughtime.training.schedule import Course
from throughtime.training.watching import GradientsSeen

REPORT_EVERY = 10
MOST_SKIPPED = 50
SAVE_EVERY_SECONDS = 300.0


@dataclass
class Best:
    """The best weights so far, by validation loss."""

    loss: float = math.inf
    step: int = 0
    stale: int = 0
    weights: dict[str, Tensor] | None = None


@dataclass
class Recent:
    """The loss since the last report, summed over targets."""

    total: float = 0.0
    count: int = 0

    def add(self, total: float, count: int) -> None:
        """Note the summed loss of so many targets."""
        self.total += total
        self.count += count

    @property
    def mean(self) -> float:
        """Loss per target; NaN where there was none."""
        return self.total / self.count if self.count else math.nan


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
        clock: returns seconds; only differences count.
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
        clock: Callable[[], float] = time.monotonic,
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
        self.recent = Recent()
        self.optimiser = _optimiser(model, config)
        self.device = next(model.parameters()).device
        self.targets_per_window = sum(map(count_targets, plan.examples)) / len(plan)
        self.resumed_at: int | None = None
        self.seen = GradientsSeen(task, model, watcher) if config.watch_gradients else None
        self._clock = clock
        self._lap_began = 0.0

    def run(self, stop: Callable[[], bool]) -> bool:
        """Train until the budget is used, patience is out, or `stop` says so.

        The checkpoint is renewed at each validation, and every few minutes where these are rare.

        Returns:
            True when the run is finished, False when it was stopped; its checkpoint is written.

        Raises:
            ThroughtimeError: when no gradient is finite any more.
        """
        metrics = checkpoint.MetricsFile(
            self.directory / "metrics.csv",
            self.resumed_at,
            GradientsSeen.COLUMNS if self.seen else (),
        )
        self.model.train()
        self._lap_began = self._clock()
        saved_at = self.course.seconds
        saved_step = self.resumed_at
        finished = self._finished()
        while not finished:
            if stop():
                self.save()
                return False
            norm = self._step()
            self.course.stepped(self._lap())
            self._tell()
            due = self.course.validation_due or self.course.finished
            validation_loss = self._validate() if due else None
            if due or self.course.step % REPORT_EVERY == 0:
                seen = self.seen.look(self.course.step) if due and self.seen else {}
                metrics.add(self._row(norm, validation_loss) | seen)
                self.recent = Recent()
            if due or self.course.seconds - saved_at >= SAVE_EVERY_SECONDS:
                self.save()
                saved_at, saved_step = self.course.seconds, self.course.step
            self.course.spent(self._lap())
            finished = self._finished()
        if saved_step != self.course.step:
            self.save()
        if self.best.weights is not None:
            self.model.load_state_dict(self.best.weights)
        return True

    def save(self) -> None:
        """Write a checkpoint from which `restore` goes on.

        Raises:
            BundleError: when it can't be written.
        """
        checkpoint.save(
            self.directory,
            {
                "origin": self.origin,
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "carried": None if self.carried is None else states.leaves(self.carried),
                "random": torch.get_rng_state(),
                "course": self.course.progress_made(),
                "best": vars(self.best),
                "skipped": [self.skipped, self.skipped_in_a_row],
                "recent": vars(self.recent),
            },
        )

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from a checkpoint that `save` wrote.

        Raises:
            BundleError: when it is not one of such a model.
        """
        try:
            self.model.load_state_dict(content["model"])
            self.optimiser.load_state_dict(content["optimiser"])
            if content["carried"] is not None:
                lanes = len(content["carried"][0])
                like = self.model.initial_state(lanes, device=self.device)
                kept = iter(content["carried"])
                self.carried = states.tree_map(lambda leaf: next(kept).to(leaf.device), like)
            self.course = Course(self.config.budget, len(self.plan), **content["course"])
            self.best = Best(**content["best"])
            self.skipped, self.skipped_in_a_row = content["skipped"]
            self.recent = Recent(**content["recent"])
            torch.set_rng_state(content["random"])
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError, StopIteration) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise BundleError(
                f"expected a checkpoint of this version in {self.directory}, got one that does "
                f"not fit ({reason[:200]}); train again"
            ) from None
        self.resumed_at = self.course.step

    def _finished(self) -> bool:
        patience = self.config.patience
        return self.course.finished or (patience is not None and self.best.stale >= patience)

    def _step(self) -> float:
        """Take one optimiser step on the next window and return the gradient's norm."""
        epoch, cursor = divmod(self.course.step, len(self.plan))
        window = tensors(self.plan.window(epoch, cursor), self.device)
        carried = self.carried if self.plan.carries and cursor else None
        if self.seen:
            self.seen.began(window, carried)
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
            fresh = self.model.initial_state(states.lanes(self.carried), device=self.device)
            self.carried = states.detach(
                states.where(finite_lanes(self.carried), self.carried, fresh)
            )

    def _validate(self) -> float:
        """Validate, keep the weights if they are the best so far, and return the loss.

        While all are NaN, as without validation targets, they say nothing and patience lasts.
        """
        loss = self.validate()
        if math.isnan(loss) and self.best.weights is None:
            self.course.validated(self._lap())
            return loss
        better = loss < self.best.loss
        if better:
            weights = {name: value.clone() for name, value in self.model.state_dict().items()}
            self.best = Best(loss, self.course.step, 0, weights)
        else:
            self.best.stale += 1
        self.watcher.validated(self.course.step, loss, better)
        self.course.validated(self._lap())
        return loss

    def _lap(self) -> float:
        """Return the seconds since the last lap."""
        began, self._lap_began = self._lap_began, self._clock()
        return self._lap_began - began

    def _tell(self) -> None:
        speed = 1 / self.course.step_seconds if self.course.step_seconds else 0.0
        self.watcher.stepped(self.course.progress, self.course.step, self.recent.mean, speed)

    def _row(self, norm: float, validation_loss: float | None) -> dict[str, float | int | str]:
        return {
            "step": self.course.step,
            "epoch": (self.course.step - 1) // len(self.plan),
            "seconds": round(self.course.seconds, 3),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "loss": self.recent.mean,
            "gradient_norm": norm,
            "skipped": self.skipped,
            "validation_loss": "" if validation_loss is None else validation_loss,
        }


def count_targets(example: Any) -> int:
    """Return how many targets an example has."""
    targets = example.targets
    # NaN is the only number that differs from itself.
    return int(((targets >= 0) if targets.dtype.kind == "i" else (targets == targets)).sum())


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
