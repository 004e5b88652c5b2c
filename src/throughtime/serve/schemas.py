"""What requests and answers look like: the models that requests are held to, and OpenAPI shows.

Answers are written from plain values, for speed; the tests hold them to these models.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
)

from throughtime.serve import limits
from throughtime.stream.cells import LONGEST_KEY

_KEY_PATTERN = r"^[^\x00-\x1f\x7f]+$"

Key = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=LONGEST_KEY, pattern=_KEY_PATTERN)
]
"""The name of a sequence, as text without control characters."""

Number = Annotated[int, Field(strict=True, ge=1, le=2**64 - 1)]
"""The name of a sequence as a number, which is that of its digits."""

Name = Annotated[str, StringConstraints(strict=True, max_length=limits.NAME)]

Text = Annotated[str, StringConstraints(strict=True, max_length=limits.TEXT)]

Cell = Text | StrictBool | StrictInt | StrictFloat | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class StepItem(_Strict):
    """A row for a sequence."""

    sequence_id: Key | Number
    sequence_start: StrictBool = Field(
        False, description="Begin the sequence with this row, anew where it is open."
    )
    sequence_end: StrictBool = Field(False, description="End the sequence after this row.")
    row: dict[Name, Cell] = Field(
        max_length=limits.CELLS,
        description="Cells by column, as in training; of a language run `text`. See /v1/model.",
    )


class StepRequest(_Strict):
    """Rows for one or several sequences; those of one sequence are read in this order."""

    steps: list[StepItem] = Field(min_length=1, max_length=limits.STEPS)


class ForkRequest(_Strict):
    """The sequence that begins where another one is."""

    new: Key | Number


class Error(_Strict):
    """Why something was refused."""

    code: StrictStr = Field(description="A word for programs.")
    message: StrictStr = Field(description="What was expected, what came, what to do.")


class ErrorBody(_Strict):
    """The body of every refusal."""

    error: Error


class StepAnswer(_Strict):
    """What a row gave: an answer, or why there is none."""

    sequence_id: StrictStr
    started: StrictBool | None = Field(None, description="Whether the sequence began with it.")
    ended: StrictBool | None = Field(None, description="Whether the sequence ended after it.")
    restored: StrictBool | None = Field(
        None,
        description="Whether the sequence goes on from a copy with it, as its worker ended without "
        "handing it on: rows that came after the copy are not in it.",
    )
    answer: dict[str, Any] | None = Field(None, description="As `throughtime stream` gives it.")
    error: Error | None = None


class StepResponse(_Strict):
    """An answer for each step, in the order of the steps."""

    answers: list[StepAnswer]


class SequenceList(_Strict):
    """A page of open sequences, in alphabetical order."""

    sequences: list[StrictStr]
    open: StrictInt = Field(description="How many there are in all.")
    next: StrictStr | None = Field(description="Give this as `after` for the next page.")


class ModelBody(_Strict):
    """What is served."""

    task: StrictStr
    layer: StrictStr
    parameters: StrictInt
    fingerprint: StrictStr = Field(description="States belong to models of this fingerprint.")
    columns: list[StrictStr] = Field(description="Columns that a row may have.")
    required: list[StrictStr] = Field(description="Columns that every row must have.")
    slots: StrictInt = Field(description="How many sequences there is room for.")
    idle: StrictFloat | None = Field(description="Seconds without use after which one goes.")
    implicit_start: StrictBool
    state_bytes: StrictInt = Field(description="Bytes of an exported state.")


class HealthBody(_Strict):
    """Whether the server is there, or ready."""

    status: Literal["live", "ready"]
