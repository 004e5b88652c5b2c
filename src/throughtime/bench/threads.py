"""Part `threads`: our threads right after a product of torch's, whose threads may still be waiting.

Two pools of threads in a process can take the cores from each other: a pool that has just been
used keeps its threads spinning for a while. In a network, a product of torch's comes right before
a layer.
"""

import statistics

import torch

from throughtime.bench.case import Case, Plan
from throughtime.bench.figure import Figure
from throughtime.bench.measure import Effort, Way, agree, drawn, interleave
from throughtime.bench.pairs import FLOAT32, OURS, PEERS, Size, Training, as_text, trainings

SIZES: tuple[Size, ...] = ((8, 200, 8, 32), (32, 256, 64, 128))
PRODUCT = 1024
"""Rows and columns of the two matrices that are multiplied."""


def cases(*, quick: bool) -> list[Case]:
    """Return the sizes of each layer."""
    return [_case(name, size) for name in ("gru", "lstm") for size in SIZES]


def _case(name: str, size: Size) -> Case:
    case = f"after a product {as_text(size)}"
    plan = (
        Figure(part="threads", layer=name, case=case, peer=PEERS[name], unit="ms", size=size),
        Figure(
            part="threads",
            layer=name,
            case=case,
            peer=f"{OURS[name]} alone",
            unit="ms",
            reads="share",
            size=size,
        ),
    )
    return Case(plan, _measure, 5.0)


def _measure(plan: Plan, effort: Effort) -> list[Figure]:
    against_peer, against_alone = plan
    lanes, steps, features, units = against_peer.size
    layer, alone, peer = trainings(against_peer.layer, (lanes, steps, features, units))
    product = drawn(PRODUCT, PRODUCT, seed=5), drawn(PRODUCT, PRODUCT, seed=6)

    def after(training: Training) -> Way:
        def before() -> None:
            training.clear()
            torch.mm(*product)

        return Way(training, before)

    times = interleave(
        {"alone": alone.way, "after": after(alone), "peer after": after(peer)}, effort
    )
    taken = {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}
    apart = agree(alone.results(), peer.results(), FLOAT32)
    return [
        against_peer.measured(
            taken["after"], taken["peer after"], difference=apart, backend=layer.backend
        ),
        against_alone.measured(taken["after"], taken["alone"], backend=layer.backend),
    ]
