"""What becomes of samples when the axes of a batch are not the ones that a layer takes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect.picture import BLUE, GREEN, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import accuracy, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SYMBOLS = 4


class Last(nn.Module):
    """A GRU of torch that is given samples (B, T, F) and scores what is in the last column."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.gru = nn.GRU(SYMBOLS, 32, batch_first=batch_first)
        self.head = nn.Linear(32, SYMBOLS)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (B, 4)."""
        scores: Tensor = self.head(self.gru(x)[0][:, -1])
        return scores


def sequences(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return symbols as vectors (B, T, 4), and the first of each, (B,)."""
    symbols = torch.randint(SYMBOLS, (count, length), generator=generator)
    return nn.functional.one_hot(symbols, SYMBOLS).float(), symbols[:, 0]


@torch.no_grad()
def moved(layer: nn.Module, x: Tensor) -> list[float]:
    """Return how far the output of each sample (B, ...) moves when the first sample changes."""
    other = x.clone()
    other[0] = 1 - x[0]
    apart: Tensor = (layer(other)[0] - layer(x)[0]).flatten(1)
    return apart.abs().amax(1).tolist()


def share(distances: list[float]) -> float:
    """Return the share of samples but the first whose output moved by more than rounding."""
    return sum(each > 1e-6 for each in distances[1:]) / len(distances[1:])


def run(seed: int, *, length: int, samples: int, updates: int) -> Outcome:
    """Change one sample and look at the others; train both ways on an easy task."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    right, swapped = Last(batch_first=True), Last(batch_first=False)
    x, _ = sequences(samples, length, generator)
    reach = {
        "batch_first=True": moved(right.gru, x),
        "batch_first forgotten": moved(swapped.gru, x),
        # A row a sample: torch takes the rows for the steps of one sequence.
        "2-D, a row a sample": moved(right.gru, x[:, 0]),
    }
    learned: dict[str, list[float]] = {}
    given, answers = sequences(200, length, generator)
    for name, model in (("batch_first=True", right), ("batch_first forgotten", swapped)):
        learned[name] = [accuracy(model, given, answers)]
        for _ in range(10):
            learn(model, lambda: sequences(64, length, generator), updates=updates // 10)
            learned[name].append(accuracy(model, given, answers))
    leak = {name: share(distances) for name, distances in reach.items()}
    worst = min(leak["batch_first forgotten"], leak["2-D, a row a sample"])
    details = {"reach": reach, "learned": learned, "updates": updates}
    return Outcome(worst, leak["batch_first=True"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how far each sample moved, and what was learned."""
    colours = dict(zip(outcomes[0].details["reach"], (BLUE, ORANGE, GREEN), strict=True))
    for place, outcome in enumerate(outcomes):
        for name, distances in outcome.details["reach"].items():
            samples = range(2, len(distances) + 1)
            label = name if place == 0 else None
            axes[0].plot(samples, distances[1:], "o-", ms=3, color=colours[name], label=label)
        for name, shares in outcome.details["learned"].items():
            updates = [each * (outcome.details["updates"] // 10) for each in range(len(shares))]
            axes[1].plot(updates, shares, color=colours[name])
    axes[0].set_yscale("symlog", linthresh=1e-9)
    axes[0].set(xlabel="sample", ylabel="how far its output moves\nwhen sample 1 changes")
    axes[0].set_ylim(-3e-10, 30)
    axes[0].legend(loc="center right")
    axes[1].axhline(1 / SYMBOLS, linestyle="--", color="grey", linewidth=1)
    axes[1].set(xlabel="updates", ylabel="accuracy", ylim=(0, 1.05))


EXPERIMENT = Experiment(
    name="shapes",
    section="pitfalls",
    claim="Swapped axes raise no error: where batch and time are swapped, or where samples are the "
    "rows of a table, a torch layer reads the samples as steps of one sequence, and each "
    "leaks into all that follow it in the batch.",
    question=Question(
        "A batch (samples, time, features) goes to `nn.GRU(4, 32)` without `batch_first=True`. "
        "What happens?",
        (
            "an error: the shapes do not fit",
            "the numbers are other ones, and each sample is still read by itself",
            "no error, and the output of a sample depends on the other samples",
        ),
        2,
    ),
    figure="share of the other samples whose output moves when one sample changes",
    interval=(0.9, 1.0),
    control="batch_first=True, and a batch of three axes",
    run=run,
    draw=draw,
    meaning="The shapes fit, nothing is raised, and the model does not learn: what it "
    "should use lies along the axis that it does not read. Test it as here: change one sample and "
    "see whether the output of another moves; it must not. In this library the batch is always "
    "first, there is no option to forget, and a layer refuses input of two axes.",
    page="Both lines of code of pitfall 1 raise an error, the one called correct too: whole "
    "numbers do not match the weights, which are floats. With floats, the line called wrong is "
    "not read as independent samples but as one sequence, whose steps are the rows.",
    knobs={
        "length": Knob(8, "steps of a sequence", least=2, most=30),
        "samples": Knob(12, "samples in the batch where one is changed", least=2, most=60),
        "updates": Knob(300, "updates of the weights", least=10, most=3000),
    },
    quick={"updates": 10},
    columns=2,
)
