"""The course of a training run: how far it is, its learning rate, when it validates and ends."""

import math
from dataclasses import dataclass

from throughtime.training.config import Budget

WARM_UP_STEPS = 50
WARM_UP_SHARE = 0.1
LAST_RATE = 0.02
VALIDATIONS = 12
_VALIDATION_SHARE = 20


@dataclass
class Course:
    """Where a run is and where it ends. Only a budget in seconds looks at the clock.

    Attributes:
        budget: how long to train.
        windows: windows in an epoch.
        step: optimiser steps done, skipped ones included.
        seconds: seconds trained, in this and earlier sittings.
        validated_at: seconds or steps at the last validation.
        validation_seconds: how long the last validation took.
        step_seconds: how long a step takes, as a running mean.
    """

    budget: Budget
    windows: int
    step: int = 0
    seconds: float = 0.0
    validated_at: float = 0.0
    validation_seconds: float = 0.0
    step_seconds: float = 0.0

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run; None under a budget in seconds."""
        if self.budget.kind == "seconds":
            return None
        return int(self.budget.amount) * (self.windows if self.budget.kind == "epochs" else 1)

    @property
    def progress(self) -> float:
        """How much of the budget is used, 0 to 1."""
        total = self.total_steps
        used = self.seconds / self.budget.amount if total is None else self.step / total
        return min(used, 1.0)

    @property
    def finished(self) -> bool:
        """Whether the budget is used up, with time left for the last validation."""
        total = self.total_steps
        if total is not None:
            return self.step >= total
        return self.seconds + self.step_seconds + self.validation_seconds >= self.budget.amount

    @property
    def validation_due(self) -> bool:
        """Whether it is time to validate, within about a twentieth of the time spent on it."""
        total = self.total_steps
        if total is not None:
            return self.step - self.validated_at >= max(1, total // VALIDATIONS)
        pause = max(self.budget.amount / 24, _VALIDATION_SHARE * self.validation_seconds)
        return self.seconds - self.validated_at >= pause

    def rate(self) -> float:
        """Return the factor on the learning rate: a linear warm-up, then half a cosine.

        The warm-up lasts 50 steps or a tenth of the budget, whichever is less.
        """
        total = self.total_steps
        share = self.progress if total is None else (self.step + 1) / total
        warm = min(1.0, max((self.step + 1) / WARM_UP_STEPS, share / WARM_UP_SHARE))
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
        return warm * (LAST_RATE + (1 - LAST_RATE) * cosine)

    def stepped(self, seconds: float) -> None:
        """Note a step that took so long."""
        self.step += 1
        self.seconds += seconds
        weight = max(0.1, 1 / self.step)
        self.step_seconds += weight * (seconds - self.step_seconds)

    def validated(self, seconds: float) -> None:
        """Note a validation that took so long."""
        self.seconds += seconds
        self.validation_seconds = seconds
        self.validated_at = self.seconds if self.total_steps is None else float(self.step)

    def spent(self, seconds: float) -> None:
        """Note time that went into reports and checkpoints."""
        self.seconds += seconds

    def progress_made(self) -> dict[str, float | int]:
        """Return what changes on the way, as keyword arguments for a `Course` that goes on."""
        fixed = ("budget", "windows")
        return {name: value for name, value in vars(self).items() if name not in fixed}
