"""How much of the past a state of fixed size can give back, training and gradients aside."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

import throughtime as tt
from throughtime.inspect.picture import SERIES
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.layers import RNN
from throughtime.recurrent import Recurrent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def holding_rnn(size: int, gain: float) -> Recurrent:
    """Return an RNN of H units that turns its state and shrinks it by a little at each step."""
    layer = RNN(1, size, bias=False)
    with torch.no_grad():
        layer.weight_hh.mul_(gain)
        layer.weight_ih.mul_(0.1)
    return layer


def run(seed: int, *, size: int, gain: float) -> Outcome:
    """Read past inputs off the states of networks as they are made, by regressions."""
    torch.manual_seed(seed)
    layers: dict[str, Recurrent] = {
        "RNN that holds well": holding_rnn(size, gain),
        "LSTM as torch makes it": tt.from_torch(nn.LSTM(1, size, batch_first=True)),
        "all inputs kept": tt.layers.make("convolution", 1, 2 * size, width=2 * size),
    }
    held = {
        name: tt.inspect.memory_capacity(layer, lags=2 * size, scale=0.3, seed=seed)
        for name, layer in layers.items()
    }
    share = {name: found.total / size for name, found in held.items()}
    details = {
        "size": size,
        "explained": {name: found.explained.tolist() for name, found in held.items()},
    }
    return Outcome(share["RNN that holds well"], share["all inputs kept"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how much of each past input can be read off the state, by how long ago it came."""
    for number, outcome in enumerate(outcomes):
        for colour, (name, explained) in zip(
            SERIES, outcome.details["explained"].items(), strict=False
        ):
            label = None if number else name
            axes[0].plot(explained, color=colour, alpha=0.75, linewidth=1.2, label=label)
    size = outcomes[0].details["size"]
    axes[0].axvline(size, linestyle="--", color="grey", linewidth=1)
    axes[0].annotate(
        "numbers in\nthe state", (size, 0.55), xytext=(4, 0), textcoords="offset points"
    )
    axes[0].set(
        xlabel="steps since the input came",
        ylabel="share of it that can be read",
        ylim=(-0.03, 1.3),
    )
    axes[0].legend(loc="upper center", ncols=3, columnspacing=1.0, handlelength=1.2)


EXPERIMENT = Experiment(
    name="perfect-memory",
    section="myths",
    claim="A linear read-out gets at most H independent inputs back from a state of H numbers: "
    "that is a matter of size, and holds where nothing is trained and no gradient can vanish.",
    question=Question(
        "An RNN of 50 units is made so that its state loses almost nothing in a step. Of the last "
        "100 inputs, independent numbers, how many can a linear read-out find in the state?",
        ("all 100", "about 50", "about 5"),
        1,
    ),
    figure="inputs that can be read off the state, for each number in it",
    interval=(0.8, 1.02),
    control="no fixed size: all inputs are kept, as a cache does",
    run=run,
    draw=draw,
    meaning="What is older has to make room for what is new, unless training finds out what need "
    "not be kept. A task that asks for any one of N things of the past needs a state that grows "
    "with N, or a memory beside it, as attention has. An LSTM that was not trained holds far less "
    "than its size would allow.",
    page="The page gives vanishing gradients as the reason. They are a reason why training does "
    "not find what should be kept; that not all can be kept is due to the size of the state.",
    knobs={
        "size": Knob(50, "numbers in the state, H", least=4, most=100),
        "gain": Knob(0.98, "what a step leaves of the state", least=0.1, most=1.2),
    },
    quick={"size": 8},
)
