"""How much of the past a model uses: its loss with less of it, and with its order lost.

Three figures say how far back a model remembers, and none says it alone: how far back the loss
still gets better (usage), how far back the order of what was read matters, and how far back
gradients reach (`gradients`). After Khandelwal et al. 2018 (https://arxiv.org/abs/1805.04623).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from throughtime.data.windows import Example
from throughtime.errors import DataError, OptionError
from throughtime.inspect.bootstrap import Interval, interval_of
from throughtime.kernels import threads_for
from throughtime.model import SequenceModel
from throughtime.tasks.task import Task

POSITIONS = 2000
"""Places that are judged; so many tell a hundredth of a loss apart."""
CONTEXTS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 75, 100, 150, 200, 300)
NEAR = 0.01
"""What counts as no worse: a hundredth of the loss with the whole context."""
_LANES = 256


class ContextCurve(NamedTuple):
    """Losses by how many of the last steps a model was given as they are.

    Attributes:
        contexts: the numbers of steps k, from few to all.
        losses: (K, P) float64: of each of P places.
        means: (K,).
        intervals: of the differences of means to that of the whole context, paired, K of them.
        horizon: the least k with a loss within a hundredth of the best there is; None where only
            the whole context is.
    """

    contexts: tuple[int, ...]
    losses: Tensor
    means: Tensor
    intervals: tuple[Interval, ...]
    horizon: int | None


def usage(
    task: Task,
    model: SequenceModel,
    examples: Sequence[Example],
    *,
    contexts: Sequence[int] = CONTEXTS,
    positions: int = POSITIONS,
    seed: int = 0,
) -> ContextCurve:
    """Measure the loss where a model starts afresh k steps before.

    Args:
        task: what makes a loss of outputs.
        model: in evaluation mode.
        examples: what it is judged by: places are drawn where there are targets and steps enough.
        contexts: the k.
        positions: how many places; fewer where there are not so many.
        seed: of the places.

    Raises:
        OptionError: when a context is below 1.
        DataError: when no place has so many steps before it.
    """
    return _curve(task, model, examples, contexts, positions, seed, shuffled=False)


def order(
    task: Task,
    model: SequenceModel,
    examples: Sequence[Example],
    *,
    contexts: Sequence[int] = CONTEXTS,
    positions: int = POSITIONS,
    seed: int = 0,
) -> ContextCurve:
    """Measure the loss where everything before the last k steps is there, but in another order.

    Arguments, result and errors are those of `usage`.
    """
    return _curve(task, model, examples, contexts, positions, seed, shuffled=True)


def _curve(
    task: Task,
    model: SequenceModel,
    examples: Sequence[Example],
    contexts: Sequence[int],
    positions: int,
    seed: int,
    *,
    shuffled: bool,
) -> ContextCurve:
    counts = tuple(sorted(set(contexts)))
    if not counts or counts[0] < 1:
        raise OptionError(f"expected contexts of 1 step or more, got {tuple(contexts)}")
    generator = np.random.default_rng(seed)
    inputs, targets = draw_windows(examples, counts[-1], positions, generator)
    losses = []
    for k in counts:
        given = _shuffled(inputs, k, generator) if shuffled else inputs[:, -k:]
        losses.append(_losses(task, model, given, targets))
    found = torch.stack(losses)
    means = found.mean(1)
    apart = found - found[-1]

    def difference(place: int) -> Interval:
        return interval_of(lambda chosen: apart[place][chosen].mean(), apart.shape[1], seed=seed)

    enough = means <= means[-1] + NEAR * means[-1].abs()
    # From there on, and not by chance once.
    lasting = enough.flip(0).cummin(0).values.flip(0)
    first = int(torch.nonzero(lasting)[0])
    return ContextCurve(
        counts,
        found,
        means,
        tuple(map(difference, range(len(counts)))),
        counts[first] if first + 1 < len(counts) else None,
    )


def draw_windows(
    examples: Sequence[Example], steps: int, positions: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw windows of inputs, (P, T, ...), and the targets of their last steps, (P, 1, ...)."""
    places = [
        (number, t) for number, example in enumerate(examples) for t in _judged(example, steps)
    ]
    if not places:
        longest = max((len(example) for example in examples), default=0)
        raise DataError(
            f"expected a target with {steps} steps up to it in one sequence, got {longest} steps "
            "at most; give contexts of at most that, or more data"
        )
    chosen = generator.permutation(len(places))[:positions]
    cuts = [places[each] for each in sorted(chosen)]
    inputs = np.stack([examples[n].inputs[t - steps + 1 : t + 1] for n, t in cuts])
    return inputs, np.stack([examples[n].targets[t : t + 1] for n, t in cuts])


def longest_context(examples: Sequence[Example]) -> int:
    """Return the most steps up to a target without a fresh start, 0 where there is no target."""
    each = [_since_start(example)[_judged(example, 1)].max(initial=0) for example in examples]
    return int(max(each, default=0))


def _since_start(example: Example) -> np.ndarray:
    """Return how many steps there are from the last fresh start up to and with each step."""
    places = np.arange(len(example))
    since: np.ndarray = places - np.maximum.accumulate(np.where(example.starts, places, 0)) + 1
    return since


def _judged(example: Example, steps: int) -> np.ndarray:
    """Return the steps that have a target and so many steps up to them without a fresh start."""
    targets = example.targets.reshape(len(example), -1)
    there = (targets >= 0).all(1) if targets.dtype.kind == "i" else ~np.isnan(targets).any(1)
    found: np.ndarray = np.flatnonzero(there & (_since_start(example) >= steps))
    return found


def _shuffled(inputs: np.ndarray, kept: int, generator: np.random.Generator) -> np.ndarray:
    """Return inputs with all but the last `kept` steps in another order, in each row its own."""
    older = inputs.shape[1] - kept
    ranks = generator.random(inputs.shape[:2])
    ranks[:, older:] = np.arange(1, kept + 1) + 1.0
    way = ranks.argsort(1)
    return np.take_along_axis(inputs, way.reshape(*way.shape, *[1] * (inputs.ndim - 2)), 1)


def _losses(task: Task, model: SequenceModel, inputs: np.ndarray, targets: np.ndarray) -> Tensor:
    """Return the loss of the last step of each row, from the initial state on."""
    place = next(model.parameters()).device
    found = []
    for first in range(0, len(inputs), _LANES):
        x = torch.from_numpy(inputs[first : first + _LANES]).to(place)
        wanted = torch.from_numpy(targets[first : first + _LANES]).to(place)
        with torch.no_grad(), threads_for(len(x) * model.parameter_count()):
            outputs = model(x)[0][:, -1:]
            rows = zip(
                *(torch.split(each, 1) for each in (outputs, x[:, -1:], wanted)), strict=True
            )
            found += [float(task.loss(*row)[0]) for row in rows]
    return torch.tensor(found, dtype=torch.float64)
