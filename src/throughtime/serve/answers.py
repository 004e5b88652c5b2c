"""Requests of steps to answers: the same for HTTP and for WebSockets."""

import json
from collections.abc import Sequence
from typing import Any

from throughtime.serve.reading import read_model
from throughtime.serve.schemas import StepRequest
from throughtime.serve.steps import Answer, Outcome, Step


def steps_of(content: bytes) -> list[Step]:
    """Return the steps that a request asks for.

    Raises:
        Refusal: it is none.
    """
    request = read_model(content, StepRequest)
    return [
        Step(str(item.sequence_id), item.row, item.sequence_start, item.sequence_end)
        for item in request.steps
    ]


def answers_to(steps: Sequence[Step], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what the steps of a request gave, as JSON values."""
    return {"answers": [_answer(*each) for each in zip(steps, outcomes, strict=True)]}


def encode(content: object) -> bytes:
    """Return JSON values as text."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def _answer(step: Step, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Answer):
        return {
            "sequence_id": step.key,
            "started": outcome.started,
            "ended": outcome.ended,
            "restored": outcome.restored,
            "answer": outcome.values,
        }
    return {"sequence_id": step.key, "error": outcome.to_json()}
