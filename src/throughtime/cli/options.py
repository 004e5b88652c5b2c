"""Options that several verbs share, and what they have in common."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of text for people.")
]

Seed = Annotated[
    int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Seed of everything random.")
]

SpareSeed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        max=2**31 - 1,
        hidden=True,
        help="Taken by every command; nothing is drawn at random here.",
    ),
]

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="The run directory that `train --out` wrote.")
]

DATA_HELP = "A CSV, Parquet or text file, or demo:NAME."

OptionalData = Annotated[
    str | None,
    typer.Argument(metavar="[DATA]", help=f"{DATA_HELP} The training data if not given."),
]


def command_line(*words: str | Path) -> str:
    """Return a command as people type it.

    Example:
        >>> command_line("throughtime", "predict", "my run")
        "throughtime predict 'my run'"
    """
    return shlex.join(str(word) for word in words)
