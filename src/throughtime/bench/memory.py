"""Part `memory`: how much a training step adds to a process at its peak, ours and torch.nn's.

Each is measured in a process of its own, because memory that was once taken is seldom given back.
"""

import contextlib
from pathlib import Path

from throughtime.bench.case import Case, Plan
from throughtime.bench.child import answers
from throughtime.bench.figure import Bar, Figure
from throughtime.bench.measure import Effort, Unavailable
from throughtime.bench.pairs import LAYERS, PEERS, Size, as_text, trainings

SIZE: Size = (32, 1024, 256, 256)
QUICK_SIZE: Size = (32, 128, 256, 256)
ASKED = 1.0
"""Of the peer's."""


def cases(*, quick: bool) -> list[Case]:
    """Return the training step of each layer; the quick one is shorter, and the GRU's alone."""
    names, size = (("gru",), QUICK_SIZE) if quick else (LAYERS, SIZE)
    return [_case(name, size, 8.0 if quick else 20.0) for name in names]


def _case(name: str, size: Size, seconds: float) -> Case:
    figure = Figure(
        part="memory",
        layer=name,
        case=as_text(size),
        peer=PEERS[name],
        unit="MiB",
        reads="share",
        asked=(Bar("ratio", "at most", ASKED),),
        size=size,
    )
    return Case((figure,), _measure, seconds, once=True)


def peak_of(name: str, size: Size, *, ours: bool) -> float:
    """Return the MiB that a training step adds to this process at its peak. Linux.

    Args:
        name: of the layer.
        size: B, T, F, H.
        ours: ours, or torch.nn's.

    Raises:
        Unavailable: where the system does not say.
    """
    _, own, peer = trainings(name, size)
    training = own if ours else peer
    # What is loaded and kept at the first call of all belongs to no step.
    _, own, peer = trainings(name, (1, 2, size[2], size[3]))
    (own if ours else peer)()
    _forget_peak()
    before = _kibibytes("VmRSS")
    training()
    return (_kibibytes("VmHWM") - before) / 1024


def _measure(plan: Plan, effort: Effort) -> list[Figure]:
    (figure,) = plan
    job = {"job": "memory", "layer": figure.layer, "size": list(figure.size)}
    (ours,), (theirs,) = (answers({**job, "ours": whose}) for whose in (True, False))
    return [figure.measured(ours, theirs)]


def _forget_peak() -> None:
    """Let the peak begin at what is in use now; without that it began when the process did."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _kibibytes(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        raise Unavailable("this system does not say how much memory is in use") from None
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
