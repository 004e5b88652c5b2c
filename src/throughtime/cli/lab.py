"""`throughtime lab`: why recurrent networks handle sequences, claim by claim, measured here."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime.cli.failures import CAN_BE_MENDED, PROGRAM, Stopped, say
from throughtime.cli.options import Json, command_line
from throughtime.cli.show import print_json, wide
from throughtime.errors import OptionError

if TYPE_CHECKING:
    from throughtime.lab import Progress, Result
    from throughtime.lab.running import Show

lab = typer.Typer(
    help="See why recurrent networks handle sequences, claim by claim, measured here.",
    no_args_is_help=True,
)


@lab.command("list")
def show_list(json: Json = False) -> None:
    """Print the name and the claim of every experiment, in the order of the lesson."""
    from throughtime.lab import SECTIONS, find

    if json:
        print_json(
            [
                {
                    "name": name,
                    "section": section,
                    "claim": find(name).claim,
                    "figure": find(name).figure,
                    "interval": find(name).interval,
                    "knobs": {knob: vars(each) for knob, each in find(name).knobs.items()},
                }
                for section, names in SECTIONS.items()
                for name in names
            ]
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for section, names in SECTIONS.items():
        table.add_row(f"[bold]{section}[/bold]", "")
        for name in names:
            table.add_row(f"  {name}", find(name).claim)
        table.add_section()
    Console(file=sys.stdout, highlight=False, width=wide(110)).print(table)


@lab.command("run")
def run_experiments(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="As `lab list` shows them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Run every experiment.")] = False,
    knob: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KNOB=VALUE", help="Turn a knob; give it once for each."),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, max=2**31 - 1, help="Instead of 0, 1 and 2; give it once for each."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write a page with every picture, and the figures; a second run goes on with it.",
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Seeds side by side; one for each core if not given.")
    ] = None,
    json: Json = False,
) -> None:
    """Run experiments with three seeds, and print what was measured beside what is claimed.

    Leaves with exit code 1 where a figure is not in its interval.
    Ctrl-C keeps what is in FOLDER.
    """
    from throughtime import lab as room
    from throughtime.inspect.picture import check_can_draw
    from throughtime.lab import result as results

    chosen = _chosen(names or [], everything)
    turned = _turned(knob or [])
    seeds = tuple(seed or room.SEEDS)
    if out is not None:
        if out.exists() and not out.is_dir():
            raise OptionError(f"expected --out FOLDER, new or of the lab, got the file {out}")
        out.mkdir(parents=True, exist_ok=True)
        check_can_draw()
    kept = results.read(out) if out is not None else {}
    found = {
        name: kept[name]
        for name in chosen
        if name in kept
        and not kept[name].failure
        and kept[name].seeds == seeds
        and kept[name].knobs == room.find(name).settings(turned if len(chosen) == 1 else {})
    }
    if found:
        say(f"{len(found)} of {len(chosen)} were run before, and are kept in {out}")
    rest = [name for name in chosen if name not in found]
    try:
        with _shown() as show:
            for result in room.run(rest, knobs=turned, seeds=seeds, jobs=jobs, show=show):
                found[result.name] = result
                if out is not None:
                    results.write(_in_order(kept | found, room.names()), out)
    except KeyboardInterrupt:
        how = "nothing was kept; with --out FOLDER it is"
        if out is not None:
            words = ["--all"] if everything else chosen
            words += [word for each in knob or [] for word in ("--set", each)]
            words += [word for each in seed or [] for word in ("--seed", str(each))]
            how = "go on with: " + command_line(PROGRAM, "lab", "run", *words, "--out", out)
        raise Stopped(
            f"interrupted; {len(found)} of {len(chosen)} experiments are there; {how}"
        ) from None
    came = _in_order(found, chosen)
    if out is not None:
        from throughtime.lab.report import write_page

        page = write_page(_in_order(kept | found, room.names()), out)
        say(f"written to {page}")
    if json:
        print_json([result.to_json() for result in came])
    else:
        _print(came)
    if any(result.holds is False for result in came):
        raise typer.Exit(CAN_BE_MENDED)


@lab.command("serve")
def serve_lesson(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of this machine alone.")] = 8765,
    show: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
) -> None:
    """Serve the lesson on this machine: predict, turn knobs, run, compare."""
    from throughtime.lab.page import serve

    serve(port=port, show=show)


def _chosen(given: Sequence[str], everything: bool) -> list[str]:
    from throughtime.lab import find, names

    if everything and given:
        raise OptionError(f"expected names or --all, got {', '.join(given)} and --all; leave one")
    if not everything and not given:
        raise OptionError("expected the name of an experiment, or --all; `throughtime lab list`")
    return list(names()) if everything else [find(name).name for name in dict.fromkeys(given)]


def _turned(given: Sequence[str]) -> dict[str, int | float | str]:
    turned: dict[str, int | float | str] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name or not value:
            raise OptionError(f"expected --set KNOB=VALUE, got {each!r}")
        turned[name] = value
    return turned


def _in_order(found: "Mapping[str, Result]", names: Sequence[str]) -> "list[Result]":
    return [found[name] for name in names if name in found]


@contextmanager
def _shown() -> "Iterator[Show]":
    """Show which seeds are done: a live bar at a terminal, a plain line for each elsewhere."""

    def line(progress: "Progress") -> None:
        say(f"{progress.done}/{progress.planned} {progress.name}, seed {progress.seed}")

    if not sys.stderr.isatty():
        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(
        *columns, TextColumn("{task.description}"), console=Console(stderr=True), transient=True
    ) as bars:
        task = bars.add_task("", total=None)
        yield lambda progress: bars.update(
            task, completed=progress.done, total=progress.planned, description=progress.name
        )


def _print(found: "Sequence[Result]") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from throughtime.lab import find
    from throughtime.lab.result import shown

    console = Console(file=sys.stdout, highlight=False, markup=False, width=wide(132))
    if len(found) == 1 and not found[0].failure:
        experiment = find(found[0].name)
        for text in (experiment.claim, f"measured: {experiment.figure}"):
            console.print(text)
        console.print(f"control: {experiment.control}")
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("experiment", no_wrap=True)
    table.add_column("claim", no_wrap=True)
    for heading in ("figure by seed", "expected", "control by seed", "seconds"):
        table.add_column(heading, justify="right")
    for result in found:
        low, high = find(result.name).interval
        table.add_row(
            result.name,
            result.verdict,
            " ".join(shown(each.figure) for each in result.outcomes) or "-",
            "-" if result.turned else f"{shown(low)} to {shown(high)}",
            " ".join(shown(each.control) for each in result.outcomes) or "-",
            f"{result.seconds:.0f}",
        )
    console.print(table)
    for result in found:
        if result.failure:
            say(f"{result.name}: {result.failure}")
        if result.turned:
            turned = ", ".join(f"{name}={value}" for name, value in result.turned.items())
            say(f"{result.name}: with {turned} no interval is stated")
    total = sum(result.seconds for result in found)
    judged = [result for result in found if result.holds is not None]
    held = f"{sum(result.holds is True for result in judged)} of {len(judged)} claims hold; "
    console.print(f"{held if judged else ''}{total:.0f} s")
    if len(found) == 1 and not found[0].failure:
        console.print(find(found[0].name).meaning)
