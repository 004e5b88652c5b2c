"""The application: paths, the WebSocket, the guard, and refusals in one form everywhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from throughtime import __version__
from throughtime.serve.guard import Guard, refusal_response
from throughtime.serve.reading import why_invalid
from throughtime.serve.refusals import Refusal
from throughtime.serve.routes import make_routes
from throughtime.serve.schemas import ForkRequest, StepRequest
from throughtime.serve.service import Service
from throughtime.serve.sockets import stream

_ABOUT = """
Live sequences of a trained run: each keeps its state between requests.

`POST /v1/step` reads rows and answers each. The WebSocket `/v1/stream` takes the same bodies as
text messages and gives the same answers, in order. Every refusal has one form: `error.code` is for
programs, `error.message` for people.
"""


def make_app(service: Service) -> ASGIApp:
    """Return the application of a service, which begins and ends with it."""
    return Guard(make_api(service), service.token)


def make_api(service: Service) -> FastAPI:
    """Return the application without its guard."""

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    # The pages that show an API ask other hosts for their scripts, so there are none.
    api = FastAPI(
        title="throughtime serve",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    api.include_router(make_routes(service))

    @api.websocket("/v1/stream")
    async def stream_steps(websocket: WebSocket) -> None:
        await stream(websocket, service)

    def refuse(refusal: Refusal) -> Response:
        service.metrics.refusal(refusal.code)
        return refusal_response(refusal)

    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        response = refuse(error)
        if error.code in ("slow", "too_large", "stopping"):
            # What the client goes on to send is not read.
            response.headers["Connection"] = "close"
        return response

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return refuse(Refusal("invalid", why_invalid(error.errors()[0], "the request")))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            allowed = _methods(api, request)
            response = refuse(
                Refusal("method_not_allowed", f"expected {allowed}, got {request.method}")
            )
            response.headers["Allow"] = allowed
            return response
        return refuse(Refusal("not_found", "expected a path of /openapi.json, got another one"))

    async def on_defect(request: Request, error: Exception) -> Response:
        return refuse(Refusal("defect", "expected an answer, got a defect; see the server's log"))

    api.add_exception_handler(Refusal, on_refusal)
    api.add_exception_handler(RequestValidationError, on_invalid)
    api.add_exception_handler(HTTPException, on_http)
    api.add_exception_handler(Exception, on_defect)
    api.openapi = _described(api)  # type: ignore[method-assign]
    return api


def _methods(api: FastAPI, request: Request) -> str:
    """Return the methods that a path has; the routes of one path know only their own."""
    matching = [
        route
        for route in api.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    return ", ".join(sorted({method for route in matching for method in route.methods or ()}))


def _described(api: FastAPI) -> Any:
    """Return what describes the API, the bodies that it reads by itself included."""
    describe = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            schema = describe()
            parts = schema.setdefault("components", {}).setdefault("schemas", {})
            for model in (StepRequest, ForkRequest):
                own = model.model_json_schema(ref_template="#/components/schemas/{model}")
                parts |= own.pop("$defs", {})
                parts[model.__name__] = own
            schema["components"]["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer"}
            }
            api.openapi_schema = schema
        return api.openapi_schema

    return openapi
