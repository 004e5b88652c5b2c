"""What a sequence is given and what comes of it: a step, and its answer or refusal."""

from typing import Any, NamedTuple

from throughtime.serve.refusals import Refusal


class Step(NamedTuple):
    """A row for a sequence.

    Attributes:
        key: of the sequence.
        row: cells by column.
        start: whether the sequence begins with this row, anew where it is open.
        end: whether it ends after this row.
    """

    key: str
    row: dict[str, Any]
    start: bool = False
    end: bool = False


class Answer(NamedTuple):
    """What a row gave.

    Attributes:
        values: as `Sessions.step` gives them.
        started: whether the sequence began with it.
        ended: whether it ended after it.
        restored: whether it is the first of a sequence that goes on from a copy, as its worker
            ended without handing it on.
    """

    values: dict[str, Any]
    started: bool
    ended: bool
    restored: bool = False


Outcome = Answer | Refusal
