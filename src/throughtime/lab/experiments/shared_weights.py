"""What sharing a step's weights over time saves: numbers to learn, and examples to learn from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import accuracy, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SYMBOLS, LENGTH, UNITS = 6, 12, 16


class Steps(nn.Module):
    """A recurrent network whose steps have the same weights, or each its own."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        count = 1 if shared else LENGTH
        self.cells = nn.ModuleList(nn.GRUCell(SYMBOLS, UNITS) for _ in range(count))
        self.head = nn.Linear(UNITS, 2)

    def forward(self, symbols: Tensor) -> Tensor:
        """Return scores (B, 2) from symbols (B, T)."""
        x = nn.functional.one_hot(symbols, SYMBOLS).float()
        h = x.new_zeros(len(x), UNITS)
        for t in range(LENGTH):
            h = self.cells[t % len(self.cells)](x[:, t], h)
        scores: Tensor = self.head(h)
        return scores


def sequences(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return symbols (B, T) with "0 1" or "1 0" somewhere, and whether it is "0 1", (B,)."""
    symbols = torch.randint(2, SYMBOLS, (count, LENGTH), generator=generator)
    places = torch.randint(LENGTH - 1, (count,), generator=generator)
    answers = torch.randint(2, (count,), generator=generator)
    symbols[torch.arange(count), places] = 1 - answers
    symbols[torch.arange(count), places + 1] = answers
    return symbols, answers


def learned(
    train: tuple[Tensor, Tensor], *, shared: bool, updates: int, generator: torch.Generator
) -> Steps:
    """Return a network that has been trained on a set of examples, in small batches."""
    model, count = Steps(shared=shared), len(train[0])

    def batch() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(count, (32,), generator=generator)
        return train[0][chosen], train[1][chosen]

    learn(model, batch, updates=updates, rate=1e-2)
    return model


def run(seed: int, *, examples: int, updates: int) -> Outcome:
    """Train both on the same examples, few and many, and test them on new ones."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    test = sequences(1000, generator)
    counts = [examples // 4, examples // 2, examples, 2 * examples, 8 * examples]
    known: dict[str, list[float]] = {"shared": [], "own": []}
    new: dict[str, list[float]] = {"shared": [], "own": []}
    weights = {}
    for count in counts:
        train = sequences(count, generator)
        for name in known:
            model = learned(train, shared=name == "shared", updates=updates, generator=generator)
            known[name].append(accuracy(model, *train))
            new[name].append(accuracy(model, *test))
            weights[name] = sum(map(torch.numel, model.parameters()))
    details = {"examples": counts, "known": known, "new": new, "weights": weights}
    at = counts.index(examples)
    return Outcome(new["shared"][at], new["own"][at], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the accuracy by how many examples there were, new ones and those trained on."""
    titles = {"shared": "one set of weights", "own": "a set for every step"}
    for color, name in ((picture.BLUE, "shared"), (picture.ORANGE, "own")):
        labels: list[str | None]
        weights = outcomes[0].details["weights"][name]
        labels = [f"{titles[name]}: {weights:,}", "the same, on its own examples"]
        for outcome in outcomes:
            found, counts = outcome.details, outcome.details["examples"]
            axes[0].semilogx(
                counts, found["new"][name], ".-", color=color, alpha=0.7, label=labels[0]
            )
            axes[0].semilogx(counts, found["known"][name], ":", color=color, label=labels[1])
            labels = [None, None]
    axes[0].set_xticks(counts, [str(count) for count in counts])
    axes[0].set_xticks([], minor=True)
    axes[0].set(xlabel="examples to learn from", ylabel="accuracy", ylim=(0.45, 1.03))
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=2)


EXPERIMENT = Experiment(
    name="shared-weights",
    section="why designed so",
    claim="Sharing a step's weights over time is what lets a pattern seen at one time be known at "
    "all others. With a set of weights for every step, a network fits the same examples just as "
    "well and knows far less of new ones.",
    question=Question(
        "Two GRUs learn to tell AB from BA somewhere in 12 symbols, from 100 examples. One has a "
        "set of weights for each of the 12 steps, and thus 12 times as many. Which does better?",
        (
            "the one with more weights, on these examples and on new ones",
            "both are perfect on these examples; on new ones the one with a single set is ahead",
            "the one with a single set cannot even fit these examples",
        ),
        1,
    ),
    figure="accuracy on new sequences after 100 examples, one set of weights for all steps",
    interval=(0.85, 1.0),
    control="a set of weights for every step",
    run=run,
    draw=draw,
    meaning="Sharing is an assumption about the data: that what a symbol does to the state is the "
    "same at any time. Where it is true it is worth a multiple of the examples. Where the time "
    "itself matters, such as the hour of the day, give it as an input.",
    page="The page counts parameters. What sharing saves in examples matters more: the network "
    "with more weights has no trouble to fit them, it has trouble with all others.",
    knobs={
        "examples": Knob(100, "examples to learn from", least=8, most=500),
        "updates": Knob(150, "updates of the weights", least=1, most=1000),
    },
    quick={"updates": 3},
)
