"""A trained run as a server: sequences that keep their state between requests.

`serve` runs until it is asked to stop. `Service` and `make_app` are the same without a socket, for
who has an ASGI server or wants to test. The names below load their modules when they are first
used; FastAPI and uvicorn are of the extra `serve`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from throughtime.serve.app import make_app
    from throughtime.serve.limits import Limits
    from throughtime.serve.server import serve
    from throughtime.serve.service import Service
    from throughtime.serve.store import RedisStore

_HOMES = {
    "Limits": "limits",
    "RedisStore": "store",
    "Service": "service",
    "make_app": "app",
    "serve": "server",
}

__all__ = ["Limits", "RedisStore", "Service", "make_app", "serve"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
