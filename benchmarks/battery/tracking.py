"""Tasks of keeping track: parity, permutations, brackets, counts. All test longer than they train.

Every step is scored, so a sequence trains all lengths up to its own.
"""

import itertools

import torch
from torch import Generator, Tensor

from benchmarks.battery.task import Batch, Part, Task

PERMUTATIONS = tuple(itertools.permutations(range(3)))
"""The elements of S3: element p takes what is at place p[i] to place i."""
MOST_DEPTH = 8
TRAINED = (4, 40)


def parity(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Bits; the target is whether the number of ones so far is odd."""
    x = torch.randint(2, (lanes, length), generator=generator)
    return _everywhere(x, x.cumsum(dim=1) % 2)


def s3(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Permutations of three things; the target is the one that all so far come to."""
    x = torch.randint(len(PERMUTATIONS), (lanes, length), generator=generator)
    elements = torch.tensor(PERMUTATIONS)
    place = torch.arange(3).expand(lanes, 3)
    code = {element: number for number, element in enumerate(PERMUTATIONS)}
    table = torch.zeros(3, 3, 3, dtype=torch.int64)
    for element, number in code.items():
        table[element] = number
    targets = []
    for t in range(length):
        place = place.gather(1, elements[x[:, t]])
        targets.append(table[place[:, 0], place[:, 1], place[:, 2]])
    return _everywhere(x, torch.stack(targets, dim=1))


def dyck(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Two kinds of brackets, 0 and 1 open, 2 and 3 close; the target is what is open.

    The target is 0 where nothing is open, else 1 or 2: one more than the innermost open kind. At
    most eight are open at a time.
    """
    stack = torch.zeros(lanes, MOST_DEPTH, dtype=torch.int64)
    depth = torch.zeros(lanes, dtype=torch.int64)
    lane = torch.arange(lanes)
    symbols, targets = [], []
    for _ in range(length):
        opens = torch.rand(lanes, generator=generator) < 0.5
        opens = (opens | (depth == 0)) & (depth < MOST_DEPTH)
        kind = torch.randint(2, (lanes,), generator=generator)
        top = stack[lane, (depth - 1).clamp(min=0)]
        symbols.append(torch.where(opens, kind, 2 + top))
        place = depth.clamp(max=MOST_DEPTH - 1)
        stack[lane, place] = torch.where(opens, kind, stack[lane, place])
        depth = depth + torch.where(opens, 1, -1)
        inner = stack[lane, (depth - 1).clamp(min=0)]
        targets.append(torch.where(depth > 0, 1 + inner, 0))
    return _everywhere(torch.stack(symbols, dim=1), torch.stack(targets, dim=1))


def counting(generator: Generator, lanes: int, length: int, part: Part) -> Batch:
    """Symbols a, b and neither; the target is whether there are less, as many or more a than b."""
    x = torch.randint(3, (lanes, length), generator=generator)
    difference = ((x == 0).long() - (x == 1).long()).cumsum(dim=1)
    return _everywhere(x, difference.sign() + 1)


def _everywhere(x: Tensor, targets: Tensor) -> Batch:
    return Batch(x, targets, torch.ones_like(x, dtype=torch.bool))


TASKS = (
    Task("parity", "odd or even number of ones", parity, 2, 2, TRAINED, 256, chance=1 / 2),
    Task("s3", "product of permutations", s3, 6, 6, TRAINED, 256, chance=1 / 6),
    Task("dyck", "innermost open bracket", dyck, 4, 3, TRAINED, 128, chance=1 / 3),
    Task("counting", "more a or more b", counting, 3, 3, TRAINED, 128, chance=1 / 3, solved=0.98),
)
