"""Part `family`: training each layer by name, beside the public way of doing it in plain PyTorch.

The peer of a classic layer is torch.nn's. That of a layer with a linear recurrence is the same
layer with the scan over logarithms in place of the recurrence. Where eigenvalues are real it takes
real logarithms, which are faster than complex ones but need positive numbers: the peer then recurs
over absolute values. Everything else is held against its own step in a Python loop.
"""

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from throughtime import kernels, layers
from throughtime.bench.case import Case, Plan
from throughtime.bench.figure import Bar, Figure
from throughtime.bench.linear import LOGARITHMIC, logarithmic
from throughtime.bench.measure import Effort, agree, drawn, interleave
from throughtime.bench.pairs import FLOAT32, PEERS, Size, Training, as_text, trainings
from throughtime.recurrent import LinearRecurrent, Recurrent

SIZE: Size = (16, 784, 1, 128)
"""B, T, F, H: images read pixel by pixel."""
ASKED = 15.0
"""Times faster than the log-space scan."""
LOOP = "a loop over steps"
IN_LOGARITHMS = 1e-1
"""The scan takes sums over a whole sequence from one another, and the gradient of a parameter adds
up what that costs over all of it."""
IN_A_LOOP = 1e-3
"""Two orders of adding, over many steps of a layer that may sharpen differences."""

_LEAST = 1e-6

Recur = Callable[[Tensor, Tensor], Tensor]


def cases(*, quick: bool) -> list[Case]:
    """Return one case for each layer; a loop over steps takes too long to be quick."""
    return [
        _case(name)
        for name in layers.names()
        if not quick or name in PEERS or name in ("min_gru", "lru")
    ]


def _case(name: str) -> Case:
    linear = isinstance(_made(name, 1, 4), LinearRecurrent)
    figure = Figure(
        part="family",
        layer=name,
        case=as_text(SIZE),
        peer=PEERS.get(name, LOGARITHMIC if linear else LOOP),
        unit="ms",
        asked=(Bar("ratio", "at least", ASKED),) if linear else (),
        size=SIZE,
    )
    return Case((figure,), _measure, 20.0)


def _made(name: str, features: int, units: int) -> Recurrent:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return layers.make(name, features, units)


def _measure(plan: Plan, effort: Effort) -> list[Figure]:
    (figure,) = plan
    lanes, steps, features, units = SIZE
    if figure.layer in PEERS:
        layer, ours, theirs = trainings(figure.layer, SIZE)
        apart = _apart(ours, theirs, FLOAT32)
    else:
        layer = _made(figure.layer, features, units)
        x, weighting = drawn(lanes, steps, features, seed=1), drawn(lanes, steps, units, seed=2)
        ours = Training(lambda x: layer(x)[0], layer, x, weighting)
        if isinstance(layer, LinearRecurrent):
            theirs = Training(_through(layer, _in_logarithms), layer, x, weighting)
            plain = Training(_through(layer, _as_is), layer, x, weighting)
            apart = _apart(plain, theirs, IN_LOGARITHMS)
        else:
            theirs = Training(_step_by_step(layer), layer, x, weighting)
            apart = _apart(ours, theirs, IN_A_LOOP)
    times = interleave({"ours": ours.way, "theirs": theirs.way}, effort)
    return [
        figure.measured(
            1e3 * statistics.median(times["ours"]),
            1e3 * statistics.median(times["theirs"]),
            difference=apart,
            backend=layer.backend,
        )
    ]


def _apart(ours: Training, theirs: Training, tolerance: float) -> float:
    def results(training: Training) -> dict[str, Tensor]:
        training.clear()
        training()
        found = {name: each.clone() for name, each in training.results().items()}
        training.clear()
        return found

    return agree(results(ours), results(theirs), tolerance)


def _step_by_step(layer: Recurrent) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        with kernels.use("reference"):
            y: Tensor = layer(x)[0]
        return y

    return forward


def _through(layer: LinearRecurrent, recur: Recur) -> Callable[[Tensor], Tensor]:
    """Return the layer with another recurrence, over positive numbers where they are real."""

    def forward(x: Tensor) -> Tensor:
        a, b = layer.coefficients(x)
        if not a.is_complex():
            a, b = a.clamp(min=_LEAST), b.abs().clamp(min=_LEAST)
        return layer.read_out(recur(a.expand_as(b), b), x)

    return forward


def _as_is(a: Tensor, b: Tensor) -> Tensor:
    h, _ = kernels.linear_recurrence(a, b, torch.zeros_like(b[:, 0]))
    return h


def _in_logarithms(a: Tensor, b: Tensor) -> Tensor:
    return logarithmic(a.log(), b.log())
