"""A network that takes a whole window at once against one that goes through it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, accuracy, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SYMBOLS, LENGTH = 8, 24


class Window(nn.Module):
    """A plain network with an input of its own for every symbol at every place."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(LENGTH * SYMBOLS, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, symbols: Tensor) -> Tensor:
        """Return scores (B, 2) from symbols (B, T)."""
        scores: Tensor = self.layers(nn.functional.one_hot(symbols, SYMBOLS).flatten(1).float())
        return scores


def sequences(places: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return symbols (B, T) that have "0 1" or "1 0" at a place (B,), and whether it is "0 1"."""
    symbols = torch.randint(2, SYMBOLS, (len(places), LENGTH), generator=generator)
    answers = torch.randint(2, places.shape, generator=generator)
    symbols[torch.arange(len(places)), places] = 1 - answers
    symbols[torch.arange(len(places)), places + 1] = answers
    return symbols, answers


def run(seed: int, *, seen: int, updates: int) -> Outcome:
    """Train both on pairs at the first places, and test them with pairs at every place."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    models = {"window": Window(), "gru": Reader(SYMBOLS, 2, layer="gru:32")}
    curves = {}
    for name, model in models.items():
        learn(
            model,
            lambda: sequences(torch.randint(seen, (64,), generator=generator), generator),
            updates=updates,
        )
        curves[name] = [
            accuracy(model, *sequences(torch.full((300,), place), generator))
            for place in range(LENGTH - 1)
        ]
    sizes = {name: sum(map(torch.numel, model.parameters())) for name, model in models.items()}
    unseen = {name: sum(curve[seen:]) / len(curve[seen:]) for name, curve in curves.items()}
    details = {"accuracy": curves, "parameters": sizes, "seen": seen}
    return Outcome(unseen["gru"], unseen["window"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the accuracy by the place of the pair, a line for each network and seed."""
    titles = {"window": "window of 24 symbols", "gru": "GRU"}
    sizes, seen = outcomes[0].details["parameters"], outcomes[0].details["seen"]
    for color, name in ((picture.ORANGE, "window"), (picture.BLUE, "gru")):
        label: str | None = f"{titles[name]}: {sizes[name]:,} weights"
        for outcome in outcomes:
            accuracy = outcome.details["accuracy"][name]
            axes[0].plot(range(1, len(accuracy) + 1), accuracy, color=color, alpha=0.7, label=label)
            label = None
    axes[0].axvline(seen + 0.5, color=picture.GREY, linestyle="--", label="places in training end")
    axes[0].set(xlabel="place of the pair", ylabel="accuracy", ylim=(-0.03, 1.05))
    axes[0].legend(loc="lower left")


EXPERIMENT = Experiment(
    name="fixed-window-against-recurrence",
    section="build-up",
    claim="A plain network that takes a whole window does see order, but each place has weights of "
    "its own: what it learned at some places it does not know at others. A recurrent network "
    "has one set for all places and knows it there, too.",
    question=Question(
        "Both networks learn to tell AB from BA among noise, always within the first 12 of 24 "
        "places, and do so without an error. What of pairs at the other places?",
        (
            "both still tell them: a pair is a pair",
            "the GRU does, the window network is right about half of the time",
            "both guess: neither has seen a pair there",
        ),
        1,
    ),
    figure="accuracy of the GRU on pairs at places that training never had them at",
    interval=(0.7, 1.0),
    control="a network of the whole window, same sequences, same updates",
    run=run,
    draw=draw,
    meaning="A window has to be shown everything at every place, needs weights for each, and ends "
    "where it ends. Where a pattern may come at any time, let the weights be shared over time. The "
    "GRU may still fail at the very last places: in training it always had some steps left before "
    "it was asked.",
    page="The page says that plain networks ignore order and context. Given a window they do not: "
    "at the places it was trained on, this one tells AB from BA without an error.",
    knobs={
        "seen": Knob(12, "places that training has pairs at, of 23", least=1, most=22),
        "updates": Knob(400, "updates of the weights", least=1, most=3000),
    },
    quick={"updates": 5},
)
