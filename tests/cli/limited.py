"""Run a command with less than it needs: `limited.py bytes=N ...`, `limited.py user ...`.

`bytes=N` lets no file grow beyond N bytes, as on a full disk. `user` takes from the superuser what
lets them pass over the permissions of files. Exit code 77: that is not possible here.
"""

import ctypes
import os
import resource
import sys

_CAPABILITY_VERSION = 0x20080522
_EVERYTHING_BUT_FILES = 0xFFFFFFFF & ~0b110  # without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


def become_a_user() -> bool:
    """Obey permissions; False where that can't be had."""
    if os.geteuid() != 0:
        return True
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    now = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "capset") or libc.capget(header, now):
        return False
    fewer = [now[0] & _EVERYTHING_BUT_FILES, now[1] & _EVERYTHING_BUT_FILES, now[2], *now[3:6]]
    return libc.capset(header, (ctypes.c_uint32 * 6)(*fewer)) == 0


if __name__ == "__main__":
    limit, *arguments = sys.argv[1:]
    if limit == "user":
        if not become_a_user():
            sys.exit(77)
    else:
        most = int(limit.removeprefix("bytes="))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    from throughtime.cli import main

    sys.exit(main(arguments))
