"""`throughtime bench`: how fast this library is here, beside its peers."""

import json as json_text
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime.cli.failures import CAN_BE_MENDED, Stopped, say
from throughtime.cli.options import Json, SpareSeed
from throughtime.cli.show import print_json, wide
from throughtime.errors import OptionError
from throughtime.formats import finite

if TYPE_CHECKING:
    from throughtime.bench import Progress, Report


def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PART]...",
            help="train, ragged, linear, family, step, threads, memory; all if not given.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="gru, rnn, lstm or another alone; give it once for each."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Under a minute: few repetitions, no long cases.")
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Measure in so many processes and take the median; 3 if not given, 1 if quick.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Leave with exit code 1 where a bar is missed.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the JSON document to a file as well.")
    ] = None,
    json: Json = False,
    seed: SpareSeed = 0,
) -> None:
    """Measure speed and memory beside torch.nn and other peers, on this machine.

    Ours and the peer are run in turn in one process, with the same weights and threads;
    outputs and gradients must be the same.
    Ctrl-C keeps what was measured.
    """
    if out is not None:
        _check_out(out)
    from throughtime.bench import run, text

    with _shown() as show:
        report = run(parts or (), layers=layer or (), quick=quick, processes=processes, show=show)
    if out is not None:
        _write(report, out)
    if json:
        print_json(report.to_json())
    else:
        _print(report)
    if report.interrupted:
        raise Stopped(f"interrupted; {len(report.figures)} of {report.planned} figures are there")
    for figure in report.wrong:
        say(f"wrong: {figure.name}: {figure.note}")
    if check:
        for figure, bar in report.missed:
            say(f"missed: {text.missed(figure, bar)}")
    if report.wrong or (check and not report.passed):
        raise typer.Exit(CAN_BE_MENDED)


def _check_out(out: Path) -> None:
    """Refuse a file that can't be written, before minutes are spent."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise OptionError(f"expected --out FILE in a folder that is there, got {out}; name another")


def _write(report: "Report", out: Path) -> None:
    from throughtime.files import write_atomically

    document = json_text.dumps(finite(report.to_json()), indent=2, allow_nan=False)
    try:
        write_atomically(out, f"{document}\n".encode())
    except OSError as error:
        # Writing itself names no file, and the one beside it means nothing to the user.
        raise OSError(error.errno, error.strerror, str(out)) from None


@contextmanager
def _shown() -> Iterator[Callable[["Progress"], None]]:
    """Show where a bench is: a live bar at a terminal, a plain line for each case elsewhere."""
    if not sys.stderr.isatty():
        yield lambda progress: say(
            f"{progress.share:4.0%} {progress.title}; about {_minutes(progress.seconds_left)} left"
        )
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%  {task.description}"))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda progress: bars.update(
            task,
            completed=progress.share,
            description=f"{progress.title}, about {_minutes(progress.seconds_left)} left",
        )


def _print(report: "Report") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from throughtime.bench import machine, text

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in ("part", "layer", "case"):
        table.add_column(name, no_wrap=True)
    for name in ("ours", "peer"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in ("ratio", "asked"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    before = ""
    for figure in report.figures:
        if before not in ("", figure.part):
            table.add_section()
        table.add_row(
            "" if figure.part == before else figure.part,
            figure.layer,
            figure.case,
            text.amount(figure, figure.ours),
            text.amount(figure, figure.theirs),
            figure.peer,
            text.ratio(figure, figure.ratio),
            ", ".join(text.bar(figure, bar) for bar in figure.asked),
            text.verdict(figure),
        )
        before = figure.part
    Console(file=sys.stdout, highlight=False, markup=False, width=wide(120)).print(table)
    print()
    for note in dict.fromkeys(figure.note for figure in report.figures if figure.note):
        print(f"- {note}")
    backends = dict.fromkeys(figure.backend for figure in report.figures if figure.backend)
    if backends:
        print(f"ours by {'; '.join(backends)}")
    print(machine.as_text(report.machine))
    spread = f"median of {report.processes} processes" if report.processes > 1 else "one process"
    print(f"{spread}, {'quick, ' if report.quick else ''}{report.seconds:.0f} s")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
