"""What the battery is to show: pairs of layer and task, each with seeds 0, 1 and 2.

A pair is shown when all its runs solve their task, or none does, as it says. Runs that should fail
have the same budget as those that should solve.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from benchmarks.battery.cells import Cell, Record, is_there
from benchmarks.battery.memory import LONG

SEEDS = (0, 1, 2)
Outcome = Literal["solves", "fails"]


class Claim(NamedTuple):
    """A layer and what becomes of it on a task.

    Attributes:
        task: its name.
        layer: its name.
        options: of the layer.
        expected: of every seed.
    """

    task: str
    layer: str
    options: Mapping[str, Any]
    expected: Outcome

    @property
    def cells(self) -> list[Cell]:
        """What is to be run for it."""
        return [Cell(self.task, self.layer, self.options, seed) for seed in SEEDS]

    @property
    def text(self) -> str:
        """The claim in words."""
        return f"{self.cells[0].title} {self.expected} {self.task}"


class Verdict(NamedTuple):
    """What came of a claim: whether every seed was as expected, and in words."""

    claim: Claim
    shown: bool
    text: str

    def to_json(self) -> Record:
        """Return it as JSON has it."""
        return {
            "claim": self.claim.text,
            "expected": self.claim.expected,
            "shown": self.shown,
            "found": self.text,
        }


def _signed(task: str, *names: str) -> list[Claim]:
    return [
        Claim(task, name, {"negative_eigenvalues": negative}, "solves" if negative else "fails")
        for name in names
        for negative in (True, False)
    ]


def _plain(task: str, expected: Outcome, *names: str) -> list[Claim]:
    return [Claim(task, name, {}, expected) for name in names]


CLAIMS: tuple[Claim, ...] = (
    *_plain("parity", "solves", "rnn", "gru", "lstm", "slstm"),
    *_signed("parity", "min_gru", "rg_lru", "selective", "gated_delta"),
    # It sees everything, in training and in the test.
    Claim("parity", "attention", {"window": 256}, "fails"),
    *_plain("recall", "solves", "attention", "gated_delta", "rwkv7"),
    *_plain("recall", "fails", "gru"),
    Claim("long_recall", "lstm", {"memory": LONG}, "solves"),
    *_plain("long_recall", "fails", "lstm"),
)


def missing(claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims about layers, or options of theirs, that do not exist."""
    return [claim for claim in claims if not is_there(claim.layer, claim.options)]


def judge(claim: Claim, find: Callable[[Cell], Record | None]) -> Verdict:
    """Return what came of a claim.

    Args:
        claim: with its cells.
        find: gives what a cell came to, or None.
    """
    if missing([claim]):
        return Verdict(claim, False, "there is no such layer or option")
    found = [record for cell in claim.cells if (record := find(cell)) is not None]
    wanted = claim.expected == "solves"
    right = sum(record["solved"] is wanted for record in found)
    accuracies = ", ".join(f"{record['accuracy']:.3f}" for record in found)
    text = f"{right} of {len(SEEDS)} seeds; accuracy {accuracies or 'not measured'}"
    return Verdict(claim, right == len(SEEDS), text)
