"""One run of training: the learning rate by one rule for all, then until solved or out of updates.

AdamW without decay of weights, which would draw gates out of saturation; gradients clipped at a
norm of 1. The learning rate is one of the same three for every layer: each trains the same fresh
model on the same batches for a while, and the one whose training loss is the lowest at the end of
that goes on from where it is. All those updates count.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from benchmarks.battery import tracking
from benchmarks.battery.model import Model
from benchmarks.battery.task import Batch, Task

RATES = (1e-3, 3e-3, 1e-2)


class Budget(NamedTuple):
    """How long a run may take.

    Attributes:
        updates: of all three rates together.
        probe: updates with each rate.
        every: updates between two evaluations.
        lanes: B in training.
        tested: B of an evaluation set.
    """

    updates: int = 2000
    probe: int = 200
    every: int = 100
    lanes: int = 32
    tested: int = 256


_BUDGETS = {
    # One answer a sequence: it takes hundreds of updates before any rate is seen to be better.
    "long_recall": Budget(updates=1800, probe=400, every=50, lanes=16, tested=128),
    "recall": Budget(updates=1200, lanes=64),
    # Tested on sequences far longer than those of training.
    **{task.name: Budget(updates=1500, tested=128) for task in tracking.TASKS},
}


def budget_of(task: str) -> Budget:
    """Return the budget of a task, the same for every layer."""
    return _BUDGETS.get(task, Budget())


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        accuracy: on the test set, at the end.
        loss: on the test set: nats, or the squared error of a number.
        solved: whether the accuracy is what the task asks for.
        updates: how many were made, those of the probes included.
        solved_after: how many it took; None where it was not solved.
        rate: the learning rate that went on.
        parameters: of the whole model.
        state_floats: a lane's state, over all layers.
        seconds: of one processor, for training and evaluation; work beside it counts little.
    """

    accuracy: float
    loss: float
    solved: bool
    updates: int
    solved_after: int | None
    rate: float
    parameters: int
    state_floats: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it, which knows no infinity."""
        found = asdict(self)
        found["loss"] = self.loss if math.isfinite(self.loss) else None
        found["seconds"] = round(self.seconds, 1)
        return found


class Trainer:
    """A model in training; the same seed gives the same model and the same batches."""

    def __init__(
        self, task: Task, layer: str, options: Mapping[str, Any], *, seed: int, rate: float
    ) -> None:
        self.task, self.rate = task, rate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = Model(task, layer, options)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.0)
        self.generator = Generator().manual_seed(seed)
        self.losses: list[float] = []

    def train(self, updates: int, lanes: int) -> None:
        """Make so many updates, with B lanes."""
        for _ in range(updates):
            batch = self.task.training(self.generator, lanes)
            loss = loss_of(self.task, self.model(batch.x), batch)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.losses.append(loss.item())

    def recent_loss(self) -> float:
        """Return the mean loss of the last fifth; infinity where one is not a number."""
        last = self.losses[-max(1, len(self.losses) // 5) :]
        mean = sum(last) / len(last)
        return mean if math.isfinite(mean) else math.inf

    def evaluate(self, batch: Batch) -> tuple[float, float]:
        """Return accuracy and loss."""
        with torch.no_grad():
            scores = self.model(batch.x)
            return accuracy_of(self.task, scores, batch), loss_of(self.task, scores, batch).item()


def loss_of(task: Task, scores: Tensor, batch: Batch) -> Tensor:
    """Return the mean loss of scores (B, T, D) where they count."""
    found, wanted = scores[batch.scored], batch.targets[batch.scored]
    if task.tolerance is not None:
        return functional.mse_loss(found.squeeze(-1), wanted)
    return functional.cross_entropy(found, wanted)


def accuracy_of(task: Task, scores: Tensor, batch: Batch) -> float:
    """Return the share of scores (B, T, D) that are right, where they count."""
    found, wanted = scores[batch.scored], batch.targets[batch.scored]
    if task.tolerance is not None:
        right = (found.squeeze(-1) - wanted).abs() < task.tolerance
    else:
        right = found.argmax(dim=-1) == wanted
    return float(right.double().mean())


def pick(trainers: Sequence[Trainer]) -> Trainer:
    """Return the one with the lowest loss at the end; the first, where several have it."""
    return min(trainers, key=lambda trainer: trainer.recent_loss())


def run(task: Task, layer: str, options: Mapping[str, Any], *, seed: int, budget: Budget) -> Result:
    """Train a layer on a task, and say what came of it.

    A validation set decides when it is solved, by two evaluations in a row, so that luck does not;
    another set, drawn apart, is what is reported.
    """
    began = time.process_time()
    validation = task.evaluation("validation", budget.tested)
    trainers = []
    for rate in RATES:
        trainers.append(Trainer(task, layer, options, seed=seed, rate=rate))
        trainers[-1].train(budget.probe, budget.lanes)
    chosen = pick(trainers)
    updates = budget.probe * len(RATES)
    # After how many updates it was solved, and has been since.
    since: int | None = None
    while True:
        accuracy, _ = chosen.evaluate(validation)
        again = since is not None
        since = (since or updates) if accuracy >= task.solved else None
        more = min(budget.every, budget.updates - updates)
        if more <= 0 or (again and since is not None):
            break
        chosen.train(more, budget.lanes)
        updates += more
    accuracy, loss = chosen.evaluate(task.evaluation("test", budget.tested))
    solved = accuracy >= task.solved
    return Result(
        accuracy=accuracy,
        loss=loss,
        solved=solved,
        updates=updates,
        solved_after=(since or updates) if solved else None,
        rate=chosen.rate,
        parameters=chosen.model.parameter_count,
        state_floats=chosen.model.state_floats,
        seconds=time.process_time() - began,
    )
