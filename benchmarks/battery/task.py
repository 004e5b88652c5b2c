"""What a task is: batches from a generator, a chance level and a mark from which it is solved."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

Part = Literal["train", "validation", "test"]
SEEDS: dict[Part, int] = {"validation": 1_000_001, "test": 1_000_002}
"""Of the evaluation sets, far from those of training."""


class Batch(NamedTuple):
    """Sequences with what is wanted of them.

    Attributes:
        x: (B, T) int64 symbols, or (B, T, F) numbers.
        targets: (B, T) int64 classes, or (B, T) numbers.
        scored: (B, T) bool: where an answer counts. Elsewhere a target means nothing.
    """

    x: Tensor
    targets: Tensor
    scored: Tensor


Draw = Callable[[Generator, int, int, Part], Batch]
"""From a generator, B, T and a part to a batch. Only tasks made of data look at the part."""


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: as the command line has it.
        about: in a few words.
        draw: gives batches.
        inputs: how many symbols there are, or F.
        symbols: whether x holds symbols.
        outputs: how many classes there are; 1 for a number.
        lengths: least and most T in training.
        tested: T of the evaluation sets.
        chance: the accuracy of guessing: any class as likely as another, or the best constant.
        solved: the accuracy from which the task counts as solved.
        tolerance: how near a number must come to be right; None for classes.
        pairs: whether a step and the one before it belong together, for which the model then has a
            short convolution.
        missing: returns why the task can't be run here, in one line; empty when it can.
    """

    name: str
    about: str
    draw: Draw
    inputs: int
    outputs: int
    lengths: tuple[int, int]
    tested: int
    chance: float
    solved: float = 0.99
    symbols: bool = True
    tolerance: float | None = None
    pairs: bool = False
    missing: Callable[[], str] = lambda: ""

    @property
    def generalises(self) -> bool:
        """Whether it is tested on longer sequences than it is trained on."""
        return self.tested > self.lengths[1]

    def training(self, generator: Generator, lanes: int) -> Batch:
        """Return B sequences of one length, drawn between the two of training."""
        least, most = self.lengths
        length = int(torch.randint(least, most + 1, (), generator=generator))
        return self.draw(generator, lanes, length, "train")

    def evaluation(self, part: Part, lanes: int) -> Batch:
        """Return the B sequences of an evaluation set, the same at every call.

        Where the lengths are beyond those of training, only steps beyond them are scored.
        """
        generator = torch.Generator().manual_seed(SEEDS[part])
        batch = self.draw(generator, lanes, self.tested, part)
        if self.generalises:
            beyond = torch.arange(self.tested) >= self.lengths[1]
            batch = batch._replace(scored=batch.scored & beyond)
        return batch

    def shorter(self, tested: int) -> "Task":
        """Return the task with shorter evaluation sets, for quick looks."""
        return replace(self, tested=min(self.tested, max(self.lengths[1], tested)))
