"""What waits for what in a sequence model, and what that costs on the device at hand."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn import functional

import throughtime as tt
from throughtime.inspect.picture import BLUE, GREEN, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, LANES = 32, 4
Model = Callable[[Tensor], Tensor]


class LinearRecurrence(nn.Module):
    """h_t = a_t h_{t-1} + (1 - a_t) v_t, all steps at once, in log2 T rounds of doubling."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return h (B, T, H) from x (B, T, F)."""
        a = torch.sigmoid(self.gate(x))
        h: Tensor = (1 - a) * self.value(x)
        reach = 1
        while reach < x.shape[1]:
            # What a span of steps does to a state is again a product and a sum.
            h = h + a * functional.pad(h, (0, 0, reach, 0))[:, :-reach]
            a = a * functional.pad(a, (0, 0, reach, 0), value=1.0)[:, :-reach]
            reach *= 2
        return h


class Attention(nn.Module):
    """Causal attention of one head: each step looks at all steps up to it."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (B, T, F) from x (B, T, F)."""
        query, key, value = self.enter(x).chunk(3, dim=2)
        y: Tensor = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return y


def depth(output: Tensor) -> int:
    """Return how many operations the longest chain has that leads to a tensor.

    No two of a chain can run at the same time, whatever the device.
    """
    longest: dict[Node, int] = {}
    assert output.grad_fn is not None
    waiting = [output.grad_fn]
    while waiting:
        node = waiting[-1]
        before = [other for other, _ in node.next_functions if other is not None]
        missing = [other for other in before if other not in longest]
        if missing:
            waiting += missing
        else:
            longest[node] = 1 + max((longest[other] for other in before), default=0)
            waiting.pop()
    return longest[output.grad_fn]


def earlier_change(model: Model, x: Tensor) -> float:
    """Return how far outputs of the first half move where all inputs of the second change."""
    middle = x.shape[1] // 2
    other = torch.cat([x[:, :middle], torch.randn_like(x[:, middle:])], 1)
    with torch.no_grad():
        return float((model(x) - model(other))[:, :middle].abs().max())


def time_training(models: Sequence[Model], x: Tensor, repeats: int) -> list[float]:
    """Return the shortest seconds of forward and backward of each; they take turns.

    What else a machine does only ever adds to a time.
    """
    taken: list[list[float]] = [[] for _ in models]
    for _ in range(repeats):
        for model, seconds in zip(models, taken, strict=True):
            begun = time.perf_counter()
            torch.autograd.backward(model(x).sum())
            seconds.append(time.perf_counter() - begun)
    return [min(seconds) for seconds in taken]


def run(seed: int, *, shortest: int, longest: int, repeats: int) -> Outcome:
    """Count the depth of three models at several lengths, and time them."""
    # On as many threads as torch has: what is asked is what this device makes of it.
    torch.manual_seed(seed)
    lstm = tt.LSTM(WIDTH, WIDTH)
    two_ways = tt.Bidirectional(tt.LSTM(WIDTH, WIDTH), tt.LSTM(WIDTH, WIDTH))
    models: dict[str, Model] = {
        "LSTM": lambda x: lstm(x)[0],
        "linear recurrence": LinearRecurrence(),
        "attention": Attention(),
    }
    x = torch.randn(LANES, longest, WIDTH)
    short = [shortest * 2**place for place in range(5)]
    # The kernels that run an LSTM fast are one node of the graph; the reference shows each step.
    with tt.kernels.use("reference"):
        depths = {
            name: [depth(model(x[:, :steps])) for steps in short] for name, model in models.items()
        }
    changes = {
        "one direction": earlier_change(models["LSTM"], x[:, : short[-1]]),
        "both": earlier_change(lambda x: two_ways(x)[0], x[:, : short[-1]]),
    }
    lengths = [shortest]
    while 2 * lengths[-1] <= longest:
        lengths.append(2 * lengths[-1])
    time_training(list(models.values()), x, 1)  # the first run of all is a slow one
    rows = [time_training(list(models.values()), x[:, :steps], repeats) for steps in lengths]
    seconds = dict(zip(models, map(list, zip(*rows, strict=True)), strict=True))
    growth = {name: each[-1] / each[-3] for name, each in depths.items()}
    details = {
        "depth": {"steps": short, **depths},
        "seconds": {"steps": lengths, **seconds},
        "earlier": changes,
    }
    return Outcome(growth["LSTM"], growth["linear recurrence"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the longest chain of operations, and the time on this device, by length."""
    labels = ("operations in the longest chain", "forward and backward here, s")
    colours = ((BLUE, "LSTM"), (GREEN, "linear recurrence"), (ORANGE, "attention"))
    for axis, kind, measure in zip(axes, ("depth", "seconds"), labels, strict=True):
        for number, outcome in enumerate(outcomes):
            curves = outcome.details[kind]
            for colour, name in colours:
                axis.plot(
                    curves["steps"],
                    curves[name],
                    "o-",
                    color=colour,
                    alpha=0.75,
                    markersize=3,
                    label=None if number else name,
                )
        axis.set(xlabel="steps, T", ylabel=measure)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
    earlier = outcomes[0].details["earlier"]
    axes[0].set_title(
        f"later inputs move earlier outputs by {earlier['one direction']:g}\n"
        f"(in a network of both directions by {earlier['both']:.1g})"
    )
    axes[0].legend(loc="center right")


EXPERIMENT = Experiment(
    name="parallel-or-step-by-step",
    section="myths",
    claim="A recurrent network reads step by step: no later input touches an earlier output, and "
    "four times as many steps are a chain of operations four times as long. A recurrence that is "
    "linear in its state gives all steps in a chain that hardly grows.",
    question=Question(
        "No operation of a chain can begin before the one before it has ended. A sequence becomes "
        "four times as long: how does the longest chain of an LSTM grow, and that of a recurrence "
        "h_t = a_t h_{t-1} + b_t?",
        (
            "both fourfold: every recurrence goes step by step",
            "fourfold for the LSTM, by a quarter or so for the other",
            "neither grows: all steps run at the same time",
        ),
        1,
    ),
    figure="longest chain of operations of an LSTM, in times of that of a quarter of the steps",
    interval=(3.5, 4.1),
    control="a recurrence that is linear in the state, computed by doubling",
    run=run,
    draw=draw,
    meaning="The long chain is a limit on hardware that does thousands of things at once, and only "
    "there: see on the right what is fastest on this device. Where the chain is the limit, take a "
    "layer that is linear in its state, such as min_gru or rg_lru: it is recurrent when it streams "
    "and parallel when it trains, at the price of gates that do not see the state.",
    page="The page says that RNNs go step by step, which limits parallelism. That holds for those "
    "whose next state is a nonlinear function of the last; and slow they are on some devices only.",
    knobs={
        "shortest": Knob(16, "steps of the shortest sequence", least=2, most=32),
        "longest": Knob(1024, "steps of the longest sequence that is timed", least=512, most=4096),
        "repeats": Knob(9, "runs that are timed of each", least=1, most=21),
    },
    quick={"shortest": 4, "longest": 512, "repeats": 1},
    columns=2,
    alone=True,
)
