"""How a command ends when it can't go on: one line on standard error, and an exit code.

What the user can mend is explained; anything else is a defect of throughtime and keeps its
traceback, for whoever mends that.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

import typer

from throughtime.errors import OptionError, ThroughtimeError

PROGRAM = "throughtime"

CAN_BE_MENDED = 1
WRONG_USE = 2
INTERRUPTED = 130
PIPE_CLOSED = 141
"""128 and the number of SIGPIPE, as shells report for every program whose reader has gone."""

# By its version, typer has its own copy of click's exceptions or uses click's: in both, this is
# the base of all mistakes in the use of a command.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

_MENDS = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some space or choose another disk",
    errno.EFBIG: "raise the limit on file sizes or choose another disk",
    errno.EACCES: "mend its permissions or choose another place",
    errno.EPERM: "mend its permissions or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOENT: "check the path",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "choose a path whose folders are folders",
    errno.EEXIST: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class Stopped(Exception):
    """The user stopped the command; the text says how to go on."""


def say(line: str) -> None:
    """Print a line for people, beside the results."""
    print(line, file=sys.stderr, flush=True)


def explain(error: Exception, arguments: Sequence[str]) -> tuple[str, int] | None:
    """Return the line and the exit code for what a user can mend, None for a defect.

    Args:
        error: what was raised.
        arguments: what the user typed.
    """
    if isinstance(error, _UsageError):
        return _usage(error, arguments), WRONG_USE
    if isinstance(error, OptionError):
        return str(error), WRONG_USE
    if isinstance(error, ThroughtimeError):
        return str(error), CAN_BE_MENDED
    if isinstance(error, OSError):
        return _system(error), CAN_BE_MENDED
    if _is_memory(error):
        return (
            "expected enough memory for this, got none left; "
            "use fewer --lanes, a shorter --window or a smaller --layer"
        ), CAN_BE_MENDED
    return None


def fail(text: str) -> None:
    """Print the one line that says why a command can't go on."""
    say(f"{PROGRAM}: error: {' '.join(text.split())}")


def abandon_output() -> None:
    """Let nothing more be written to an output that is gone, nor Python try to at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _send_nowhere(stream)


def _send_nowhere(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _usage(error: Any, arguments: Sequence[str]) -> str:
    """Say in one line what was wrong with the arguments."""
    command = error.ctx.command_path if error.ctx is not None else PROGRAM
    help_line = f"see `{command} --help`"
    message = error.format_message().rstrip(".")
    if hasattr(error, "possibilities"):
        near = " or ".join(error.possibilities or ())
        hint = f"did you mean {near}?" if near else help_line
        return f"expected an option of `{command}`, got {error.option_name}; {hint}"
    if hasattr(error, "option_name"):
        return f"expected a value for {error.option_name}, got none; {help_line}"
    parameter = getattr(error, "param", None)
    if parameter is not None:
        argument = parameter.param_type_name == "argument"
        name = parameter.name.upper() if argument else max(parameter.opts, key=len)
        if hasattr(error, "param_type"):
            return f"expected {name}, got none; {help_line}"
        came = _typed(name, arguments)
        why = str(error.message).removeprefix("Value error, ").rstrip(".")
        return f"expected a value that {name} takes, got {came}: {why}; {help_line}"
    return f"expected a call as in `{command} --help`, got {message.removeprefix('Got ')}"


def _typed(option: str, arguments: Sequence[str]) -> str:
    """Return the last value that was typed for an option."""
    typed = "another"
    for word, after in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == option:
            typed = repr(after)
        elif word.startswith(f"{option}="):
            typed = repr(word.removeprefix(f"{option}="))
    return typed


def _system(error: OSError) -> str:
    where = str(error.filename) if error.filename is not None else "the output"
    reason = error.strerror or str(error) or type(error).__name__
    mend = _MENDS.get(error.errno or 0, "mend that and try again")
    return f"expected to be able to use {where}, got '{reason}'; {mend}"


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
