"""The HTTP surface: each path, what it does, and every status that it can have."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from throughtime.serve.answers import answers_to, encode, steps_of
from throughtime.serve.bodies import BYTES, JSON, body_of
from throughtime.serve.limits import PAGE
from throughtime.serve.metrics import CONTENT_TYPE
from throughtime.serve.reading import read_model
from throughtime.serve.refusals import STATUSES
from throughtime.serve.schemas import (
    _KEY_PATTERN,
    ErrorBody,
    ForkRequest,
    HealthBody,
    ModelBody,
    SequenceList,
    StepResponse,
)
from throughtime.serve.service import Service
from throughtime.serve.steps import Answer
from throughtime.stream.cells import LONGEST_KEY

SequenceId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=LONGEST_KEY,
        pattern=_KEY_PATTERN,
        description="The sequence, percent-encoded.",
    ),
]

_SEQUENCE = "/v1/sequences/{sequence_id:path}"


def make_routes(service: Service) -> APIRouter:
    """Return all paths of a service but the WebSocket."""
    routes = APIRouter()

    @routes.post(
        "/v1/step",
        tags=["steps"],
        responses=_responses(
            {
                200: (StepResponse, "Every step was answered."),
                207: (StepResponse, "Of several steps, some were refused, as their `error` says."),
            },
            "malformed unknown_sequence slow too_large wrong_type invalid busy",
        ),
        openapi_extra=_body(JSON, "StepRequest"),
    )
    async def step(request: Request) -> Response:
        """Read rows, and answer each.

        Rows of one sequence are read in their order. A request of one step that is refused has the
        status of that refusal.
        """
        service.check_open()
        async with body_of(request, service, kind=JSON) as content:
            steps = steps_of(content)
            outcomes = await service.batcher.submit(steps)
        status = 200
        for outcome in outcomes:
            if not isinstance(outcome, Answer):
                if len(outcomes) == 1:
                    raise outcome
                status = 207
        return Response(encode(answers_to(steps, outcomes)), status, media_type=JSON)

    @routes.get(
        "/v1/sequences",
        tags=["sequences"],
        responses=_responses({200: (SequenceList, "A page of them.")}, "invalid busy"),
    )
    async def list_sequences(
        limit: Annotated[int, Query(ge=1, le=PAGE)] = 100,
        after: Annotated[str, Query(max_length=LONGEST_KEY)] = "",
    ) -> Response:
        """List open sequences in alphabetical order."""
        keys, following = await service.batcher.call(service.engine.page, after, limit)
        found = {"sequences": keys, "open": len(service.engine), "next": following}
        return Response(encode(found), media_type=JSON)

    @routes.post(
        _SEQUENCE + "/fork",
        tags=["sequences"],
        status_code=204,
        response_class=Response,
        responses=_responses(
            {},
            "malformed unknown_sequence slow sequence_open too_large wrong_type invalid busy",
        ),
        openapi_extra=_body(JSON, "ForkRequest"),
    )
    async def fork(sequence_id: SequenceId, request: Request) -> Response:
        """Begin a sequence in the state that this one is in: to ask what if."""
        service.check_open()
        async with body_of(request, service, kind=JSON) as content:
            new = str(read_model(content, ForkRequest).new)
        await service.batcher.call(service.engine.fork, sequence_id, new)
        return Response(status_code=204)

    @routes.get(
        _SEQUENCE + "/state",
        tags=["sequences"],
        response_class=Response,
        responses={
            200: {
                "description": "The state, for `PUT` on any worker that serves the same run.",
                "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}},
            },
            **_responses({}, "unknown_sequence invalid busy"),
        },
    )
    async def export(sequence_id: SequenceId) -> Response:
        """Return a sequence's state; it stays open here."""
        content = await service.batcher.call(service.engine.export, sequence_id)
        return Response(content, media_type=BYTES)

    @routes.put(
        _SEQUENCE + "/state",
        tags=["sequences"],
        status_code=204,
        response_class=Response,
        responses=_responses({}, "slow sequence_open too_large wrong_type invalid busy"),
        openapi_extra=_body(BYTES, None),
    )
    async def load(sequence_id: SequenceId, request: Request) -> Response:
        """Begin a sequence in a state that `GET` gave."""
        service.check_open()
        most = service.engine.state_bytes
        async with body_of(request, service, kind=BYTES, most=most) as content:
            await service.batcher.call(service.engine.load, sequence_id, content)
        return Response(status_code=204)

    @routes.delete(
        _SEQUENCE,
        tags=["sequences"],
        status_code=204,
        response_class=Response,
        responses=_responses({}, "unknown_sequence invalid busy"),
    )
    async def close(sequence_id: SequenceId) -> Response:
        """End a sequence."""
        service.check_open()
        await service.batcher.call(service.engine.close, sequence_id)
        return Response(status_code=204)

    @routes.get(
        "/v1/model",
        tags=["server"],
        responses=_responses({200: (ModelBody, "What is served.")}, ""),
    )
    async def model() -> Response:
        """Say what is served, and which columns a row has."""
        return Response(encode(service.about), media_type=JSON)

    @routes.get(
        "/health/live",
        tags=["server"],
        responses=_responses({200: (HealthBody, "It is there.")}, "", guarded=False),
    )
    async def live() -> Response:
        """Say that the process answers."""
        return Response(encode({"status": "live"}), media_type=JSON)

    @routes.get(
        "/health/ready",
        tags=["server"],
        responses=_responses({200: (HealthBody, "It takes steps.")}, "stopping", guarded=False),
    )
    async def ready() -> Response:
        """Say whether steps are taken; not so once the server has begun to end."""
        service.check_open()
        return Response(encode({"status": "ready"}), media_type=JSON)

    @routes.get(
        "/metrics",
        tags=["server"],
        response_class=Response,
        responses={
            200: {
                "description": "As Prometheus reads it.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **_responses({}, ""),
        },
    )
    async def metrics() -> Response:
        """Return counts."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return routes


def _responses(
    given: dict[int, tuple[type, str]], codes: str, *, guarded: bool = True
) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a path for OpenAPI: those given, and refusals by code."""
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": text} for status, (model, text) in given.items()
    }
    words: Sequence[str] = [*codes.split(), *(("unauthorised",) if guarded else ())]
    for status in sorted({STATUSES[code] for code in words}):
        same = [code for code, each in STATUSES.items() if each == status and status != 404]
        names = ", ".join(f"`{code}`" for code in same or [c for c in words if STATUSES[c] == 404])
        found[status] = {"model": ErrorBody, "description": f"Refused: {names}."}
    return found


def _body(kind: str, name: str | None) -> dict[str, Any]:
    schema = (
        {"type": "string", "format": "binary"}
        if name is None
        else {"$ref": f"#/components/schemas/{name}"}
    )
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}
