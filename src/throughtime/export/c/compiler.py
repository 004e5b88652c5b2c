"""The C compiler of this machine: what an export is verified and measured with."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from throughtime.errors import OptionError

FAST = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-trapping-math")
"""The flags for speed on the machine that compiles."""

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
"""The flags that every export compiles cleanly with."""

_KNOWN = ("cc", "gcc", "clang")


def find_compiler() -> tuple[str, ...]:
    """Return the command of a C compiler: that of the variable CC, or else one that is known.

    Raises:
        OptionError: there is none, or not the one that CC names, or CC is no command.
    """
    variable = os.environ.get("CC", "")
    try:
        named = shlex.split(variable)
    except ValueError as error:
        raise OptionError(
            f"expected a command in the variable CC, got {variable!r} ({error}); mend or unset it"
        ) from None
    if named:
        if shutil.which(named[0]):
            return tuple(named)
        raise OptionError(
            f"expected a C compiler in the variable CC, got {named[0]!r}, which is not there; "
            "install it, or unset CC"
        )
    for name in _KNOWN:
        if shutil.which(name):
            return (name,)
    raise OptionError(
        "expected a C compiler to verify the export with, got none; install gcc or clang, or name "
        "one in the variable CC"
    )


def compile_c(
    sources: Sequence[Path], out: Path, flags: Sequence[str], compiler: Sequence[str] = ()
) -> None:
    """Compile C files into a program, or by the flag -c into an object.

    Args:
        sources: the files.
        out: what is made of them.
        flags: of the compiler.
        compiler: the command; that of `find_compiler` when empty.

    Raises:
        OptionError: the compiler refuses them.
    """
    command = [*(compiler or find_compiler()), *flags, "-o", str(out), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip() or f"exit code {done.returncode}"
        line = next((line for line in told.splitlines() if "error" in line), told)
        raise OptionError(
            f"expected {command[0]} to compile {sources[0].name}, got {line.strip()[:300]!r}"
        )
