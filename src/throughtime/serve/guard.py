"""Who may ask: a bearer token, compared in constant time, before anything else is looked at."""

import hmac
from hashlib import sha256
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from throughtime.serve.refusals import Refusal

OPEN = ("/health/live", "/health/ready")
"""What needs no token: a balancer has none."""


class Guard:
    """Lets only those in who show the token.

    Args:
        app: what is behind it.
        token: the token, or None where everybody may come in.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._digest = None if token is None else sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        guarded = self._digest is not None and scope["type"] in ("http", "websocket")
        if guarded and scope["path"] not in OPEN and not self._shows_token(scope):
            refusal = Refusal(
                "unauthorised", "expected the header Authorization: Bearer TOKEN with this token"
            )
            # Of a WebSocket it answers the handshake, which does not become one.
            response = refusal_response(refusal)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _shows_token(self, scope: Scope) -> bool:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1 or self._digest is None:
            return False
        scheme, _, shown = given[0].partition(b" ")
        # Digests are of one length, so that the time says nothing about that of the token either.
        return hmac.compare_digest(sha256(shown.strip()).digest(), self._digest) and (
            scheme.lower() == b"bearer"
        )


def refusal_response(refusal: Refusal) -> JSONResponse:
    """Return a refusal as an answer."""
    content: dict[str, Any] = {"error": refusal.to_json()}
    return JSONResponse(content, refusal.status, refusal.headers())
