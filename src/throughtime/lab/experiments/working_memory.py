"""Which items of a list a network recalls when it is asked for one of them afterwards."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect.picture import BLUE, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIGITS = 10


def lists(count: int, items: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return digits and then a cue, (B, items + 1), and the digit at the cued place, (B,)."""
    digits = torch.randint(DIGITS, (count, items), generator=generator)
    places = torch.randint(items, (count, 1), generator=generator)
    return torch.cat([digits, DIGITS + places], 1), digits.gather(1, places)[:, 0]


class Attention(nn.Module):
    """A network that keeps every item of the list and looks back at them from the cue."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.encoder = nn.Embedding(DIGITS + items, 32)
        self.places = nn.Parameter(torch.randn(items, 32))
        self.attention = nn.MultiheadAttention(32, 1, batch_first=True)
        self.head = nn.Linear(32, DIGITS)

    def forward(self, symbols: Tensor) -> Tensor:
        """Return scores (B, 10) from a list and its cue, (B, items + 1)."""
        items, cue = self.encoder(symbols[:, :-1]), self.encoder(symbols[:, -1:])
        found, _ = self.attention(cue, items + self.places, items)
        scores: Tensor = self.head(found[:, 0])
        return scores


@torch.no_grad()
def recall(model: nn.Module, symbols: Tensor, answers: Tensor, items: int) -> list[float]:
    """Return how often the item at each place is recalled."""
    right = (model(symbols).argmax(-1) == answers).double()
    return [float(right[symbols[:, -1] == DIGITS + place].mean()) for place in range(items)]


def recency(shares: list[float]) -> float:
    """Return how much oftener the last item is recalled than those in the middle third."""
    third = len(shares) // 3
    middle = shares[third : len(shares) - third]
    return shares[-1] - sum(middle) / len(middle)


def run(seed: int, *, layer: str, items: int, updates: int) -> Outcome:
    """Train a recurrent network and one that looks back at all, and ask for every place."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    models = {
        "recurrent": Reader(DIGITS + items, DIGITS, layer=f"{layer}:64"),
        "attention": Attention(items),
    }
    for model in models.values():
        learn(model, lambda: lists(128, items, generator), updates=updates)
    symbols, answers = lists(500 * items, items, generator)
    shares = {name: recall(model, symbols, answers, items) for name, model in models.items()}
    return Outcome(recency(shares["recurrent"]), recency(shares["attention"]), {"recall": shares})


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how often the item at each place is recalled."""
    colours = {"recurrent": ORANGE, "attention": BLUE}
    for place, outcome in enumerate(outcomes):
        for name, shares in outcome.details["recall"].items():
            places = range(1, len(shares) + 1)
            label = name if place == 0 else None
            axes[0].plot(places, shares, "o-", ms=3, color=colours[name], label=label)
    axes[0].axhline(1 / DIGITS, linestyle="--", color="grey", linewidth=1, label="by guessing")
    axes[0].set(xlabel="place of the item in the list", ylabel="share recalled", ylim=(0, 1.05))
    axes[0].legend(loc="center left", bbox_to_anchor=(0.02, 0.72))


EXPERIMENT = Experiment(
    name="working-memory",
    section="connections",
    claim="Asked after a list for one of its items, a recurrent network recalls the last one far "
    "better than those in the middle, and the first ones a little better, as people do. A network "
    "that keeps every item and looks back recalls all of them alike.",
    question=Question(
        "A GRU of 64 units sees 12 digits and then a cue: which digit was at this place? It is "
        "trained for 1000 updates. Which items does it recall?",
        (
            "all of them: 64 numbers are enough for 12 digits",
            "the last one nearly always, those in the middle about one time in four",
            "all alike, about half of the time",
        ),
        1,
    ),
    figure="share recalled of the last item, less that of the middle third of the list",
    interval=(0.4, 0.9),
    control="attention over the whole list in place of a state",
    run=run,
    draw=draw,
    meaning="What is in a state was written over by what came later, unless training found a way "
    "to keep it apart, and it finds that slowly: the last items first. Memory is not only a matter "
    "of size. Where any item of a long list may be asked for, let a model look back; where the "
    "recent past matters most, a state does with much less.",
    page="The page explains the forgetting of both by their being short-term memories. The network "
    "has room for the whole list; what it holds is what it has learned to hold.",
    knobs={
        "layer": Knob("gru", "kind of layer", choices=("rnn", "gru", "lstm")),
        "items": Knob(12, "digits in a list", least=3, most=24),
        "updates": Knob(1000, "updates of the weights", least=1, most=3000),
    },
    quick={"updates": 5},
)
