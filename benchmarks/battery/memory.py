"""Tasks of memory: what was read earlier is asked for later."""

import torch
from torch import Generator

from benchmarks.battery.task import Batch, Part, Task

SYMBOLS = 8
"""How many symbols may have to be kept."""
KEPT = 8
"""How many of them a sequence asks for, in the tasks of copying."""
BLANK, ASK = SYMBOLS, SYMBOLS + 1
KEYS = VALUES = 16
PAIRS = 8
NEAR = 0.04
"""How near a sum must come."""


def adding(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Numbers in [0, 1), two of them marked, one in each half; the sum of these at the end."""
    numbers = torch.rand(lanes, length, generator=generator)
    half = length // 2
    first = torch.randint(half, (lanes,), generator=generator)
    second = torch.randint(half, length, (lanes,), generator=generator)
    lane = torch.arange(lanes)
    marks = torch.zeros(lanes, length)
    marks[lane, first] = marks[lane, second] = 1.0
    targets = torch.zeros(lanes, length)
    targets[:, -1] = (numbers * marks).sum(dim=1)
    scored = torch.zeros(lanes, length, dtype=torch.bool)
    scored[:, -1] = True
    return Batch(torch.stack([numbers, marks], dim=2), targets, scored)


def copy(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Eight symbols, blanks, and then eight times the demand for the next of the symbols."""
    kept = torch.randint(SYMBOLS, (lanes, KEPT), generator=generator)
    x = torch.full((lanes, length), BLANK)
    x[:, :KEPT] = kept
    return _asked_at_end(x, kept)


def selective_copy(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Eight symbols scattered among blanks, and then the demand for them, in their order."""
    kept = torch.randint(SYMBOLS, (lanes, KEPT), generator=generator)
    chance = torch.rand(lanes, length - KEPT, generator=generator)
    places = chance.argsort(dim=1)[:, :KEPT].sort(dim=1).values
    x = torch.full((lanes, length), BLANK).scatter(1, places, kept)
    return _asked_at_end(x, kept)


def recall(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Pairs of key and value, then the keys in another order: the value of each at once.

    Keys are symbols 0 to 15, values 16 to 31; T is three times the number of pairs. A key stands
    for another value in every sequence.
    """
    pairs = length // 3
    keys = torch.rand(lanes, KEYS, generator=generator).argsort(dim=1)[:, :pairs]
    values = torch.randint(VALUES, (lanes, pairs), generator=generator)
    order = torch.rand(lanes, pairs, generator=generator).argsort(dim=1)
    shown = torch.stack([keys, KEYS + values], dim=2).flatten(1)
    x = torch.cat([shown, keys.gather(1, order)], dim=1)
    targets = torch.zeros_like(x)
    targets[:, 2 * pairs :] = values.gather(1, order)
    return Batch(x, targets, torch.arange(length).expand(lanes, length) >= 2 * pairs)


def long_recall(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """A symbol, then others from another alphabet that mean nothing; which one, at the end?"""
    kept = torch.randint(SYMBOLS, (lanes,), generator=generator)
    x = torch.randint(SYMBOLS, 2 * SYMBOLS, (lanes, length), generator=generator)
    x[:, 0] = kept
    targets = torch.zeros_like(x)
    targets[:, -1] = kept
    scored = torch.zeros_like(x, dtype=torch.bool)
    scored[:, -1] = True
    return Batch(x, targets, scored)


def _asked_at_end(x: torch.Tensor, kept: torch.Tensor) -> Batch:
    """Return x (B, T) with its last steps asking for `kept` (B, K)."""
    count = kept.shape[1]
    x[:, -count:] = ASK
    targets = torch.zeros_like(x)
    targets[:, -count:] = kept
    scored = torch.zeros_like(x, dtype=torch.bool)
    scored[:, -count:] = True
    return Batch(x, targets, scored)


LONG = 400
TASKS = (
    Task(
        "adding",
        "sum of two marked numbers",
        adding,
        2,
        1,
        (100, 100),
        100,
        # The sum of two numbers is most often near 1.
        chance=1 - (1 - NEAR) ** 2,
        solved=0.95,
        symbols=False,
        tolerance=NEAR,
    ),
    Task("copy", "eight symbols after blanks", copy, ASK + 1, SYMBOLS, (48, 48), 48, 1 / SYMBOLS),
    Task(
        "selective_copy",
        "eight symbols among blanks",
        selective_copy,
        ASK + 1,
        SYMBOLS,
        (48, 48),
        48,
        1 / SYMBOLS,
    ),
    Task(
        "recall",
        "values of keys seen before (MQAR)",
        recall,
        KEYS + VALUES,
        VALUES,
        (3 * PAIRS, 3 * PAIRS),
        3 * PAIRS,
        1 / VALUES,
        pairs=True,
    ),
    Task(
        "long_recall",
        "the first symbol, after noise",
        long_recall,
        2 * SYMBOLS,
        SYMBOLS,
        (LONG, LONG),
        LONG,
        1 / SYMBOLS,
    ),
)
