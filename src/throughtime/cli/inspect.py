"""`throughtime inspect`: what the model of a run does over time, on one page."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime.cli.failures import CAN_BE_MENDED, say
from throughtime.cli.options import Json, OptionalData, RunFolder, Seed
from throughtime.cli.show import print_json
from throughtime.errors import OptionError

if TYPE_CHECKING:
    from throughtime.run import Run

PAGE = "inspect.html"
"""The file in the run directory that a report is written to where no other is named."""


def inspect(
    run: RunFolder,
    data: OptionalData = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Where the page is written; RUN/{PAGE} if not given."),
    ] = None,
    lint: Annotated[
        bool,
        typer.Option(
            "--lint", help="Only look for faults; leave with exit code 1 where there are some."
        ),
    ] = False,
    json: Json = False,
    seed: Seed = 0,
) -> None:
    """Measure what a model does over time, and write it as one page of HTML.

    How far back it remembers, what its states and gates do, and its data coloured by what it
    makes of them. The page loads nothing else and works offline.
    With --json it is printed instead, and a page written only to --out.
    """
    if lint and out is not None:
        raise OptionError("expected --out without --lint, which writes no page; leave one away")
    if out is not None:
        _check_out(out)
    from throughtime.run import load

    loaded = load(run)
    if lint:
        _lint(loaded, data, as_json=json)
        return
    from throughtime.inspect.picture import check_can_draw
    from throughtime.inspect.report import report

    page = out if out is not None or json else run / PAGE
    if page is not None:
        check_can_draw()
    with _shown() as show:
        found = report(loaded, data, seed=seed, show=show)
    if page is not None:
        _write(found.to_html(), page)
    if json:
        print_json(found.to_json(), indent=None)
        return
    for line in found.lines():
        print(line)
    print(f"the report is in {page}")


def _lint(run: "Run", data: str | None, *, as_json: bool) -> None:
    from throughtime.inspect.lint import lint_run

    report = lint_run(run, data)
    if as_json:
        print_json(report.to_json())
    else:
        print(report)
    if not report.clean:
        raise typer.Exit(CAN_BE_MENDED)


def _check_out(out: Path) -> None:
    """Refuse a file that can't be written, before a minute is spent."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise OptionError(f"expected --out FILE in a folder that is there, got {out}; name another")


def _write(html: str, page: Path) -> None:
    from throughtime.files import write_atomically

    try:
        write_atomically(page, html.encode())
    except OSError as error:
        # The file beside it that was written means nothing to the user.
        raise OSError(error.errno, error.strerror, str(page)) from None


@contextmanager
def _shown() -> Iterator[Callable[[float, str], None]]:
    """Show what is being measured: a live bar at a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda share, title: say(f"{share:4.0%} {title}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%  {task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda share, title: bars.update(task, completed=share, description=title)
