"""Files, written whole or not at all and read whole: bytes, whatever they mean.

Nothing here knows torch, so that the runtime without torch writes and reads the same way.
"""

import os
import stat
from pathlib import Path

from throughtime.errors import BundleError
from throughtime.formats import TENSORS_LIMIT


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    Raises:
        OSError: as from writing (no permission, disk full); the old file is then untouched.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_regular_file(
    path: Path,
    shown: str,
    limit: int = TENSORS_LIMIT,
    why: str = "it is not what throughtime writes",
) -> bytes:
    """Read a regular file whole; links are followed, pipes and devices are not waited for.

    Args:
        path: the file.
        shown: its path, as messages show it.
        limit: most bytes.
        why: what to say of a larger one.

    Raises:
        BundleError: it is not there, of another kind, larger, or can't be read.
    """
    try:
        # Asked of the path first, since opening a device may do something.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BundleError(f"expected a file at {shown}, got a folder, pipe or device")
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"expected a file at {shown}, got a folder, pipe or device")
            if status.st_size > limit:
                raise BundleError(
                    f"expected at most {limit:,} bytes in {shown}, got {status.st_size:,}; {why}"
                )
            return file.read(status.st_size)
    except FileNotFoundError:
        raise BundleError(f"expected a file at {shown}, got nothing there") from None
    except MemoryError:
        raise BundleError(f"expected free memory to read {shown}, got less; free some") from None
    except BundleError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"expected to be able to read {shown}, got '{reason}'") from None


def _open_without_waiting(path: str, flags: int) -> int:
    # The file was a regular one a moment ago: should it be swapped, wait for nothing.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
