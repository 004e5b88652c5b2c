"""The memory report of a trained model: every figure that is called its memory, side by side."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from throughtime.data.windows import Example
from throughtime.inspect.bootstrap import Interval, interval_of
from throughtime.inspect.capacity import MemoryCapacity, memory_capacity
from throughtime.inspect.context import (
    CONTEXTS,
    POSITIONS,
    ContextCurve,
    draw_windows,
    longest_context,
    order,
    usage,
)
from throughtime.inspect.gradients import GradientByLag, gradient_by_lag
from throughtime.inspect.leaves import float_leaves
from throughtime.inspect.lyapunov import SETTLING, lyapunov_exponents
from throughtime.run import Run

LANES = 32
"""Windows that gradients and exponents are measured over."""
SHARES = (0.5, 0.9, 0.99)
EXPONENTS = 8
"""Lyapunov exponents that are measured, from the largest down; fewer where the state is smaller."""


class MemoryReport(NamedTuple):
    """How far back a model remembers, by each way of asking.

    Attributes:
        usage: the loss with the last k steps alone.
        order: the loss with all steps, those before the last k in another order.
        gradients: of the loss of the last step, by how far back.
        reach: by share of all gradients, the lag that they are within.
        capacity: how many past inputs can be read off the output, linearly.
        exponents: (B, C) float64, the largest Lyapunov exponents of each window; (0, 0) where
            windows are too short to measure one.
    """

    usage: ContextCurve
    order: ContextCurve
    gradients: GradientByLag
    reach: dict[float, int]
    capacity: MemoryCapacity
    exponents: Tensor

    @property
    def exponent(self) -> float:
        """The largest Lyapunov exponent, on the mean over windows; NaN where none is measured."""
        return float(self.exponents[:, 0].mean()) if len(self.exponents) else math.nan

    @property
    def exponent_interval(self) -> Interval:
        """Where the largest exponent lies."""
        if not math.isfinite(self.exponent):
            return Interval(self.exponent, self.exponent)
        first = self.exponents[:, 0]
        return interval_of(lambda chosen: first[chosen].mean(), len(first))

    @property
    def predicted_half_life(self) -> float:
        """Steps in which gradients halve by the exponent; infinite where they do not shrink."""
        return math.log(2) / -self.exponent if self.exponent < 0 else math.inf

    def lines(self) -> list[str]:
        """Say it in words, a line for each figure."""
        shares = ", ".join(f"{share:.0%} within {lag}" for share, lag in self.reach.items())
        total, (low, high) = self.capacity.total, self.capacity.interval
        return [
            f"uses the last {_steps(self.usage)}: with fewer the loss is over 1 % worse",
            f"minds the order of the last {_steps(self.order)}",
            f"gradients {_trend(self.gradients)}; of all of them {shares}",
            self._of_exponent(),
            f"{total:.1f} past inputs can be read off its {self.capacity.bound} outputs "
            f"({low:.1f} to {high:.1f})",
        ]

    def _of_exponent(self) -> str:
        if math.isnan(self.exponent):
            return "the sequences are too short to measure a Lyapunov exponent"
        if math.isinf(self.exponent):
            return "its state is a window of inputs: a Lyapunov exponent of minus infinity"
        after = self.predicted_half_life
        would = "never halve" if math.isinf(after) else f"halve in {after:.3g} steps"
        return (
            f"the largest Lyapunov exponent is {self.exponent:+.3f} a step, by which gradients "
            f"would {would}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values; what is infinite or not measured is null."""
        return {
            "usage": _curve(self.usage),
            "order": _curve(self.order),
            "gradients": {
                "leaf": self.gradients.leaf,
                "median": [_finite(each) for each in self.gradients.median.tolist()],
                "half_life": _finite(self.gradients.half_life),
                "underflow": self.gradients.underflow,
                "reach": {str(share): lag for share, lag in self.reach.items()},
            },
            "capacity": {
                "total": self.capacity.total,
                "interval": list(self.capacity.interval),
                "bound": self.capacity.bound,
                "reach": self.capacity.reach,
                "explained": self.capacity.explained.tolist(),
            },
            "lyapunov": {
                "exponent": _finite(self.exponent),
                "interval": [_finite(each) for each in self.exponent_interval],
                "spectrum": [_finite(each) for each in self.exponents.mean(0).tolist()],
                "half_life": _finite(self.predicted_half_life),
            },
        }


def memory_report(
    run: Run,
    data: Any = None,
    *,
    contexts: Sequence[int] = CONTEXTS,
    positions: int = POSITIONS,
    seed: int = 0,
) -> MemoryReport:
    """Measure how far back a trained model remembers, on its validation part.

    Args:
        run: the run.
        data: a path, a frame or `demo:NAME`; the data the run was trained on when None.
        contexts: steps that are given and left in order; those that the data is too short for are
            left out.
        positions: how many places losses are measured at.
        seed: of the places, and of what capacity is measured with.

    Raises:
        DataError: when the data can't be read as the training data was, or is too short.
        OptionError: when no data is given and the run was trained on a frame.
    """
    source = run.given(data, "measure the memory of")
    task, model = run.task, run.model
    examples = task.examples(task.read(source), "validation")
    longest = longest_context(examples)
    fitting = [k for k in contexts if k <= longest] or [min(contexts, default=1)]
    options: dict[str, Any] = {"contexts": fitting, "positions": positions, "seed": seed}
    used, ordered = usage(task, model, examples, **options), order(task, model, examples, **options)
    gradients, exponents = _of_states(run, examples, max(fitting), seed)
    return MemoryReport(
        used,
        ordered,
        gradients,
        {share: gradients.reach(share) for share in SHARES},
        memory_capacity(model.layers, seed=seed),
        exponents,
    )


def _of_states(
    run: Run, examples: Sequence[Example], steps: int, seed: int
) -> tuple[GradientByLag, Tensor]:
    """Return gradients by lag and the largest exponents over windows of so many steps."""
    task, model = run.task, run.model
    inputs, targets = map(
        torch.from_numpy, draw_windows(examples, steps, LANES, np.random.default_rng(seed))
    )
    with torch.no_grad():
        x = model._encode(inputs)
    found = gradient_by_lag(
        model.layers, x, lambda y: task.loss(model.head(y[:, -1:]), inputs[:, -1:], targets)[0]
    )
    if steps <= 2 * SETTLING:
        return found, torch.empty(0, 0, dtype=torch.float64)
    one = float_leaves(model.layers.initial_state(1)).values()
    count = min(EXPONENTS, sum(leaf.numel() for leaf in one))
    return found, lyapunov_exponents(model.layers, x, count=count)


def _curve(curve: ContextCurve) -> dict[str, Any]:
    return {
        "contexts": list(curve.contexts),
        "loss": curve.means.tolist(),
        "apart": [list(interval) for interval in curve.intervals],
        "horizon": curve.horizon,
    }


def _steps(curve: ContextCurve) -> str:
    if curve.horizon is None:
        return f"{curve.contexts[-1]} steps or more"
    return "step" if curve.horizon == 1 else f"{curve.horizon} steps"


def _trend(found: GradientByLag) -> str:
    if math.isnan(found.slope):
        return "have no trend"
    if found.slope > 0:
        return f"double in {found.doubling:.3g} steps back"
    return f"halve in {found.half_life:.3g} steps back"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
