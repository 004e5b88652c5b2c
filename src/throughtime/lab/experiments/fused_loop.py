"""A loop of cells in Python against loops in compiled code: the same numbers, in what time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.bench.measure import Effort, Way, difference, interleave
from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Run = Callable[[Tensor], Tensor]

LOOP, FUSED, OURS, BY_STEP = "loop of nn.GRUCell", "nn.GRU", "tt.GRU", "nn.GRU, a step a call"
LANES = (1, 8, 64)


def ways_to_run(units: int) -> dict[str, Run]:
    """Return ways from x (B, T, H) to the states of a GRU (B, T, H): the same weights, four loops.

    Where throughtime has no kernels for a machine, tt.GRU is run by those of nn.GRU.
    """
    fused, cell = nn.GRU(units, units, batch_first=True), nn.GRUCell(units, units)
    cell.load_state_dict({name[:-3]: value for name, value in fused.state_dict().items()})
    ours = tt.from_torch(fused)

    def loop(x: Tensor) -> Tensor:
        h, states = x.new_zeros(len(x), units), []
        for t in range(x.shape[1]):
            h = cell(x[:, t], h)
            states.append(h)
        return torch.stack(states, 1)

    def by_step(x: Tensor) -> Tensor:
        h, states = None, []
        for t in range(x.shape[1]):
            y, h = fused(x[:, t : t + 1], h)
            states.append(y)
        return torch.cat(states, 1)

    return {LOOP: loop, FUSED: lambda x: fused(x)[0], OURS: lambda x: ours(x)[0], BY_STEP: by_step}


def speeds(runs: dict[str, Run], x: Tensor, rounds: int, *, train: bool) -> dict[str, float]:
    """Return how many times faster than the loop each is."""

    def call(run: Run) -> None:
        with torch.set_grad_enabled(train):
            y = run(x)
        if train:
            torch.autograd.backward(y.sum())

    ways = {name: Way(partial(call, run)) for name, run in runs.items()}
    times = interleave(ways, Effort(0.0, (rounds, rounds), 0))
    # What else a machine does only ever adds to a time, so the shortest is the most like itself.
    return {name: min(times[LOOP]) / min(taken) for name, taken in times.items()}


def compare(units: int, *, steps: int, lanes: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return how far results are apart, and how fast each way is, forward and in training."""
    runs, x = ways_to_run(units), torch.randn(lanes, steps, units)
    with torch.no_grad():
        states = runs[LOOP](x)
        apart = {name: difference(run(x), states) for name, run in runs.items()}
    return {
        "apart": apart,
        "forward": speeds(runs, x, rounds, train=False),
        "training": speeds(runs, x, rounds, train=True),
    }


def run(seed: int, *, steps: int, units: int, rounds: int) -> Outcome:
    """Compare results and times for several numbers of sequences at once."""
    torch.manual_seed(seed)
    # A step is too small to be shared, and threads that wait for each other at every step are the
    # slower the more else is run.
    with tt.kernels.threads_for(0):
        by_lanes = {
            str(lanes): compare(units, steps=steps, lanes=lanes, rounds=rounds) for lanes in LANES
        }
    alone = by_lanes[str(LANES[0])]["forward"]
    return Outcome(alone[FUSED], alone[BY_STEP], {"by lanes": by_lanes})


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how many times faster than the loop in Python each way is."""
    lanes = list(outcomes[0].details["by lanes"])
    for place, kind in zip(axes, ("forward", "training"), strict=True):
        for color, name in zip(picture.SERIES, (LOOP, FUSED, OURS, BY_STEP), strict=False):
            label: str | None = name
            for outcome in outcomes:
                found = outcome.details["by lanes"]
                speed = [found[each][kind][name] for each in lanes]
                place.loglog([int(each) for each in lanes], speed, ".-", color=color, label=label)
                label = None
        place.set_xticks([int(each) for each in lanes], lanes, minor=False)
        ticks = (0.1, 1, 10, 100)
        place.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        place.set_xticks([], minor=True)
        place.set(xlabel="sequences at once", title=kind)
    axes[0].set_ylabel("times as fast as the loop in Python")
    axes[0].legend(loc="upper center", ncols=2)


EXPERIMENT = Experiment(
    name="fused-loop",
    section="build-up",
    claim="nn.GRU and a Python loop of nn.GRUCell compute the same numbers, step after step. "
    "What nn.GRU saves is the calls from Python: about half of the time for one sequence and a "
    "small state, and less the more there is to compute in a step.",
    question=Question(
        "nn.GRU takes a whole sequence in one call. Next to a Python loop of nn.GRUCell over 100 "
        "steps of one sequence, how fast is that call?",
        (
            "about 100 times as fast: the steps are done at once",
            "a few times as fast: the same steps, without the calls from Python",
            "just as fast: a loop is a loop",
        ),
        1,
    ),
    figure="speed of nn.GRU, in multiples of a Python loop of cells, one sequence, forward",
    interval=(1.3, 10.0),
    control="nn.GRU called for one step at a time: the loop is in Python again",
    run=run,
    draw=draw,
    meaning="Write the loop in Python whenever a step needs something of its own: what it costs is "
    "the calls, and those only matter where steps are small. A kernel that keeps the loop, the "
    "gates and the gradient together, as tt.GRU's does where its compiled part is there, saves "
    "more than the calls, most of all in training.",
    page="The page leaves open whether 'handles sequences internally' means at once. It means a "
    "loop, in another language. In training, nn.GRU on a CPU gains little: autograd still records "
    "every operation of every step.",
    knobs={
        "steps": Knob(100, "steps of a sequence", least=8, most=400),
        "units": Knob(32, "numbers in the state", least=4, most=128),
        "rounds": Knob(12, "times that each way is timed", least=1, most=50),
    },
    quick={"steps": 8, "rounds": 1},
    columns=2,
    alone=True,
)
