"""What every task is: the part of a run that knows what the numbers mean.

A task turns data into examples, outputs into a loss, and a trained model into figures in the
data's own units. It never trains; `training` does, for all tasks alike.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from throughtime import state as states
from throughtime.data.windows import Example, Window, walk
from throughtime.errors import BundleError
from throughtime.formats import plain
from throughtime.kernels import threads_for
from throughtime.model import ModelConfig, SequenceModel

Metrics = dict[str, float]


class Recipe(NamedTuple):
    """What is used when nobody asks for anything else; measured in `benchmarks/`."""

    layer: str
    lanes: int
    steps: int
    learning_rate: float


class Task(ABC):
    """A task with everything it fitted to its training data.

    Attributes:
        name: as on the command line.
        recipe: what training uses by default.
        parts: the parts that data is split into, in time order.
        route: what `answer` leads from and to, as reports name it.
    """

    name: ClassVar[str]
    recipe: ClassVar[Recipe]
    parts: ClassVar[tuple[str, ...]]
    route: ClassVar[str]

    independent: bool = False
    """Whether each example is a sequence of its own, with no state carried between windows."""

    @abstractmethod
    def model_config(self, layer: str, **options: Any) -> ModelConfig:
        """Return the configuration of a model for this task."""

    @abstractmethod
    def read(self, source: Any, fractions: tuple[float, ...] | None = None) -> Any:
        """Read data the way the training data was read."""

    @abstractmethod
    def examples(self, data: Any, part: str) -> list[Example]:
        """Return what is learned from or judged by: part is "train" or "validation"."""

    @abstractmethod
    def long_example(self, data: Any) -> Example:
        """Return what follows the training part of the longest sequence, with all its targets."""

    @abstractmethod
    def sample(self, data: Any) -> dict[str, Tensor]:
        """Return a short piece of validation data as it was read, before any fitted number."""

    @abstractmethod
    def answer(self, model: SequenceModel, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the task and a model make of a sample, in the order in which it is made.

        Each part has the steps of the sample on axis 0. A run records its answer when it is
        trained; another answer later means that something on the way was altered.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed loss and the number of targets it is the sum over.

        Args:
            outputs: (B, T, O) of the model.
            inputs: (B, T, F) or (B, T).
            targets: (B, T, ...), NaN or -1 where there is none.
        """

    @abstractmethod
    def evaluate(self, model: SequenceModel, data: Any) -> dict[str, Metrics]:
        """Return the figures of a model on each part after the training part."""

    @abstractmethod
    def baselines(self, data: Any) -> dict[str, dict[str, Metrics]]:
        """Return the same figures for each baseline: part, then name, then figure."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs, as JSON values; a vocabulary goes elsewhere."""

    def vocabulary_json(self) -> dict[str, Any] | None:
        """Return the vocabulary as JSON values, where there is one."""
        return None


def misfit(task: str, error: Exception) -> BundleError:
    """Return the error that says, in one line, why a configuration describes no such task."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    elif isinstance(error, KeyError):
        reason = f"no {error}"
    else:
        reason = str(error)
    return BundleError(
        f"expected a {task} task in the configuration, got one that does not fit: "
        f"{plain(' '.join(reason.split()), longest=300)}"
    )


def tensors(window: Window, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a window's inputs, targets, lengths and resets as tensors."""
    inputs, targets, lengths, resets = (torch.from_numpy(part) for part in window)
    return inputs.to(device), targets.to(device), lengths, resets.to(device)


def run_over(
    model: SequenceModel, examples: Sequence[Example], *, lanes: int = 64, steps: int = 512
) -> Iterator[tuple[np.ndarray, int, Tensor, Tensor, Tensor, Tensor]]:
    """Run a model over whole sequences with carried state, in evaluation mode.

    Yields:
        For each window: which examples the lanes are (B,), the step it starts at, the inputs, the
        outputs (B, T, O), the targets, and the lengths.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        previous: np.ndarray | None = None
        state, start = None, 0
        for batch, window in walk(examples, lanes=lanes, steps=steps):
            if batch is not previous:
                state, start = None, 0
            inputs, targets, lengths, resets = tensors(window, device)
            with torch.no_grad(), threads_for(len(inputs) * model.parameter_count()):
                outputs, state = model(inputs, state, lengths=lengths, resets=resets)
            state = states.detach(state)
            yield batch, start, inputs, outputs, targets, lengths
            previous, start = batch, start + inputs.shape[1]
    finally:
        model.train(training)


def mean_loss(task: Task, model: SequenceModel, examples: Sequence[Example]) -> float:
    """Return the loss of a model per target, over whole sequences; NaN without a target."""
    total, count = 0.0, 0
    for _, _, inputs, outputs, targets, _ in run_over(model, examples):
        loss, valid = task.loss(outputs, inputs, targets)
        total += float(loss)
        count += int(valid)
    return total / count if count else math.nan
