"""Intervals of confidence by drawing what was measured again."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

DRAWS = 1000


class Interval(NamedTuple):
    """Where a figure lies, with 95 % confidence."""

    low: float
    high: float


def interval_of(
    figure: Callable[[Tensor], Tensor],
    count: int,
    *,
    block: int = 1,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Return the interval of a figure by the percentile bootstrap (Efron 1979).

    Args:
        figure: from the places (n,) of what is drawn to the figure of those, a number.
        count: how many were measured.
        block: neighbours that are drawn together, where they depend on one another.
        draws: how often the figure is computed.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = -(-count // block)
    within = torch.arange(block)
    values = []
    for _ in range(draws):
        first = torch.randint(max(count - block, 0) + 1, (blocks, 1), generator=generator)
        values.append(figure((first + within).flatten().clamp(max=count - 1)[:count]))
    found = torch.stack(values).double()
    return Interval(float(found.quantile(0.025)), float(found.quantile(0.975)))
