"""What the next step of a stream costs, after few steps and after many."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

import throughtime as tt
from throughtime.inspect.picture import BLUE, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST, HEADS = 100, 4


class CachedAttention(nn.Module):
    """Causal attention over all steps so far, one step at a time, with their keys and values."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__()
        self.enter = nn.Linear(size, 3 * size)
        self.leave = nn.Linear(size, size)
        self.keys, self.values = torch.randn(2, 1, HEADS, most, size // HEADS)

    def step(self, x: Tensor, position: int) -> Tensor:
        """One step: x (1, F) to y (1, F), which looks at steps 0 to `position`."""
        query, key, value = self.enter(x).view(3, 1, HEADS, 1, -1)
        self.keys[:, :, position : position + 1] = key
        self.values[:, :, position : position + 1] = value
        keys, values = (cache[:, :, : position + 1] for cache in (self.keys, self.values))
        seen = functional.scaled_dot_product_attention(query, keys, values)
        y: Tensor = self.leave(seen.flatten(1))
        return y

    def carried_bytes(self, position: int) -> int:
        """Return how many bytes of keys and values there are of steps 0 to `position`."""
        kept = self.keys[:, :, : position + 1]
        size: int = 2 * kept.numel() * kept.element_size()
        return size


def time_steps(steps: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median seconds of each step.

    They take turns, so that what else the machine does falls on all of them alike; each runs twice
    before it is timed, so that it does not pay for what the one before it left in the cache.
    """
    taken: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        for step, seconds in zip(steps, taken, strict=True):
            step()
            step()
            begun = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begun)
    return [median(seconds) for seconds in taken]


@torch.inference_mode()
def run(seed: int, *, size: int, last: int, repeats: int) -> Outcome:
    """Run an LSTM and attention with a cache, and time the next step at several positions."""
    # On as many threads as torch has: each is only compared with itself at another position.
    torch.manual_seed(seed)
    positions = [FIRST]
    while positions[-1] < last:
        positions.append(min(2 * positions[-1], last))
    size -= size % HEADS
    x = torch.randn(1, last + 1, size)
    lstm, attention = tt.LSTM(size, size), CachedAttention(size, last + 1)
    reached = [lstm(x[:, :position])[1] for position in positions]
    taken = {
        "LSTM": time_steps([partial(lstm.step, x[:, 0], state) for state in reached], repeats),
        "attention": time_steps(
            [partial(attention.step, x[:, 0], position) for position in positions], repeats
        ),
    }
    kept = {
        "LSTM": [sum(leaf.nbytes for leaf in tt.state.leaves(state)) for state in reached],
        "attention": [attention.carried_bytes(position) for position in positions],
    }
    growth = {name: each[-1] / each[0] for name, each in taken.items()}
    details = {"positions": positions, "seconds": taken, "bytes": kept}
    return Outcome(growth["LSTM"], growth["attention"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the time of a step, and what is carried to it, by how many steps came before."""
    names = {"LSTM": "LSTM", "attention": "attention with a cache"}
    for number, outcome in enumerate(outcomes):
        positions = outcome.details["positions"]
        for colour, name in ((BLUE, "LSTM"), (ORANGE, "attention")):
            label = None if number else names[name]
            micro = [1e6 * each for each in outcome.details["seconds"][name]]
            kilo = [each / 1000 for each in outcome.details["bytes"][name]]
            axes[0].loglog(positions, micro, "o-", color=colour, alpha=0.75, markersize=3)
            axes[1].loglog(
                positions, kilo, "o-", color=colour, alpha=0.75, markersize=3, label=label
            )
    axes[0].set(xlabel="steps so far", ylabel="time of the next step, \u00b5s")
    axes[1].set(xlabel="steps so far", ylabel="carried to the next step, kB")
    axes[1].legend()


EXPERIMENT = Experiment(
    name="streaming-cost",
    section="when and where",
    claim="A recurrent network's next step costs the same after a hundred steps and after ten "
    "thousand, in time and in what is carried. Attention looks back at every step so far, so its "
    "next step costs ever more.",
    question=Question(
        "An LSTM and an attention layer of the same width read a stream, one step at a time. What "
        "does the next step take after 12,800 steps, compared with after 100?",
        (
            "more for both: there is more to remember",
            "as much for the LSTM, many times as much for attention",
            "as much for both: attention keeps its keys and values",
        ),
        1,
    ),
    figure="time of the LSTM's step at the last position, in times of that at the first",
    interval=(0.5, 2.0),
    control="attention over all steps so far, with a cache of keys and values",
    run=run,
    draw=draw,
    meaning="For a stream without an end, on a device with little memory or for many streams at "
    "once, a state of fixed size is what can be afforded. Near the start attention may be the "
    "faster one; what matters is where the curves cross on your device, and that the cache of each "
    "stream has to be kept.",
    page="The page leaves embedded use to RNNs for simplicity and low resource use, and gives no "
    "measure. It is the cost of a step that does not grow.",
    knobs={
        "size": Knob(128, "width of both layers", least=8, most=256),
        "last": Knob(12800, "steps so far at the last position", least=200, most=25600),
        "repeats": Knob(101, "steps that are timed at each position", least=3, most=101),
    },
    quick={"size": 16, "last": 400, "repeats": 5},
    columns=2,
    alone=True,
)
