"""Bodies of requests: read under a limit and a clock, whatever their headers promise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from throughtime.serve.refusals import Refusal
from throughtime.serve.service import Service

JSON = "application/json"
BYTES = "application/octet-stream"


@asynccontextmanager
async def body_of(
    request: Request, service: Service, *, kind: str, most: int | None = None
) -> AsyncIterator[bytes]:
    """Give the body of a request, which counts as held inside the block.

    Args:
        request: the request.
        service: whose limits hold.
        kind: the media type that it must have. That of forms is none, so that no page of another
            site can make a browser send one.
        most: bytes, where not those of the limits.

    Raises:
        Refusal: it is of another type, too large or too slow, or too much is held already.
    """
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != kind:
        raise Refusal("wrong_type", f"expected a body of {kind}, got {given[:60]!r}")
    limit = service.limits.body if most is None else most
    length = request.headers.get("content-length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > limit:
        raise _too_large(limit, f"{int(length):,}")
    held = 0
    parts = []
    try:
        async with asyncio.timeout(service.limits.patience):
            async for part in request.stream():
                held += len(part)
                service.held += len(part)
                if held > limit:
                    raise _too_large(limit, "more")
                if service.held > service.limits.held:
                    raise Refusal("busy", "expected fewer and smaller bodies at once; ask again")
                parts.append(part)
        yield b"".join(parts)
    except TimeoutError:
        raise Refusal(
            "slow", f"expected a whole body within {service.limits.patience:g} s, got a part of it"
        ) from None
    except ClientDisconnect:
        # Nobody reads this; it only ends the request.
        raise Refusal("slow", "expected a whole body, got the end of the connection") from None
    finally:
        service.held -= held


def _too_large(limit: int, got: str) -> Refusal:
    return Refusal("too_large", f"expected a body of at most {limit:,} bytes, got {got}")
