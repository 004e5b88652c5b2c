"""Whether a model can follow a state of the world, for longer than it was trained to."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect.picture import BLUE, GREY, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import SWAPS, Reader, Transformer, games, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@torch.no_grad()
def right_by_step(model: nn.Module, moves: Tensor, cups: Tensor) -> Tensor:
    """Return how often the model names the right cup after each step, (T,)."""
    right: Tensor = model(moves).argmax(-1) == cups
    return right.double().mean(0)


def run(seed: int, *, length: int, tested: int, updates: int) -> Outcome:
    """Train a GRU and a Transformer on short games, and test both on long ones."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    gru = Reader(len(SWAPS), 3, layer="gru:32", every=True)
    learn(gru, partial(games, 64, length, generator), updates=updates, rate=1e-2)
    transformer = Transformer(nn.Embedding(len(SWAPS), 32), 3, 32)
    learn(transformer, partial(games, 64, length, generator), updates=updates, rate=2e-3)
    test = games(200, tested, generator)
    models = {"GRU": gru, "Transformer": transformer}
    right = {name: right_by_step(model, *test) for name, model in models.items()}
    # What is as long as in training is no test of what lies beyond.
    beyond = {name: float(each[tested // 2 :].mean()) for name, each in right.items()}
    details = {
        "length": length,
        "right": {name: each.tolist() for name, each in right.items()},
        "parameters": {
            name: sum(each.numel() for each in model.parameters()) for name, model in models.items()
        },
    }
    return Outcome(beyond["GRU"], beyond["Transformer"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how often the right cup is named, by how many moves were made."""
    for number, outcome in enumerate(outcomes):
        for colour, (name, right) in zip(
            (BLUE, ORANGE), outcome.details["right"].items(), strict=True
        ):
            label = f"{name}, {outcome.details['parameters'][name]:,} parameters"
            axes[0].plot(
                range(1, len(right) + 1),
                right,
                color=colour,
                alpha=0.75,
                linewidth=1.2,
                label=None if number else label,
            )
    length = outcomes[0].details["length"]
    axes[0].axvline(length, linestyle="--", color=GREY, linewidth=1)
    axes[0].annotate(
        "longest game\nof training", (length, 0.72), xytext=(4, 0), textcoords="offset points"
    )
    axes[0].axhline(1 / 3, linestyle="--", color=GREY, linewidth=1)
    axes[0].set(xlabel="moves so far", ylabel="right cup named", ylim=(0, 1.05), xscale="log")
    axes[0].legend(loc="lower left")


EXPERIMENT = Experiment(
    name="what-recurrence-does-better",
    section="when and where",
    claim="To follow something that changes with each input, a recurrent network updates its "
    "state, and goes on doing so far beyond the length that it was trained on. A Transformer three "
    "times as large does not learn it in as many updates, even at the same length, and guesses "
    "beyond.",
    question=Question(
        "A ball lies under one of three cups, and at each step two cups may change places. Trained "
        "on games of 20 moves, a GRU and a Transformer of three times its size follow the ball "
        "through 200. How often do they know where it is, near the end?",
        (
            "the GRU always, the Transformer as by guessing",
            "both nearly always",
            "the Transformer always, the GRU has forgotten: 200 steps are too long for it",
        ),
        0,
    ),
    figure="share of the second hundred moves after which the GRU names the right cup",
    interval=(0.95, 1.0),
    control="no recurrence: a Transformer",
    run=run,
    draw=draw,
    meaning="Where the answer is a state of the world, such as a mode, a balance, a parity or a "
    "place, a small recurrent layer is the right tool: each step does a fixed amount of work on "
    "what is there. Attention of a fixed depth would have to compose all moves anew at each step.",
    page="The page says what newer models do better and not what RNNs do better: this. It also "
    "calls the length of a sequence their weakness; here they go ten times as far as trained.",
    knobs={
        "length": Knob(20, "moves in a game of training", least=2, most=40),
        "tested": Knob(200, "moves in a game of the test", least=2, most=400),
        "updates": Knob(400, "updates of the weights", least=1, most=1500),
    },
    quick={"length": 6, "tested": 12, "updates": 5},
)
