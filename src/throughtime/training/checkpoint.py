"""The checkpoint: everything that makes a resumed run the run that was never interrupted.

One file, `checkpoint/state.pt`: a line with the format and the SHA-256 of the rest, then the rest
as torch saves it. Beside it the run's `metrics.csv` grows, which a resumed run cuts back to the
step of its checkpoint.
"""

import csv
import hashlib
import io
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from throughtime.errors import BundleError
from throughtime.files import read_regular_file, write_atomically
from throughtime.formats import plain

FORMAT = "throughtime.checkpoint/1"
FOLDER = "checkpoint"
FILE = "state.pt"


def save(run: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; the one before stays until the new one is whole.

    Raises:
        BundleError: when it can't be written.
    """
    folder = run / FOLDER
    buffer = io.BytesIO()
    torch.save(content, buffer)
    body = buffer.getvalue()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, _head(body) + body)
    except OSError as error:
        raise BundleError(
            f"expected to write a checkpoint into {folder}, got {error.strerror or error}; "
            "make room there, then go on with --resume"
        ) from None


def load(run: Path) -> dict[str, Any]:
    """Read the checkpoint of an interrupted run onto the CPU; nothing in it is executed.

    Raises:
        BundleError: when there is none, or it is corrupt or of another version.
    """
    path = run / FOLDER / FILE
    if not path.exists():
        done = (run / "manifest.json").exists()
        raise BundleError(
            f"expected an interrupted run in {run}, got "
            + ("a finished one" if done else "no checkpoint there")
            + "; train into another folder with --out"
        )
    shown = plain(str(path), longest=1000)
    head, _, body = read_regular_file(path, shown).partition(b"\n")
    if not head.startswith(FORMAT.encode() + b" "):
        raise BundleError(
            f"expected a checkpoint of format {FORMAT} in {path}, got another; train again"
        )
    corrupt = f"expected a whole checkpoint in {path}, got a truncated or altered one; train again"
    if head + b"\n" != _head(body):
        raise BundleError(corrupt)
    # As `torch.save` writes it; older formats are pickles through and through.
    if not body.startswith(b"PK\x03\x04"):
        raise BundleError(corrupt)
    try:
        content = torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
    except (EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        raise BundleError(corrupt) from None
    if not isinstance(content, dict):
        raise BundleError(corrupt)
    return content


def remove(run: Path) -> None:
    """Remove the checkpoint of a finished run."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


class MetricsFile:
    """`metrics.csv`: a row for each report of a training run.

    Args:
        path: the file.
        resumed_at: keep the rows up to this step and go on after them; None starts afresh.
        more: columns beyond those of every run, empty in rows that lack them.
    """

    COLUMNS = (
        "step",
        "epoch",
        "seconds",
        "learning_rate",
        "loss",
        "gradient_norm",
        "skipped",
        "validation_loss",
    )

    def __init__(self, path: Path, resumed_at: int | None = None, more: Sequence[str] = ()) -> None:
        self.path = path
        self.columns = (*self.COLUMNS, *more)
        kept = _rows_up_to(path, resumed_at) if resumed_at is not None and path.exists() else ""
        write_atomically(path, f"{','.join(self.columns)}\n{kept}".encode())

    def add(self, row: dict[str, float | int | str]) -> None:
        """Append a row."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)


def _rows_up_to(path: Path, step: int) -> str:
    """Return the whole lines of rows up to a step; a crash may have cut the last line short."""
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    firsts = [line.partition(",")[0] for line in whole]
    kept = (first.isdecimal() and int(first) <= step for first in firsts)
    return "".join(line for line, keep in zip(whole, kept, strict=True) if keep)


def _head(body: bytes) -> bytes:
    return f"{FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode()
