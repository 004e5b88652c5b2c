"""Whether the order of a sequence carries what no count of its symbols does."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect.picture import GREY
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, accuracy, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def sequences(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return symbols (B, T), and whether symbol 0 came before symbol 1, (B,)."""
    symbols = torch.randint(2, 20, (count, length), generator=generator)
    places = torch.rand(count, length, generator=generator).argsort(1)[:, :2]
    symbols.scatter_(1, places, torch.tensor([[0, 1]]).expand(count, 2))
    return symbols, (places[:, 0] < places[:, 1]).long()


class Counts(nn.Module):
    """A network that is given how often each symbol occurs, and no order."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, symbols: Tensor) -> Tensor:
        """Return scores (B, 2) from symbols (B, T)."""
        scores: Tensor = self.layers(nn.functional.one_hot(symbols, 20).sum(1).float())
        return scores


def run(seed: int, *, length: int, updates: int) -> Outcome:
    """Train a GRU and a network of counts on the same sequences, and test both on others."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    models = {"counts": Counts(), "gru": Reader(20, 2, layer="gru:32")}
    for model in models.values():
        learn(model, lambda: sequences(64, length, generator), updates=updates)
    symbols, first = sequences(1000, length, generator)
    right = {name: accuracy(model, symbols, first) for name, model in models.items()}
    shuffled = symbols.gather(1, torch.rand(symbols.shape, generator=generator).argsort(1))
    right["gru, shuffled"] = accuracy(models["gru"], shuffled, first)
    return Outcome(right["gru"], right["gru, shuffled"], {"accuracy": right})


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the accuracy of each, a point for every seed."""
    names = list(outcomes[0].details["accuracy"])
    for seed, outcome in enumerate(outcomes):
        beside = [place + 0.08 * (seed - 1) for place in range(len(names))]
        axes[0].plot(beside, [outcome.details["accuracy"][name] for name in names], "o")
    axes[0].axhline(0.5, linestyle="--", color=GREY, label="a coin")
    axes[0].set(ylabel="accuracy", ylim=(0.4, 1.05), xlim=(-0.5, len(names) - 0.5))
    axes[0].set_xticks(range(len(names)), ["counts", "GRU", "the same GRU, shuffled"])
    axes[0].legend()


EXPERIMENT = Experiment(
    name="order-matters",
    section="build-up",
    claim="What a sequence says can be in the order of its symbols alone: the same symbols, "
    "counted or shuffled, say nothing.",
    question=Question(
        "Each sequence has one A and one B among other symbols, and the answer is which came "
        "first. A GRU learns it. How often is the same GRU right when the symbols are shuffled?",
        ("always", "about three times in four", "half of the time, as by a coin"),
        2,
    ),
    figure="accuracy of the GRU on sequences in order",
    interval=(0.97, 1.0),
    control="the same symbols, shuffled",
    run=run,
    draw=draw,
    meaning="A model that is to use order must have a place where what came before is kept. A "
    "count has none; a state has.",
    knobs={
        "length": Knob(20, "symbols in a sequence", least=4, most=60),
        "updates": Knob(400, "updates of the weights", least=1, most=3000),
    },
    quick={"updates": 5},
)
