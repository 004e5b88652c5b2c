"""Part `train`: forward and backward against torch.nn, from one short lane to a large batch."""

import statistics
from functools import partial

from throughtime.bench.case import Case, Plan
from throughtime.bench.figure import Bar, Figure
from throughtime.bench.measure import Effort, agree, interleave
from throughtime.bench.pairs import BFLOAT16, FLOAT32, PEERS, Size, as_text, trainings

SIZES: tuple[Size, ...] = (
    (1, 1000, 8, 32),
    (8, 200, 8, 32),
    (32, 100, 32, 64),
    (32, 256, 64, 128),
    (32, 256, 256, 256),
    (64, 128, 512, 512),
)
ASKED = {
    "gru": (120.0, 25.0, 6.0, 3.0, 2.0, 1.3),
    "rnn": (50.0, 10.0, 3.0, 2.0, 1.3, 1.1),
    "lstm": (3.0, 2.0, 1.5, 1.4, 1.2, 1.0),
}
"""Times faster than torch.nn, by size."""
ASKED_IN_BFLOAT16 = {"gru": 3.0, "lstm": 2.2}
"""Times faster than torch.nn in float32, at the largest size."""

_TURN = 0.03


def cases(*, quick: bool) -> list[Case]:
    """Return the sizes of each layer; the quick ones leave out the largest."""
    sizes = SIZES[:-1] if quick else SIZES
    listed = [
        _case(name, size, bar)
        for name, bars in ASKED.items()
        for size, bar in zip(sizes, bars, strict=False)
    ]
    if not quick:
        listed += [
            _case(name, SIZES[-1], bar, bfloat16=True) for name, bar in ASKED_IN_BFLOAT16.items()
        ]
    return listed


def _case(name: str, size: Size, bar: float, *, bfloat16: bool = False) -> Case:
    figure = Figure(
        part="train",
        layer=name,
        case=f"{'bf16 ' if bfloat16 else ''}{as_text(size)}",
        peer=f"{PEERS[name]}{' fp32' if bfloat16 else ''}",
        unit="ms",
        asked=(Bar("ratio", "at least", bar),),
        size=size,
    )
    seconds = 12.0 if size == SIZES[-1] else 4.0
    return Case((figure,), partial(_measure, bfloat16=bfloat16), seconds)


def _measure(plan: Plan, effort: Effort, *, bfloat16: bool) -> list[Figure]:
    (figure,) = plan
    lanes, steps, features, units = figure.size
    layer, ours, theirs = trainings(
        figure.layer, (lanes, steps, features, units), autocast=bfloat16
    )
    times = interleave({"ours": ours.way, "theirs": theirs.way}, effort, turn=_TURN)
    apart = agree(ours.results(), theirs.results(), BFLOAT16 if bfloat16 else FLOAT32)
    return [
        figure.measured(
            1e3 * statistics.median(times["ours"]),
            1e3 * statistics.median(times["theirs"]),
            difference=apart,
            backend=layer.backend,
        )
    ]
