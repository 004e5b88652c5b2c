"""What the tests of the command line share: a table, what a command gives, a pressed Ctrl-C."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from throughtime.training.loop import Loop

POEM = "so much depends upon a red wheel barrow glazed with rain water\n" * 12


class Result(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


def table(rows: int = 60, *, header: str = "ds,y", cells: str = "") -> str:
    """Rows of CSV: a wave by the day, and what else each row is to end in."""
    lines = [
        f"2024-{1 + day // 28:02d}-{1 + day % 28:02d},{10 + 3 * math.sin(day):.4f}{cells}"
        for day in range(rows)
    ]
    return "\n".join([header, *lines]) + "\n"


def interrupt(patch: pytest.MonkeyPatch, *, at_step: int) -> None:
    """Press Ctrl-C in the middle of a training step."""
    step = Loop._step

    def interrupted_step(loop: Loop) -> float:
        if loop.course.step == at_step - 1:
            signal.raise_signal(signal.SIGINT)
        return step(loop)

    patch.setattr(Loop, "_step", interrupted_step)


def process(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """Start Python in a process of its own, with pipes."""
    root = Path(__file__).parents[2] / "src"
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
    words = [sys.executable, *(str(argument) for argument in arguments)]
    return subprocess.Popen(words, env=environment, **pipes)  # type: ignore[call-overload]


def finished(started: subprocess.Popen[bytes], rows: bytes | None = None) -> Result:
    """Wait for a process to end."""
    out, err = started.communicate(rows, timeout=120)
    return Result(started.returncode, (out or b"").decode(), (err or b"").decode())


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def error_line(result: Result) -> str:
    """The one line that says what was wrong; it is the last one, and no traceback is with it."""
    lines = result.err.splitlines()
    errors = [line for line in lines if line.startswith("throughtime: error:")]
    assert len(errors) == 1, result.err
    assert lines[-1] == errors[0], result.err
    assert "Traceback" not in result.err
    return errors[0]
