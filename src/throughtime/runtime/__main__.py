"""`python -m throughtime.runtime RUN`: a run on the rows of standard input, without torch.

One line of JSON answers each row, as `throughtime stream` writes them.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from throughtime.errors import DataError, OptionError, ThroughtimeError
from throughtime.runtime.loading import load

_PROGRAM = "python -m throughtime.runtime"
_EXIT_CODES = {"input": 0, "signal": 130, "output": 141}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are the project's: one line."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"expected a call as in `{_PROGRAM} --help`, got {message}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed; `sys.argv` when None.

    Returns:
        The exit code: 0, 1 for what the user can mend, 2 for wrong use.
    """
    try:
        return _run(arguments)
    except ThroughtimeError as error:
        _say(f"{_PROGRAM}: error: {' '.join(str(error).split())}")
        return 2 if isinstance(error, OptionError) else 1


def _run(arguments: Sequence[str] | None) -> int:
    parser = _Parser(prog=_PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", help="the folder that `train --out` wrote")
    parser.add_argument("--key", help="the column that tells streams apart")
    parser.add_argument(
        "--verify", action="store_true", help="compare with what was recorded at training, and end"
    )
    asked = parser.parse_args(arguments)
    model = load(asked.run)
    if asked.verify:
        print(model.verify())
        return 0
    for stream, what in ((sys.stdin, "rows on standard input"), (sys.stdout, "a standard output")):
        if stream is None:
            raise DataError(f"expected {what}, got none; it is closed")
    from throughtime.stream.loop import answer_rows

    try:
        summary = answer_rows(model.stream(key=asked.key), sys.stdin, sys.stdout, tell=_say)
    except OSError as error:
        _abandon_output()
        raise DataError(
            "expected an input that can be read and an output that takes the answers, got "
            f"{error.strerror!r}; free space, or name other files"
        ) from None
    if summary.ended == "output":
        _abandon_output()
    _say(str(summary))
    if summary.errors and not summary.rows:
        raise DataError(
            f"expected rows that can be read, got {summary.errors} that can't, as said above"
        )
    return _EXIT_CODES[summary.ended]


def _abandon_output() -> None:
    """Let nothing more be written to an output that is gone, nor Python try to at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
