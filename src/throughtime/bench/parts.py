"""The parts of the bench by name, and the choice among their cases."""

import difflib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from throughtime.bench import family, linear, memory, ragged, step, threads, train
from throughtime.bench.case import Case
from throughtime.bench.measure import FULL, QUICK, Effort
from throughtime.errors import OptionError
from throughtime.layers import names as layer_names


@runtime_checkable
class _Cases(Protocol):
    def __call__(self, *, quick: bool) -> list[Case]: ...


_CASES: dict[str, _Cases] = {
    "train": train.cases,
    "ragged": ragged.cases,
    "linear": linear.cases,
    "family": family.cases,
    "step": step.cases,
    "threads": threads.cases,
    "memory": memory.cases,
}

PARTS = tuple(_CASES)
"""Names of the parts, in the order in which they are measured."""


def chosen(parts: Sequence[str], layers: Sequence[str], *, quick: bool) -> list[Case]:
    """Return the cases of some parts and layers.

    Args:
        parts: names among `PARTS`; all of them when empty.
        layers: names of layers; everything when empty.
        quick: the cases that take little time.

    Raises:
        OptionError: for another name, or where nothing is left.
    """
    for name in parts:
        _expect(name, "a part", PARTS)
    for name in layers:
        _expect(name, "a layer", layer_names())
    cases = [
        case
        for part, listed in _CASES.items()
        if not parts or part in parts
        for case in listed(quick=quick)
        if not layers or case.plan[0].layer in layers
    ]
    if not cases:
        raise OptionError(
            f"expected a part that measures {', '.join(layers)}, got {', '.join(parts)}"
            f"{', which has no quick case of it' if quick else ''}; name another part or layer"
        )
    return cases


def effort_of(*, quick: bool) -> Effort:
    """Return how often each figure is taken."""
    return QUICK if quick else FULL


def _expect(name: str, what: str, names: Sequence[str]) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise OptionError(f"expected {what} among {', '.join(names)}, got {name!r}{hint}")
