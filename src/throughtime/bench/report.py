"""What a bench found: its figures, the machine, and which bars were missed."""

from dataclasses import dataclass
from typing import Any

from throughtime import __version__
from throughtime.bench.figure import Bar, Figure


@dataclass(frozen=True)
class Report:
    """The result of `throughtime.bench.run`.

    Attributes:
        figures: in the order in which they were measured.
        machine: as `machine.describe` returns it.
        quick: whether it was the quick bench.
        processes: in how many processes each figure was to be measured.
        seconds: how long it took.
        planned: how many figures were to be measured.
        interrupted: whether somebody stopped it.
    """

    figures: tuple[Figure, ...]
    machine: dict[str, Any]
    quick: bool
    processes: int
    seconds: float
    planned: int
    interrupted: bool = False

    @property
    def wrong(self) -> tuple[Figure, ...]:
        """Figures whose results were not those of the peer."""
        return tuple(figure for figure in self.figures if figure.wrong)

    @property
    def missed(self) -> tuple[tuple[Figure, Bar], ...]:
        """Each bar that was missed, or could not be measured, with its figure."""
        return tuple((figure, bar) for figure in self.figures for bar in figure.missed)

    @property
    def passed(self) -> bool:
        """Whether everything that was planned was measured, is right and meets its bars."""
        return not (self.interrupted or self.wrong or self.missed)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "throughtime": __version__,
            "machine": self.machine,
            "quick": self.quick,
            "processes": self.processes,
            "seconds": round(self.seconds, 1),
            "planned": self.planned,
            "interrupted": self.interrupted,
            "passed": self.passed,
            "figures": [figure.to_json() for figure in self.figures],
        }
