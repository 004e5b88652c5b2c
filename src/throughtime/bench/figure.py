"""A figure: what a way of ours takes, what the peer takes, their ratio and what is asked of it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Bar:
    """What is asked of a figure.

    Attributes:
        of: what is held against it: the ratio, or what ours takes, in the figure's unit.
        sense: which side of it is good.
        value: where it lies.
    """

    of: Literal["ratio", "ours"]
    sense: Literal["at least", "at most"]
    value: float

    def met_by(self, value: float | None) -> bool:
        """Return whether a value is on the good side; what was not measured is not."""
        if value is None:
            return False
        return value >= self.value if self.sense == "at least" else value <= self.value


@dataclass(frozen=True)
class Figure:
    """One line of the results.

    Attributes:
        part: which part of the bench it belongs to.
        layer: `gru`, `lstm`, `rnn` or `linear`.
        case: what was run.
        peer: what it was held against.
        unit: `ms`, `us` or `MiB`, of `ours` and `theirs`.
        reads: how the ratio is formed: a `speedup` is theirs / ours, a `share` ours / theirs.
        asked: the bars.
        size: the numbers that the shape letters of the part stand for.
        ours: the median of ours; None where it was not measured.
        theirs: the median of the peer's.
        ratio: in one process where both were run in turn; the median over processes.
        difference: the largest one of outputs and gradients, relative to the largest value.
        backend: which way of ours ran.
        more: further numbers, such as a 99th percentile.
        note: why something was not measured.
        wrong: whether ours and the peer's results were not the same.
        processes: how many processes have measured it.
    """

    part: str
    layer: str
    case: str
    peer: str
    unit: Literal["ms", "us", "MiB"]
    reads: Literal["speedup", "share"] = "speedup"
    asked: tuple[Bar, ...] = ()
    size: tuple[int, ...] = ()
    ours: float | None = None
    theirs: float | None = None
    ratio: float | None = None
    difference: float | None = None
    backend: str = ""
    more: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    wrong: bool = False
    processes: int = 1

    def measured(
        self, ours: float, theirs: float | None, *, difference: float | None = None, **other: Any
    ) -> "Figure":
        """Return this figure with its numbers; the ratio follows from them."""
        ratio = None
        if theirs is not None:
            ratio = theirs / ours if self.reads == "speedup" else ours / theirs
        return replace(self, ours=ours, theirs=theirs, ratio=ratio, difference=difference, **other)

    def without(self, note: str, *, wrong: bool = False) -> "Figure":
        """Return this figure with a note of what was not measured, and why."""
        return replace(self, note=note, wrong=wrong)

    @property
    def missed(self) -> tuple[Bar, ...]:
        """The bars that are not met."""
        values = {"ratio": self.ratio, "ours": self.ours}
        return tuple(bar for bar in self.asked if not bar.met_by(values[bar.of]))

    @property
    def met(self) -> bool | None:
        """Whether all bars are met; None where nothing is asked."""
        return not self.missed if self.asked else None

    @property
    def name(self) -> str:
        """What tells it from the other figures."""
        layer = "" if self.layer == self.part else f"{self.layer} "
        return f"{self.part} {layer}{self.case} / {self.peer}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "met": self.met}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Figure":
        """Read what `to_json` gave."""
        values = {name: value for name, value in content.items() if name != "met"}
        values["asked"] = tuple(Bar(**bar) for bar in values["asked"])
        values["size"] = tuple(values["size"])
        return cls(**values)


def over_processes(found: Sequence[Figure]) -> Figure:
    """Return the figure that stands for the same one from several processes.

    Medians of what each of them measured; the worst difference. Where results were wrong in one
    process, they are wrong.

    Args:
        found: one or more.
    """
    wrong = next((figure for figure in found if figure.wrong), None)
    if wrong is not None:
        return replace(wrong, processes=len(found))
    whole = [figure for figure in found if figure.ours is not None]
    if not whole:
        return replace(found[0], processes=len(found))
    differences = [figure.difference for figure in whole if figure.difference is not None]
    return replace(
        whole[0],
        ours=_median([figure.ours for figure in whole]),
        theirs=_median([figure.theirs for figure in whole]),
        ratio=_median([figure.ratio for figure in whole]),
        difference=max(differences, default=None),
        more={key: _median([figure.more[key] for figure in whole]) for key in whole[0].more},
        processes=len(whole),
    )


def _median(values: Sequence[float | None]) -> Any:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None
