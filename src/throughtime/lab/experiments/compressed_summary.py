"""What a state keeps: what training asked about, or whatever came in."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

import throughtime as tt
from throughtime.inspect.picture import BLUE, GREY, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import accuracy, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = 4


class Recall(nn.Module):
    """A GRU that reads pairs of symbols, and after the last is asked for the first of each pair."""

    def __init__(self, pairs: int, size: int) -> None:
        super().__init__()
        self.layer = tt.GRU(2 * KINDS, size, memory=2 * pairs)
        self.head = nn.Linear(size, pairs * KINDS)

    def state(self, symbols: Tensor) -> Tensor:
        """Return the last state (B, H) of pairs of symbols (B, T, 2)."""
        x = functional.one_hot(symbols, KINDS).float().flatten(2)
        y: Tensor = self.layer(x)[0]
        return y[:, -1]

    def forward(self, symbols: Tensor) -> Tensor:
        """Return scores (B, T, kinds) for the first symbol of each pair."""
        scores: Tensor = self.head(self.state(symbols))
        return scores.view(len(symbols), -1, KINDS)


def sequences(count: int, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return pairs of symbols (B, T, 2), and the first symbol of each (B, T)."""
    symbols = torch.randint(0, KINDS, (count, pairs, 2), generator=generator)
    return symbols, symbols[:, :, 0]


def read_off(states: Tensor, symbols: Tensor) -> Tensor:
    """Return how often a linear read-out of the states finds the symbols (B, ...), as (...).

    It is fitted to one half by ridge regression, and judged by the other.
    """
    x = torch.cat([states, torch.ones(len(states), 1)], 1).double()
    wanted = functional.one_hot(symbols, KINDS).flatten(1).double()
    half = len(x) // 2
    gram = x[:half].T @ x[:half] + 1e-3 * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(gram, x[:half].T @ wanted[:half])
    found = (x[half:] @ weights).view(half, *symbols.shape[1:], KINDS).argmax(-1)
    right: Tensor = found == symbols[half:]
    return right.double().mean(0)


@torch.no_grad()
def kept(model: Recall, symbols: Tensor) -> Tensor:
    """Return how often each symbol of the pairs can be read off the last state, (T, 2)."""
    return read_off(model.state(symbols), symbols)


def run(seed: int, *, pairs: int, size: int, updates: int) -> Outcome:
    """Train the GRU, and read both symbols of each pair off its state, before and after."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Recall(pairs, size)
    symbols, asked = sequences(4000, pairs, generator)
    before = kept(model, symbols)
    learn(model, partial(sequences, 64, pairs, generator), updates=updates, rate=1e-2)
    after = kept(model, symbols)
    gap, no_gap = (float((each[:, 0] - each[:, 1]).mean()) for each in (after, before))
    details = {
        "before": before.T.tolist(),
        "after": after.T.tolist(),
        "accuracy": accuracy(model, symbols, asked),
    }
    return Outcome(gap, no_gap, details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how often each symbol can be read off the last state, before and after training."""
    for place, when in enumerate(("before", "after")):
        for number, outcome in enumerate(outcomes):
            asked, other = outcome.details[when]
            pairs = range(1, len(asked) + 1)
            for colour, name, shares in ((BLUE, "asked for", asked), (ORANGE, "the other", other)):
                label = None if number else name
                axes[place].plot(pairs, shares, "o-", color=colour, alpha=0.7, label=label)
        axes[place].axhline(1 / KINDS, linestyle="--", color=GREY, linewidth=1)
        axes[place].set(
            title=f"{when} training",
            xlabel="pair, from the first to the last",
            ylabel="read off the last state",
            ylim=(0, 1.08),
        )
    axes[1].legend(loc="center right")


EXPERIMENT = Experiment(
    name="compressed-summary",
    section="expert remarks",
    claim="The state is a summary made for a purpose: what training asks for is in it in full; "
    "what it never asks for can't be read off it, even if it came at the last step. Before "
    "training both are there alike.",
    question=Question(
        "A GRU reads six pairs of symbols and has learned to name the first symbol of each pair. "
        "How often can the second symbol of the last pair, just read, be found in its state?",
        (
            "nearly always: it was just read",
            "half of the time, as in a network that was not trained",
            "one time in four, as by guessing",
        ),
        2,
    ),
    figure="share of the symbols asked for that can be read off the state, less that of the others",
    interval=(0.65, 0.8),
    control="the same network before training",
    run=run,
    draw=draw,
    meaning="What a state leaves out is decided by the loss, not by how long ago it came. Do not "
    "hope to find in a trained state what it was not trained for: add it to the loss. And what "
    "looks like too small a state may be a loss that never asked.",
    page="The page says that the state balances what is important and noise. By itself it does "
    "not: before training it holds the latest inputs, whatever they are. Training makes it so.",
    knobs={
        "pairs": Knob(6, "pairs of symbols in a sequence", least=2, most=16),
        "size": Knob(32, "numbers in the state, H", least=2, most=128),
        "updates": Knob(600, "updates of the weights", least=1, most=3000),
    },
    quick={"pairs": 3, "updates": 5},
    columns=2,
)
