"""Where a network that remembers two bits rests when nothing comes in."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect import fixed_points
from throughtime.inspect.picture import BLUE, GREY, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, learn
from throughtime.layers.gru import GRUState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BITS = 2


def flip_flops(
    count: int, length: int, pulses: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return pulses of -1, 0 or 1 on two lines, (B, T, 2), and the last pulse of each."""
    signs = torch.rand(count, length, BITS, generator=generator).round() * 2 - 1
    x = signs * (torch.rand(count, length, BITS, generator=generator) < pulses)
    x[:, 0] = signs[:, 0]
    bits = [x[:, 0]]
    for pulse in x[:, 1:].unbind(1):
        bits.append(torch.where(pulse != 0, pulse, bits[-1]))
    return x, torch.stack(bits, 1)


def resting(model: Reader, h: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return where states (N, H) come to rest without input, and the saddles between, (P, H)."""
    quiet = torch.zeros(BITS)
    starts = h + 0.01 * torch.randn(h.shape, generator=generator)
    found = fixed_points(model.layer, quiet, GRUState(starts))
    stable = found.points[found.unstable == 0]
    # A saddle is between two stable points: look along the lines that join them.
    shares = torch.linspace(0.2, 0.8, 13, dtype=stable.dtype)[:, None, None, None]
    between = shares * stable[:, None] + (1 - shares) * stable
    edges = fixed_points(model.layer, quiet, GRUState(between.flatten(0, 2)))
    # No state of a GRU is ever beyond 1, though a point may be.
    within = edges.points.abs().amax(1) < 1
    return stable, edges.points[within & (edges.unstable > 0)]


def run(seed: int, *, hidden: int, pulses: float, updates: int) -> Outcome:
    """Count stable points of a network before and after it has learned to remember."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Reader(BITS, BITS, layer=f"gru:{hidden}", every=True, numbers=True)
    x, _ = flip_flops(32, 50, pulses, generator)
    with torch.no_grad():
        before, _ = resting(model, model.layer(x)[0][:, ::5].flatten(0, 1), generator)
    learn(
        model,
        lambda: flip_flops(64, 50, pulses, generator),
        updates=updates,
        rate=1e-2,
        loss=nn.functional.mse_loss,
    )
    with torch.no_grad():
        h = model.layer(x)[0]
        stable, saddles = resting(model, h[:, ::5].flatten(0, 1), generator)
        places = {"states": h[:4].flatten(0, 1), "stable": stable, "saddles": saddles}
        # What the network says in a state is where the picture puts it.
        details = {name: model.head(each.float()).tolist() for name, each in places.items()}
    return Outcome(float(len(stable)), float(len(before)), details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint states, stable points and saddles at what the network says in them."""
    looks = (
        ("states", ".", 2, GREY, "states of runs"),
        ("saddles", "x", 7, ORANGE, "saddles"),
        ("stable", "o", 7, BLUE, "stable points"),
    )
    for name, mark, size, colour, label in looks:
        points = [point for outcome in outcomes for point in outcome.details[name]]
        along, up = zip(*points, strict=True) if points else ((), ())
        axes[0].plot(along, up, mark, ms=size, alpha=0.7, color=colour, label=label)
    axes[0].set(xlabel="first bit, as the network says it", ylabel="second bit")
    axes[0].set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))
    axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5))


EXPERIMENT = Experiment(
    name="fixed-points",
    section="connections",
    claim="A network that has learned to remember two bits has four stable fixed points, one for "
    "each thing to remember, and saddles between them. Before training it has one, to which all "
    "is forgotten.",
    question=Question(
        "A GRU of 16 units has learned to hold two bits, each set now and then by a pulse. Nothing "
        "comes in any more. In how many states can it come to rest?",
        ("in one: without input all states fade to the same", "in two, one a bit", "in four"),
        2,
    ),
    figure="stable fixed points under no input",
    interval=(3.5, 4.5),
    control="the same network before training",
    run=run,
    draw=draw,
    meaning="What a network holds for any length of time is where its states come to rest: two "
    "bits need four such places, as a machine of four states has. A pulse takes the state over the "
    "edge between two, where the saddles are. What is not a stable point fades, at a speed that "
    "the derivative there tells.",
    page="The comparison with state machines is just, and can be seen: the states of the machine "
    "are the stable points.",
    knobs={
        "hidden": Knob(16, "units of the GRU", least=2, most=32),
        "pulses": Knob(0.15, "share of steps with a pulse, of each bit", least=0.02, most=0.5),
        "updates": Knob(400, "updates of the weights", least=1, most=2000),
    },
    quick={"updates": 2, "hidden": 4},
)
