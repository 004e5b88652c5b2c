"""Streams: a trained run on rows as they come, with the state of every key accounted for.

`Stream` reads one row at a time and answers it; `run_stream` does so from a file or pipe, as the
command does. `Sessions` holds many streams that are stepped together, and `VectorSessions` does so
for what the model itself reads. The names below load their modules when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from throughtime.stream.loop import Summary, run_stream
    from throughtime.stream.rows import read_rows
    from throughtime.stream.sessions import Sessions
    from throughtime.stream.stream import Stream
    from throughtime.stream.vectors import VectorSessions

_HOMES = {
    "Sessions": "sessions",
    "Stream": "stream",
    "Summary": "loop",
    "VectorSessions": "vectors",
    "read_rows": "rows",
    "run_stream": "loop",
}

__all__ = ["Sessions", "Stream", "Summary", "VectorSessions", "read_rows", "run_stream"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
