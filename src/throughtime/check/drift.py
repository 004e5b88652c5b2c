"""What becomes of a state that is carried much longer than in training.

The loss and the norm of the state are followed, quarter by quarter, over one long run. Rows differ
in how hard they are, so a loss is never judged by that of other rows, but by the same rows run from
a restart one window before: what remains is what the long carrying itself costs.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from throughtime import state as states
from throughtime.check.batch import Material
from throughtime.check.comparison import Comparison, examine
from throughtime.check.report import Item
from throughtime.data.windows import Example
from throughtime.model import SequenceModel
from throughtime.run import Run
from throughtime.state import State
from throughtime.tasks.task import Task

LEAST = 8
"""Fewest training windows of a long run: two to a quarter."""

COST_SHARE = 0.1
"""Share of the usual spread of the loss within a window that carrying may cost."""

LEAST_COST = 0.01
"""What carrying may cost in any case, in the unit of the loss: nats, or scaled data units."""

GROWTH = 4.0
"""How often its norm in the first quarter a state may reach in the last one, if still growing."""

_LOSS = "loss over a long run"
_NORM = "state over a long run"
_LANES = 16


def check_drift(run: Run, material: Material, drift: int) -> list[Item]:
    """Run over `drift` training windows with the state carried; one item on loss, one on norm."""
    if run.task.independent:
        why = "sequences are independent of each other: no state is carried from one to the next"
        return [_not_judged(_LOSS, why), _not_judged(_NORM, why)]
    window = int(run.config.training.get("steps", run.task.recipe.steps))
    example, tiled = _tile(_long_example(material), window * drift)
    told = f"{drift} x {window} steps{tiled}"
    losses = torch.full((drift,), torch.nan, dtype=torch.float64)
    norms = torch.full((drift,), torch.nan, dtype=torch.float64)

    def fill_norm(comparison: Comparison) -> str:
        state: State | None = None
        for k in range(drift):
            inputs, targets = _rows(example, k * window, (k + 1) * window)
            outputs, state = run.model(inputs, state)
            if material.long is not None:
                losses[k] = _mean_loss(run.task, outputs, inputs, targets)
            norms[k] = _norm(state)
        judge_norm(comparison, norms, window)
        return f"{told}: by quarter {_shown(quarters(norms))}"

    norm = examine(_NORM, fill_norm, tolerance=GROWTH)
    if material.long is None:
        return [_not_judged(_LOSS, material.why_not), _with_figures(norm, norm=norms)]
    restarted = torch.full((drift,), torch.nan, dtype=torch.float64)

    def fill_loss(comparison: Comparison) -> str:
        spread = _run_restarted(run.task, run.model, example, window, restarted)
        comparison.tolerance = max(COST_SHARE * spread, LEAST_COST)
        restarted[0] = losses[0]  # the first window is no different: both begin with it
        judge_loss(comparison, losses, restarted, window)
        return (
            f"{told}: by quarter {_shown(quarters(losses))}, "
            f"restarted {_shown(quarters(restarted))}"
        )

    loss = examine(_LOSS, fill_loss)
    return [
        _with_figures(loss, carried=losses, restarted=restarted),
        _with_figures(norm, norm=norms),
    ]


def judge_loss(comparison: Comparison, carried: Tensor, restarted: Tensor, window: int) -> None:
    """Judge what carrying costs: the median of the windows of the last quarter.

    The cost of a window is its loss with the state carried from the first step on, less its loss
    with the state restarted one window before. A median asks that most windows are worse, so a few
    unlucky ones on noisy data raise no alarm. A loss that is not finite is off at once.

    Args:
        comparison: its tolerance is the cost allowed.
        carried: mean loss of each window (K,), NaN where it has no targets.
        restarted: the same; the first window can't be restarted earlier, and is left out.
        window: steps of a window.
    """
    costs = (carried - restarted)[1:]
    judged = restarted[1:].isfinite()
    costs = torch.where(judged & ~costs.isfinite(), torch.inf, costs)
    last = np.array_split(np.arange(len(costs)), 4)[-1]
    known = costs[torch.from_numpy(last)]
    known = known[~known.isnan()]
    if not len(known):
        return
    cost = float(known.quantile(0.5, interpolation="higher"))
    comparison.largest = max(cost, 0.0)
    if cost > comparison.tolerance:
        first = int((costs > comparison.tolerance).nonzero()[0]) + 1
        comparison.fail(
            f"carried over the whole way the loss is higher by {cost:.3g} in the last quarter than "
            f"restarted a window before: by quarter {_shown(quarters(carried))} instead of "
            f"{_shown(quarters(restarted))}",
            (0, first * window),
        )
        comparison.largest = cost


def judge_norm(comparison: Comparison, norms: Tensor, window: int) -> None:
    """Judge whether the state's norm stays within bounds.

    Off is a norm that is not finite; and one that in the last quarter is more than `GROWTH` times
    that of the first one and still grows, by more than half as much from quarter to quarter as at
    first. A state that fills up slowly towards a bound grows ever less, and is not off.

    Args:
        comparison: its tolerance is the growth allowed.
        norms: at the end of each window, (K,).
        window: steps of a window.
    """
    means = quarters(norms)
    if not bool(norms.isfinite().all()):
        first = int((~norms.isfinite()).nonzero()[0])
        comparison.fail("the state is not finite any more", (0, (first + 1) * window - 1))
        return
    start = max(means[0], 1e-6)
    comparison.largest = means[3] / start
    growing = means[3] - means[2] > 0.5 * (means[1] - means[0])
    if means[3] > comparison.tolerance * start and growing:
        first = int((norms > comparison.tolerance * start).nonzero()[0])
        comparison.fail(
            f"the state keeps growing: norm by quarter {_shown(means)}",
            (0, (first + 1) * window - 1),
        )
        comparison.largest = means[3] / start


def quarters(values: Tensor) -> tuple[float, ...]:
    """Return the mean of each quarter of (K,) values, without those that are NaN."""
    return tuple(
        float(values[torch.from_numpy(part)].nanmean())
        for part in np.array_split(np.arange(len(values)), 4)
    )


def _run_restarted(
    task: Task, model: SequenceModel, example: Example, window: int, losses: Tensor
) -> float:
    """Fill in the loss of each window but the first, restarted one window before it.

    Returns:
        The usual spread of the loss: the median over some windows of its standard deviation there.
    """
    numbers = list(range(1, len(losses)))
    watched = set(numbers[:: max(len(numbers) // _LANES, 1)])
    spreads = []
    for begin in range(0, len(numbers), _LANES):
        chosen = numbers[begin : begin + _LANES]
        pieces = [_rows(example, (k - 1) * window, (k + 1) * window) for k in chosen]
        inputs = torch.cat([inputs for inputs, _ in pieces])
        outputs, _ = model(inputs)
        for lane, k in enumerate(chosen):
            rows = (
                outputs[lane : lane + 1, window:],
                inputs[lane : lane + 1, window:],
                pieces[lane][1][:, window:],
            )
            losses[k] = _mean_loss(task, *rows)
            if k in watched:
                each = [
                    _mean_loss(task, *(part[:, t : t + 1] for part in rows)) for t in range(window)
                ]
                spreads.append(float(np.nanstd(each)) if not np.isnan(each).all() else math.nan)
    finite = [spread for spread in spreads if math.isfinite(spread)]
    return float(np.median(finite)) if finite else 0.0


def _mean_loss(task: Task, outputs: Tensor, inputs: Tensor, targets: Tensor) -> float:
    """Return the loss per target, NaN where there is none."""
    total, count = task.loss(outputs, inputs, targets)
    return float(total) / int(count) if int(count) else math.nan


def _norm(state: State) -> float:
    """Return the Euclidean norm of the floating-point part of a state of one lane."""
    leaves = [leaf.double() for leaf in states.leaves(state) if leaf.is_floating_point()]
    return math.sqrt(sum(float(leaf.square().sum()) for leaf in leaves))


def _long_example(material: Material) -> Example:
    """Return the evaluation data, or the longest recorded lane as a sequence without targets."""
    if material.long is not None:
        return material.long
    batch = material.batch
    lane = int(batch.lengths.argmax())
    inputs = batch.inputs[lane, : int(batch.lengths[lane])].numpy()
    starts = np.arange(len(inputs)) == 0
    return Example(inputs, np.full(len(inputs), -1), starts)


def _tile(example: Example, steps: int) -> tuple[Example, str]:
    """Return so many steps of a sequence, repeated where it is shorter, and words for that.

    Only the first step is a start: the point is to see a state that is never restarted.
    """
    places = np.arange(steps) % len(example)
    repeated = f" (data of {len(example)} repeated)" if len(example) < steps else ""
    tiled = Example(example.inputs[places], example.targets[places], np.arange(steps) == 0)
    return tiled, repeated


def _rows(example: Example, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Return inputs (1, T, ...) and targets (1, T, ...) of some steps."""
    inputs, targets = example.inputs[start:stop], example.targets[start:stop]
    return torch.from_numpy(inputs)[None], torch.from_numpy(targets)[None]


def _not_judged(name: str, why: str) -> Item:
    return Item(name, True, None, LEAST_COST if name == _LOSS else GROWTH, None, why)


def _with_figures(item: Item, **figures: Tensor) -> Item:
    """Add the quarters of what was followed."""
    shown = {name: quarters(values) for name, values in figures.items()}
    return Item(
        item.name,
        item.passed,
        item.max_difference,
        item.tolerance,
        item.first_difference,
        item.detail,
        shown,
    )


def _shown(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)
