"""The lengths and resets that layers are checked with: the ordinary and the awkward."""

import torch
from torch import Tensor


def mixed_lengths(lanes: int, steps: int, generator: torch.Generator) -> list[Tensor]:
    """Return lengths (B,): with both 0 and T among them; and shorter than T in every lane."""
    whole = torch.randint(0, steps + 1, (lanes,), generator=generator)
    whole[0], whole[1] = steps, 0
    short = torch.randint(1, steps, (lanes,), generator=generator)
    short[0], short[-1] = 2, steps - 1
    return [whole, short]


def mixed_resets(lanes: int, steps: int, generator: torch.Generator) -> list[Tensor]:
    """Return resets (B, T): at both ends, consecutive, random, and in some lanes none."""
    first = torch.rand(lanes, steps, generator=generator) < 0.3
    first[0] = False
    first[0, [0, steps - 1]] = True
    first[1] = False
    first[1, [steps // 2, steps // 2 + 1]] = True
    second = torch.rand(lanes, steps, generator=generator) < 0.3
    second[0] = False
    second[1, 1] = True
    return [first, second]


def some_times(steps: int) -> list[int]:
    """Return times of interest in [0, T]: the ends, their neighbours and the middle."""
    return sorted({0, 1, steps // 2, steps - 1, steps})
