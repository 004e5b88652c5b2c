"""What clipping does for training, what initialisation does, and one without the other."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from throughtime.inspect.picture import BLUE, GREY, ORANGE, RED
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS, LANES = 32, 32
DIVERGED = 1e6
"""The error that stands for one that is no number any more."""
BOTH, ORTHOGONAL, CLIPPED = "both", "orthogonal start alone", "clipping alone"


def numbers(length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return sequences (B, T, 1) of a number and then zeros, and the number, (B, 1)."""
    x = torch.zeros(LANES, length, 1)
    x[:, 0] = 2 * torch.rand(LANES, 1, generator=generator) - 1
    return x, x[:, 0]


def start(*, orthogonal: bool) -> nn.RNN:
    """Return an RNN as torch makes it, or one whose recurrent weights keep lengths."""
    layer = nn.RNN(1, UNITS, batch_first=True)
    if orthogonal:
        for name, weight in layer.named_parameters():
            if name == "weight_hh_l0":
                nn.init.orthogonal_(weight)
            elif name != "weight_ih_l0":
                nn.init.zeros_(weight)
    return layer


def train(
    seed: int, *, length: int, updates: int, rate: float, clip: float, orthogonal: bool
) -> tuple[list[float], list[float]]:
    """Train for the first number after the last step; return errors and norms by update.

    An error is the mean square by the variance of the number: 1 is what a constant would have.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    layer, head = start(orthogonal=orthogonal), nn.Linear(UNITS, 1)
    weights = [*layer.parameters(), *head.parameters()]
    optimiser = torch.optim.SGD(weights, lr=rate, momentum=0.9)
    errors, norms = [], []
    for _ in range(updates):
        x, wanted = numbers(length, generator)
        loss = 3 * nn.functional.mse_loss(head(layer(x)[0][:, -1]), wanted)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(weights, clip)
        optimiser.step()
        errors.append(float(loss.detach()))
        norms.append(float(norm))
        if not math.isfinite(errors[-1]):
            break
    return errors, norms


def run(seed: int, *, length: int, updates: int, rate: float, clip: float) -> Outcome:
    """Train with both, and with each alone."""
    ways: dict[str, Any] = {
        BOTH: {"orthogonal": True, "clip": clip},
        ORTHOGONAL: {"orthogonal": True, "clip": math.inf},
        CLIPPED: {"orthogonal": False, "clip": clip},
    }
    errors, norms, final = {}, {}, {}
    for name, way in ways.items():
        found, seen = train(seed, length=length, updates=updates, rate=rate, **way)
        last = found[-max(len(found) // 10, 1) :]
        final[name] = sum(last) / len(last) if math.isfinite(last[-1]) else DIVERGED
        errors[name] = [each for each in found if math.isfinite(each)]
        norms[name] = [each for each in seen if math.isfinite(each)]
    control = min(final[ORTHOGONAL], final[CLIPPED])
    return Outcome(final[BOTH], control, {"error": errors, "norm": norms})


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the error and the norm of the gradient, before it is clipped, by update."""
    for number, outcome in enumerate(outcomes):
        for colour, name in ((RED, ORTHOGONAL), (ORANGE, CLIPPED), (BLUE, BOTH)):
            label = None if number else name
            style = {"color": colour, "alpha": 0.6, "linewidth": 1.0}
            axes[0].semilogy(outcome.details["error"][name], label=label, **style)
            axes[1].semilogy(outcome.details["norm"][name], **style)
    axes[0].axhline(1, linestyle="--", color=GREY, linewidth=1)
    axes[0].set(xlabel="updates", ylabel="squared error, share of the variance", ylim=(1e-3, 1e3))
    axes[1].set(xlabel="updates", ylabel="norm of the gradient before clipping", ylim=(1e-4, 1e6))
    axes[0].legend(loc="upper right")


EXPERIMENT = Experiment(
    name="clipping-and-initialisation",
    section="expert remarks",
    claim="Clipping and initialisation do different things, and a plain RNN needs both: a start "
    "that keeps gradients alive lets it learn over 50 steps, and the same start lets gradients "
    "grow; clipping holds those back, and can't revive what has vanished.",
    question=Question(
        "An RNN is to give back a number after 50 steps. With an orthogonal start and gradients "
        "clipped it learns to. What if one of the two is left out?",
        (
            "without clipping it blows up; without the start it learns nothing",
            "without clipping it learns too, only less smoothly",
            "without the start it learns too, only later: clipping keeps it safe",
        ),
        0,
    ),
    figure="squared error at the end of training, as a share of the number's variance",
    interval=(0.0, 0.5),
    control="the better of the two with one of them alone",
    run=run,
    draw=draw,
    meaning="Watch the norm of the gradient while you train: if it leaps, clip, at about what it "
    "is on quiet updates. It does not show what has vanished: where nothing is learned here, it is "
    "about a half, all of it from the last steps. Look at the gradient by lag, and change the "
    "start, the gates or the length.",
    page="The page names both in one breath, against exploding and vanishing gradients. Clipping "
    "is of use against the first only; against the second there are the start and gates.",
    knobs={
        "length": Knob(50, "steps until the number is asked for", least=2, most=150),
        "updates": Knob(400, "updates of the weights", least=1, most=2000),
        "rate": Knob(0.02, "learning rate, with momentum 0.9", least=0.0001, most=0.2),
        "clip": Knob(0.5, "the largest norm of a gradient", least=0.01, most=1000.0),
    },
    quick={"length": 5, "updates": 20},
    columns=2,
)
