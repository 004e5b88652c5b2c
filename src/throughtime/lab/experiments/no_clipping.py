"""What one update does when a gradient explodes, with and without a limit to its norm."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect.picture import BLUE, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader
from throughtime.layers import RNN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HIDDEN = 64
MEAN = 1 / 6
"""Squared error of always saying the mean: the variance of the sum of two numbers in [0, 1]."""
MOST = 1e12
"""Losses are cut here: what comes after, to infinity and NaN, is broken all the same."""


def additions(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return numbers and marks (B, T, 2), and the sum of the two marked numbers, (B, 1)."""
    numbers = torch.rand(count, length, generator=generator)
    places = torch.rand(count, length, generator=generator).argsort(1)[:, :2]
    marks = torch.zeros(count, length).scatter_(1, places, 1.0)
    return torch.stack([numbers, marks], 2), (numbers * marks).sum(1, keepdim=True)


def integrator(width: int, gain: float) -> RNN:
    """Return a layer of ReLUs that keeps its state times a gain (Le, Jaitly and Hinton 2015)."""
    layer = RNN(width, HIDDEN, nonlinearity="relu", bias=False)
    with torch.no_grad():
        layer.weight_hh.copy_(gain * torch.eye(HIDDEN))
        layer.weight_ih.normal_(0, 0.1)
    return layer


def train(
    length: int, gain: float, updates: int, clip: float, seed: int
) -> tuple[list[float], list[float]]:
    """Return the loss and the norm of the gradient at each update, relative to always MEAN."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Reader(2, 1, layer=lambda width: integrator(width, gain), numbers=True)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    losses, norms = [], []
    for _ in range(updates):
        x, answers = additions(64, length, generator)
        loss = nn.functional.mse_loss(model(x), answers)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        losses.append(bounded(float(loss.detach()) / MEAN))
        norms.append(bounded(float(norm.detach())))
    return losses, norms


def bounded(number: float) -> float:
    """Return a number as a picture can show it."""
    return min(number, MOST) if math.isfinite(number) else MOST


def run(seed: int, *, length: int, gain: float, clip: float, updates: int) -> Outcome:
    """Train the same network on the same sequences with and without clipping."""
    details = {}
    for name, limit in (("no clipping", math.inf), ("clipped", clip)):
        losses, norms = train(length, gain, updates, limit, seed)
        details[name] = {"losses": losses, "norms": norms}
    ends = {name: sum(each["losses"][-30:]) / 30 for name, each in details.items()}
    return Outcome(ends["clipped"], ends["no clipping"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint losses and norms of gradients over the updates."""
    colours = {"no clipping": ORANGE, "clipped": BLUE}
    for place, outcome in enumerate(outcomes):
        for name, curves in outcome.details.items():
            label = name if place == 0 else None
            for axis, kind in zip(axes, ("losses", "norms"), strict=True):
                axis.plot(curves[kind], color=colours[name], label=label, lw=0.9, alpha=0.8)
    axes[0].axhline(1, linestyle="--", color="grey", linewidth=1)
    axes[0].set(yscale="log", xlabel="updates", ylabel="loss (1: always the mean)")
    axes[1].set(yscale="log", xlabel="updates", ylabel="norm of the gradient, unclipped")
    axes[0].legend(loc="upper right")


EXPERIMENT = Experiment(
    name="no-clipping",
    section="pitfalls",
    claim="Where gradients can explode, one update without a limit to their norm can throw a "
    "network so far that it learns nothing any more. With the limit, the same network learns from "
    "the same sequences.",
    question=Question(
        "A network of ReLUs that starts as a perfect integrator learns to add the two marked "
        "numbers of 20, by gradient descent with momentum. Norms of its gradients reach some tens. "
        "What does clipping them to 1 change?",
        (
            "it learns, and without clipping it ends no better than always saying the mean",
            "it learns more slowly, since its steps are smaller",
            "nothing in the end: without clipping the loss jumps, and comes down again",
        ),
        0,
    ),
    figure="loss at the end, where always saying the mean has 1",
    interval=(0.0, 0.4),
    control="the same training without clipping",
    run=run,
    draw=draw,
    meaning="Clipping keeps the direction of a gradient and bounds its size, so that no single "
    "update undoes all others. Look at norms over a training to choose the limit: about where most "
    "of them are. One NaN in a gradient makes every gradient NaN when they are clipped together: "
    "pass `error_if_nonfinite=True` to be told.",
    page="Right, and the cause is missing: whether gradients explode is a matter of the recurrent "
    "weights, the steps and the size of the updates.",
    knobs={
        "length": Knob(20, "steps of a sequence", least=2, most=60),
        "gain": Knob(1.0, "factor of the state at each step, at the start", least=0.1, most=1.5),
        "clip": Knob(1.0, "the largest norm of a gradient", least=0.01, most=1000),
        "updates": Knob(800, "updates of the weights", least=30, most=3000),
    },
    quick={"updates": 30},
    columns=2,
)
