"""Timing ways of doing one thing in turn, and holding their results against each other.

What is timed is elsewhere; nothing here knows a layer.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.errors import ThroughtimeError


class Disagreement(ThroughtimeError):
    """Two ways that should compute the same don't, so that their times say nothing."""


class Unavailable(ThroughtimeError):
    """One of two ways is not there on this machine."""


class Way(NamedTuple):
    """One way of doing something: what is timed, and what is done before without being timed."""

    call: Callable[[], object]
    before: Callable[[], object] | None = None


class Effort(NamedTuple):
    """How often a figure is taken.

    `rounds` (least, most) are the bounds of how often the ways are run in turn; between them
    `seconds` decides. `steps` is for what takes microseconds.
    """

    seconds: float
    rounds: tuple[int, int]
    steps: int
    warm: bool = True


FULL = Effort(seconds=3.0, rounds=(5, 40), steps=10_000)
QUICK = Effort(seconds=0.3, rounds=(2, 10), steps=1_000)


def interleave(
    ways: Mapping[str, Way],
    effort: Effort,
    *,
    block: int = 1,
    turn: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time several ways in turn: A B A B, so that what slows the machine down slows all of them.

    Args:
        ways: by name.
        effort: how often. With `warm`, each way is run once before anything is timed.
        block: how often each way is run, at least, before it is the next one's turn.
        turn: seconds that a way runs, at least, before it is the next one's turn: what takes a
            millisecond in a training loop finds its code and data in the caches there, and not
            right after something else has run.
        clock: seconds.

    Returns:
        The seconds of each call, by name.

    Example:
        >>> times = interleave({"a": Way(int), "b": Way(str)}, Effort(0.0, (3, 3), 0))
        >>> {name: len(taken) for name, taken in times.items()}
        {'a': 3, 'b': 3}
    """
    if effort.warm:
        for way in ways.values():
            _run(way, clock)
    times: dict[str, list[float]] = {name: [] for name in ways}
    least, most = effort.rounds
    began = clock()
    done = 0
    while done < least or (done < most and clock() - began < effort.seconds):
        for name, way in ways.items():
            taken = [_run(way, clock) for _ in range(block)]
            while sum(taken) < turn:
                taken.append(_run(way, clock))
            times[name] += taken
        done += 1
    return times


def percentile_99(times: Sequence[float]) -> float:
    """Return what 99 of 100 times stay below."""
    return statistics.quantiles(times, n=100, method="inclusive")[98]


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the largest value of `theirs`.

    Infinity for other shapes, and where a value is not finite.

    Example:
        >>> difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        0.5
    """
    if ours.shape != theirs.shape:
        return math.inf
    ours, theirs = ours.detach().double(), theirs.detach().double()
    apart = float((ours - theirs).abs().max())
    scale = float(theirs.abs().max())
    if not math.isfinite(apart + scale):
        return math.inf
    return 0.0 if apart == 0 else (apart / scale if scale else math.inf)


def agree(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], tolerance: float) -> float:
    """Return the largest `difference` of two ways' results.

    Args:
        ours: outputs and gradients, by name.
        theirs: those of the peer.
        tolerance: the largest difference that is one of rounding.

    Raises:
        Disagreement: for a larger one, or where the names are not the same.
    """
    if set(ours) != set(theirs):
        raise Disagreement(f"expected the same results, got {sorted(ours)} and {sorted(theirs)}")
    apart = {name: difference(ours[name], theirs[name]) for name in theirs}
    worst = max(apart, key=lambda name: apart[name])
    if not apart[worst] <= tolerance:
        raise Disagreement(
            f"{worst} differs by {apart[worst]:.1e} of its largest value, "
            f"more than {tolerance:.0e}; no time is given for a wrong result"
        )
    return apart[worst]


def _run(way: Way, clock: Callable[[], float]) -> float:
    if way.before is not None:
        way.before()
    began = clock()
    way.call()
    return clock() - began


def drawn(*shape: int, seed: int) -> Tensor:
    """Return normal numbers that are the same in every process."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
