"""The checkpoint: everything that makes a resumed run the run that was never interrupted."""

import csv
import io
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from throughtime.errors import BundleError
from throughtime.state import write_atomically

FORMAT = "throughtime.checkpoint/1"
FOLDER = "checkpoint"


def save(run: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; the one before stays until the new one is whole."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    write_atomically(folder / "state.pt", buffer.getvalue())


def load(run: Path) -> dict[str, Any]:
    """Read the checkpoint of an interrupted run; nothing in it is executed.

    Raises:
        BundleError: when there is none, or it is corrupt or of another version.
    """
    path = run / FOLDER / "state.pt"
    if not path.exists():
        done = (run / "manifest.json").exists()
        raise BundleError(
            f"expected an interrupted run in {run}, got "
            + ("a finished one" if done else "no checkpoint there")
            + "; train into another folder with --out"
        )
    try:
        content = torch.load(path, weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(
            f"expected a whole checkpoint in {path}, got a corrupt one ({line}); train again"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BundleError(f"expected a checkpoint of format {FORMAT} in {path}, got another")
    return content


def remove(run: Path) -> None:
    """Remove the checkpoint of a finished run."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


class MetricsFile:
    """`metrics.csv`: a row for each report of a training run.

    Args:
        path: the file.
        resumed_at: keep the rows up to this step and go on after them; None starts afresh.
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

    def __init__(self, path: Path, resumed_at: int | None = None) -> None:
        kept: list[dict[str, str]] = []
        if resumed_at is not None and path.exists():
            with path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= resumed_at]
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_atomically(path, buffer.getvalue().encode())
        self.path = path

    def add(self, row: dict[str, float | int | str]) -> None:
        """Append a row."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.COLUMNS, lineterminator="\n").writerow(row)
