"""Gradients through time while training goes on: what `watch_gradients` tells and writes."""

import math

from torch import Tensor

from throughtime.inspect.gradients import GradientByLag
from throughtime.inspect.loss import gradients_of_window
from throughtime.model import SequenceModel
from throughtime.state import State
from throughtime.tasks.task import Task
from throughtime.training.progress import Watcher

SHARE = 0.9
"""Of all gradients, that the column `gradient_reach` says the lag of."""


class GradientsSeen:
    """Looks at the window that was trained on last, when asked.

    Args:
        task: gives the loss.
        model: what is trained.
        watcher: told what is seen.
    """

    COLUMNS = ("gradient_slope", "gradient_half_life", "gradient_reach", "gradient_underflow")

    def __init__(self, task: Task, model: SequenceModel, watcher: Watcher) -> None:
        self.task = task
        self.model = model
        self.watcher = watcher
        self._window: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._carried: State | None = None

    def began(self, window: tuple[Tensor, Tensor, Tensor, Tensor], carried: State | None) -> None:
        """Note a window that is about to be trained on, and the state before it."""
        self._window, self._carried = window, carried

    def look(self, step: int) -> dict[str, float | int | str]:
        """Measure, tell, and return a value for each column; empty ones where nothing is there."""
        found = None
        if self._window is not None:
            found = gradients_of_window(self.task, self.model, self._window, self._carried)
        if found is None or not math.isfinite(found.slope):
            self.watcher.say(f"step {step}: no gradients through time in this window")
            return dict.fromkeys(self.COLUMNS, "")
        reach = found.reach(SHARE)
        self.watcher.say(
            f"step {step}: {_in_words(found)}; {SHARE:.0%} of them within {reach} steps"
        )
        underflow = "" if found.underflow is None else found.underflow
        return dict(
            zip(self.COLUMNS, (found.slope, found.half_life, reach, underflow), strict=True)
        )


def _in_words(found: GradientByLag) -> str:
    if found.slope > 0:
        text = f"gradients double in {found.doubling:.3g} steps back, so they explode"
    else:
        text = f"gradients halve in {found.half_life:.3g} steps back"
    if found.underflow is not None:
        text += f", below what float32 holds from {found.underflow} on"
    return text
