"""What a reader does while it refuses a file: whether it executes, writes, or takes memory.

An audit hook can't be taken away again, so there is one, which notes what it sees while it is
asked to.
"""

import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

FORBIDDEN = (
    *("pickle.find_class", "marshal.loads", "marshal.load", "exec", "compile", "import"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"),
    *("ctypes.dlopen", "ctypes.dlsym", "code.__new__", "socket.connect", "socket.bind"),
    *("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod"),
    *("os.truncate", "shutil.rmtree", "shutil.move", "tempfile.mkstemp", "tempfile.mkdtemp"),
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_noted: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _noted is None:
        return
    if event in FORBIDDEN:
        _noted.append(f"{event} {arguments!r:.200}")
    elif event == "open":
        _, mode, flags = arguments
        if (isinstance(mode, str) and set(mode) & set("wxa+")) or (flags or 0) & _WRITES:
            _noted.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_hook)


class Seen(NamedTuple):
    """What was seen.

    Attributes:
        done: events that should not have been, in their order.
        peak: most bytes that Python had taken.
        calls: functions called, of Python and of C.
    """

    done: list[str]
    peak: int
    calls: int


@contextmanager
def noting() -> Iterator[list[str]]:
    """Note forbidden events inside the block."""
    global _noted
    _noted = found = []
    try:
        yield found
    finally:
        _noted = None


def watch(call: Callable[[], object]) -> Seen:
    """Call a function and return what it did; what it raises goes on."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    with noting() as done:
        tracemalloc.start()
        sys.setprofile(count)
        try:
            call()
        finally:
            sys.setprofile(None)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    return Seen(done, peak, calls)
