"""What a model is worth live when its windows were scaled by what lies ahead in them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect.picture import BLUE, GREEN, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scale = Callable[[Tensor], tuple[Tensor, Tensor]]


def walks(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Return random walks (B, T): nobody can foresee more of the next value than the last one."""
    return torch.randn(count, length, generator=generator).cumsum(1)


def by_window(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of all the values that are given, (B, 1) each."""
    return values.mean(1, keepdim=True), values.std(1, keepdim=True)


def by_start(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first value and a fixed size, (B, 1) each: known from the first step on."""
    return values[:, :1], torch.full_like(values[:, :1], 3.0)


def foresee(model: nn.Module, values: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    """Return the expected change after each value, (B, T), in units of the values."""
    middle, size = scale
    scaled = (values - middle) / size
    changes: Tensor = model(scaled[:, :, None])[:, :, 0] * size
    return changes


@torch.no_grad()
def errors(model: nn.Module, scale: Scale, values: Tensor, *, live: bool) -> list[float]:
    """Return the squared error of each step, relative to that of saying the last value again."""
    changes = values.diff(dim=1)
    if live:
        # At each step, only what came so far is there to be scaled by.
        steps = range(2, values.shape[1])
        seen = [foresee(model, values[:, :t], scale(values[:, :t]))[:, -1] for t in steps]
        expected = torch.stack(seen, 1)
    else:
        expected = foresee(model, values, scale(values))[:, 1:-1]
    changes = changes[:, 1:]
    found = (expected - changes).square().mean(0) / changes.square().mean(0)
    return found.tolist()


def run(seed: int, *, length: int, updates: int) -> Outcome:
    """Train on windows scaled in two ways, and score each as in validation and as live."""
    generator = torch.Generator().manual_seed(seed)
    tests = walks(2000, length, generator)
    details, ratios = {}, []
    for name, scale in (("by the whole window", by_window), ("by its start", by_start)):
        torch.manual_seed(seed)
        model = Reader(1, 1, layer="gru:32", every=True, numbers=True)

        def sample(scale: Scale = scale) -> tuple[Tensor, Tensor]:
            values = walks(64, length, generator)
            middle, size = scale(values)
            scaled = ((values - middle) / size)[:, :, None]
            return scaled[:, :-1], scaled.diff(dim=1)

        learn(model, sample, updates=updates, loss=nn.functional.mse_loss)
        found = {
            "validation": errors(model, scale, tests, live=False),
            "live": errors(model, scale, tests, live=True),
        }
        ratios.append(sum(found["live"]) / sum(found["validation"]))
        details[name] = found
    return Outcome(ratios[0], ratios[1], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the error of each step, in validation and live."""
    looks = (
        ("by the whole window", "live", ORANGE, "-"),
        ("by its start", "live", GREEN, "-"),
        ("by its start", "validation", GREEN, ":"),
        ("by the whole window", "validation", BLUE, "-"),
    )
    for place, outcome in enumerate(outcomes):
        for name, kind, colour, line in looks:
            found = outcome.details[name][kind]
            label = f"scaled {name}: {kind}" if place == 0 else None
            axes[0].plot(range(3, len(found) + 3), found, line, color=colour, label=label)
    axes[0].set_yscale("log")
    axes[0].set_yticks([0.2, 0.5, 1, 2, 4], ["0.2", "0.5", "1", "2", "4"])
    axes[0].minorticks_off()
    axes[0].set(xlabel="step of the window", ylabel="squared error (1: the last value again)")
    axes[0].legend(loc="upper left")


EXPERIMENT = Experiment(
    name="train-deploy-mismatch",
    section="pitfalls",
    claim="Where windows are scaled by their own mean and deviation, what lies ahead is in the "
    "scale: a network seems to foresee a random walk in validation, and is worse than the last "
    "value live, where only the past is there to scale by.",
    question=Question(
        "Windows of a random walk are brought to mean 0 and deviation 1, each by itself, and a GRU "
        "learns to say the next value from those before. Nothing about the next step of a random "
        "walk can be known. What does validation on such windows show?",
        (
            "an error as large as that of saying the last value again",
            "an error of about half of it, and live more than that of the last value",
            "an error larger than that of the last value, in validation and live",
        ),
        1,
    ),
    figure="error live divided by error in validation",
    interval=(2.0, 5.0),
    control="windows scaled by what is known from their first step on",
    run=run,
    draw=draw,
    meaning="A mean of 0 over the window says where the walk has to end. The network learned this, "
    "which is of no use live. A bidirectional layer, a fill of gaps from behind or a normalisation "
    "over time have the same fault: whatever is not computed step by step from the past. The test "
    "is to feed what will be fed live, a step at a time, and to compare: both must agree.",
    page="The page says nothing of it. It is a fault of the code around a network, and the network "
    "itself runs without complaint.",
    knobs={
        "length": Knob(16, "values in a window", least=4, most=48),
        "updates": Knob(800, "updates of the weights", least=1, most=3000),
    },
    quick={"updates": 5},
)
