"""`throughtime demo`: the guided tour. What is on a tour is in `tours`."""

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime.cli import tours
from throughtime.cli.options import Json, Seed
from throughtime.cli.show import print_json
from throughtime.errors import OptionError

if TYPE_CHECKING:
    from throughtime.data.demos import Demo

_FIRST = "sunspots"


def demo(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="sunspots, meter, python or reber.")
    ] = _FIRST,
    list_them: Annotated[
        bool, typer.Option("--list", help="Say what there is, and leave.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write, new or empty; a new folder below runs/ if not given."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="How long to train; each demo has its own.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """A guided tour on data that needs no download.

    In about a minute it trains, checks, forecasts or generates and streams,
    printing each command before it runs.
    """
    from throughtime.data.demos import describe

    demos = {one.name: one for one in describe()}
    if list_them:
        _list(list(demos.values()), as_json=json)
        return
    name = name.removeprefix("demo:")
    if name not in demos:
        raise OptionError(f"expected a demo among {', '.join(demos)}, got {name!r}; name one")
    folder = _folder(out, name)
    began = time.monotonic()
    # With --json, standard output has one document and nothing else.
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        commands = tours.guide(demos[name], folder, budget=budget, seed=seed)
        seconds = time.monotonic() - began
        print(f"That took {seconds:.0f} s; everything is in {folder}.")
    if json:
        run = str(folder / tours.RUN)
        print_json({"demo": name, "run": run, "commands": commands, "seconds": round(seconds, 1)})


def _list(demos: "list[Demo]", *, as_json: bool) -> None:
    if as_json:
        fields = ("name", "task", "description")
        print_json([{field: getattr(one, field) for field in fields} for one in demos])
        return
    width = max(len(one.source) for one in demos)
    for one in demos:
        print(f"{one.source:<{width}}  {one.task:<8}  {one.description}")


def _folder(out: Path | None, name: str) -> Path:
    """Return where to write; what is there already is never written over."""
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OptionError(
                f"expected a new or empty folder for --out, got {out}, which holds something; "
                "choose another"
            )
        return out
    base = Path("runs") / f"demo-{name}"
    candidates = [base, *(base.with_name(f"{base.name}-{n}") for n in range(2, 10_000))]
    return next(path for path in candidates if not path.exists())
