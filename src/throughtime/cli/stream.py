"""`throughtime stream`: a run on rows as they come in, one answer a row."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime.cli.failures import INTERRUPTED, PIPE_CLOSED, abandon_output, say
from throughtime.cli.options import RunFolder, SpareSeed
from throughtime.errors import DataError

if TYPE_CHECKING:
    from throughtime.run import Run

_EXIT_CODES = {"input": 0, "signal": INTERRUPTED, "output": PIPE_CLOSED}


def stream(
    run: RunFolder,
    key: Annotated[
        str | None,
        typer.Option(help="The column that tells streams apart; that of training if not given."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Keep the state of all streams in a file, now and then and at the end. "
            "A file that is there already needs --load as well."
        ),
    ] = None,
    load: Annotated[
        Path | None,
        typer.Option(
            help="Go on from a file that --save wrote. Where it is that of --save and not there "
            "yet, start afresh."
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Taken by every command; here it is JSON lines anyway.")
    ] = False,
    seed: SpareSeed = 0,
) -> None:
    """Answer each row on standard input with a line of JSON.

    Rows are CSV with a header, or JSON lines; of a language run, lines of text.
    `expected` is what was predicted for a row before it came;
    `prediction`, `lower` and `upper` are for the next one.
    """
    if sys.stdin is None:
        raise DataError("expected rows on standard input, got none; it is closed")
    from throughtime.run import load as load_run
    from throughtime.stream import run_stream

    loaded = load_run(run)
    if sys.stdin.isatty():
        say(f"reading {_expected(loaded, key)} from this terminal; Ctrl-D ends, Ctrl-C as well")
    summary = run_stream(loaded, sys.stdin, sys.stdout, save=save, load=load, key=key, tell=say)
    if summary.ended == "output":
        abandon_output()
    say(str(summary))
    if summary.errors and not summary.rows:
        raise DataError(
            f"expected rows that can be read, got {summary.errors} that can't, as said above; "
            f"give {_expected(loaded, key)}"
        )
    raise typer.Exit(_EXIT_CODES[summary.ended])


def _expected(run: "Run", key: str | None) -> str:
    """Say what the rows of a run look like."""
    from throughtime.tasks import ForecastTask

    if not isinstance(run.task, ForecastTask):
        return "lines of text" if key is None else f"rows with the columns {key},text"
    format = run.task.format
    separating = key or format.key
    names = [*([separating] if separating else []), format.time, format.target, *format.covariates]
    horizon = run.task.options.horizon
    ahead = [f"{name}@+{k}" for name in format.known_future for k in range(1, horizon + 1)]
    return f"rows with the columns {','.join([*names, *ahead])}"
