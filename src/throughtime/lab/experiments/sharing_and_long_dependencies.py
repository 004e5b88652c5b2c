"""Whether it is the sharing of weights over time that makes gradients vanish."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from throughtime.inspect.picture import BLUE, GREY, ORANGE, RED
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS = 32


def gradients(networks: int, steps: int, gain: float, seed: int, *, shared: bool) -> Tensor:
    """Return log10 of the norm of d y / d h_t by lag, (T, networks), for networks as drawn.

    Each is h_t = tanh(W_t h_{t-1} + x_t), and y is a random direction in the last state; W_t is the
    same at all steps where weights are shared, and drawn for each step where they are not.
    """
    generator = torch.Generator().manual_seed(seed)
    matrices = 1 if shared else steps
    weights = torch.randn(matrices, networks, UNITS, UNITS, generator=generator)
    weights *= gain / UNITS**0.5
    inputs = 0.1 * torch.randn(steps, networks, UNITS, 1, generator=generator)
    way = torch.randn(networks, UNITS, 1, generator=generator)
    h = torch.zeros(networks, UNITS, 1, requires_grad=True)
    passed = [h]
    for t in range(steps):
        h = torch.tanh(weights[t % matrices] @ h + inputs[t])
        passed.append(h)
    y = (h * way / way.norm(dim=1, keepdim=True)).sum()
    found = torch.stack(torch.autograd.grad(y, passed)).double()
    norms: Tensor = found.norm(dim=(2, 3))
    return norms.log10().flip(0)


def run(seed: int, *, steps: int, gain: float, lower_gain: float, networks: int) -> Outcome:
    """Draw networks with and without shared weights, and compare their gradients."""
    logarithms = {
        "each step its own weights": gradients(networks, steps, gain, 3 * seed, shared=False),
        "weights shared": gradients(networks, steps, gain, 3 * seed + 1, shared=True),
        f"weights shared, gain {lower_gain:g}": gradients(
            networks, steps, lower_gain, 3 * seed + 2, shared=True
        ),
    }
    own, shared, lower = (float(each[-1].mean()) for each in logarithms.values())
    details = {
        "mean": {name: each.mean(1).tolist() for name, each in logarithms.items()},
        "last": {name: each[-1].tolist() for name, each in logarithms.items()},
    }
    return Outcome(shared - own, lower - own, details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the mean gradient by lag, and how far networks differ at the longest lag."""
    colours = (ORANGE, BLUE, RED)
    names = list(outcomes[0].details["mean"])
    for number, outcome in enumerate(outcomes):
        for colour, name in zip(colours, names, strict=True):
            label = None if number else name
            axes[0].plot(outcome.details["mean"][name], color=colour, alpha=0.75, label=label)
    axes[0].axhline(0, color=GREY, linewidth=1)
    axes[0].set(xlabel="lag, steps back", ylabel="log10 of the gradient's norm, mean")
    axes[0].legend()
    for colour, name in zip(colours, names, strict=True):
        last = sorted(value for outcome in outcomes for value in outcome.details["last"][name])
        share = [(place + 0.5) / len(last) for place in range(len(last))]
        axes[1].plot(last, share, color=colour)
    lag = len(outcomes[0].details["mean"][names[0]]) - 1
    axes[1].set(
        xlabel=f"log10 of the gradient's norm at lag {lag}", ylabel="share of networks below it"
    )


EXPERIMENT = Experiment(
    name="sharing-and-long-dependencies",
    section="expert remarks",
    claim="It is not the sharing of weights that makes gradients vanish: over 50 steps they shrink "
    "about as they do with weights of each step's own, on average by half a power of ten less. The "
    "gain of the weights decides; sharing makes networks differ more from one another.",
    question=Question(
        "Many random networks of 50 steps are drawn: some use one matrix at all steps, some a new "
        "one at each step, of the same size of entries. Whose gradient is smaller after 50 steps?",
        (
            "far smaller where the matrix is shared",
            "somewhat smaller where each step has its own",
            "far smaller where each step has its own",
        ),
        1,
    ),
    figure="powers of ten by which the gradient is larger with shared weights than with own ones",
    interval=(0.2, 0.9),
    control="weights shared, and their gain a tenth lower",
    run=run,
    draw=draw,
    meaning="Against vanishing gradients, look at the gain of the recurrent weights and at gates, "
    "not at sharing. Sharing repeats the same stretching at each step, so one drawn network may be "
    "a hundred times better or worse than the next: draw again, or make the matrix orthogonal, "
    "which has one gain for all directions.",
    page="The page says that sharing weights can make long dependencies hard to learn. At best "
    "that is half true: gradients shrink as they do without it. What is lost is that a step can't "
    "be treated unlike others, which gates that see the input give back.",
    knobs={
        "steps": Knob(50, "steps, T", least=2, most=200),
        "gain": Knob(1.0, "gain of the weights", least=0.5, most=2.0),
        "lower_gain": Knob(0.9, "gain of the weights in the control", least=0.5, most=2.0),
        "networks": Knob(400, "networks that are drawn", least=10, most=1000),
    },
    quick={"steps": 10, "networks": 20},
    columns=2,
)
