"""A case: figures that are measured together, planned before they are known."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from throughtime.bench.figure import Figure
from throughtime.bench.measure import Disagreement, Effort, Unavailable

Plan = tuple[Figure, ...]


@dataclass(frozen=True)
class Case:
    """Figures that one run gives.

    Attributes:
        plan: the figures, without numbers.
        measure: fills them in.
        seconds: how long it takes on two cores, roughly; for the estimate alone.
        once: whether it starts processes itself, so that running it in several adds nothing.
    """

    plan: Plan
    measure: Callable[[Plan, Effort], list[Figure]]
    seconds: float
    once: bool = False

    @property
    def title(self) -> str:
        """What is being measured, for people."""
        first = self.plan[0]
        words = {first.part: None, first.layer: None}
        if all(figure.case == first.case for figure in self.plan):
            words[first.case] = None
        return " ".join(words)

    def run(self, effort: Effort) -> list[Figure]:
        """Measure; what can't be, or came out wrong, says so in its place."""
        try:
            with torch.random.fork_rng(devices=[]):
                return self.measure(self.plan, effort)
        except Disagreement as error:
            return [figure.without(str(error), wrong=True) for figure in self.plan]
        except Unavailable as error:
            return [figure.without(str(error)) for figure in self.plan]
