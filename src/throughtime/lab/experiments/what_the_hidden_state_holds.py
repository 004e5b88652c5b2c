"""How many of the last inputs can be read off a hidden state, and which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

import throughtime as tt
from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.recurrent import Recurrent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def layers(units: int, scale: float) -> dict[str, Recurrent]:
    """Return layers of one number a step, none of them trained."""
    orthogonal, none = tt.RNN(1, units), tt.RNN(1, units)
    with torch.no_grad():
        orthogonal.weight_hh.mul_(scale)
        none.weight_hh.zero_()
    return {
        "RNN, orthogonal weights": orthogonal,
        "nn.RNN": tt.from_torch(nn.RNN(1, units)),
        "nn.LSTM": tt.from_torch(nn.LSTM(1, units)),
        "nn.GRU": tt.from_torch(nn.GRU(1, units)),
        "no recurrence": none,
    }


def run(seed: int, *, units: int, scale: float, loudness: float) -> Outcome:
    """Drive the layers with random numbers, and read earlier ones off the state, linearly."""
    torch.manual_seed(seed)
    explained, total = {}, {}
    for name, layer in layers(units, scale).items():
        capacity = tt.inspect.memory_capacity(layer.double(), scale=loudness, seed=seed)
        explained[name] = capacity.explained.tolist()
        total[name] = capacity.total
    details = {"explained": explained, "total": total, "units": units}
    return Outcome(total["RNN, orthogonal weights"], total["no recurrence"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the share that is known of each earlier input, a line for every layer and seed."""
    for color, name in zip(picture.SERIES, outcomes[0].details["explained"], strict=False):
        totals = [outcome.details["total"][name] for outcome in outcomes]
        label: str | None = f"{name}: {sum(totals) / len(totals):.0f} read"
        for outcome in outcomes:
            axes[0].plot(outcome.details["explained"][name], color=color, alpha=0.7, label=label)
            label = None
    axes[0].axvline(
        outcomes[0].details["units"], color=picture.GREY, linestyle="--", label="numbers in a state"
    )
    axes[0].set(xlabel="steps back", ylabel="share of the input's variance known")
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=2)


EXPERIMENT = Experiment(
    name="what-the-hidden-state-holds",
    section="build-up",
    claim="A linear read-out finds recent inputs in a hidden state, and at most as many as the "
    "state has numbers. How many it finds depends on the weights: 50 numbers can hold almost 50 "
    "inputs, but in torch's layers, as they are made, they hold fewer than a dozen.",
    question=Question(
        "A state of 50 numbers is driven by one random number a step, and a linear read-out is to "
        "tell what the number k steps ago was. Of how many past steps can it tell?",
        (
            "of all: every input has gone into the state",
            "of 50 at most, in nn.LSTM as it is made of far fewer",
            "of 50, in every layer: one for each number",
        ),
        1,
    ),
    figure="inputs that can be read off 50 numbers, with orthogonal recurrent weights",
    # Judged by so many steps only, the bound of 50 may seem to be passed by a little.
    interval=(40.0, 51.0),
    control="recurrent weights of zero: the state is of the present input alone",
    run=run,
    draw=draw,
    meaning="A state is a budget that is spent, not a record. What must be remembered has to fit "
    "into it, and something has to drop out for what comes in. Training decides what; how a layer "
    "begins decides what training has to work with. `tt.inspect.memory_capacity` measures it for "
    "any layer.",
    page="The page says that the hidden state summarises all past inputs seen so far. All have "
    "passed through it, but only the last few can be found in it.",
    knobs={
        "units": Knob(50, "numbers in the state", least=2, most=150),
        "scale": Knob(0.95, "what orthogonal weights are multiplied by", least=0.1, most=3),
        "loudness": Knob(0.1, "size of the inputs, which tanh squashes", least=0.001, most=10),
    },
    quick={"units": 5},
)
