"""`throughtime export`: a run as code that needs no Python."""

from pathlib import Path
from typing import Annotated

import typer

from throughtime.cli.options import Json, RunFolder, SpareSeed
from throughtime.cli.show import print_json
from throughtime.errors import OptionError

_KINDS = ("c",)


def export(
    run: RunFolder,
    to: Annotated[str, typer.Option(metavar="KIND", help="What to write: c.")] = "c",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it is written; RUN/KIND if not given.")
    ] = None,
    json: Json = False,
    seed: SpareSeed = 0,
) -> None:
    """Export a run as code that needs no Python, verified before it is done.

    To c: a header and a source file of C99, with scales, vocabulary and head inside.
    They need no libm and no memory but a struct for each stream.
    """
    if to not in _KINDS:
        raise OptionError(f"expected --to {' or '.join(_KINDS)}, got {to!r}")
    from throughtime.export import to_c

    exported = to_c(run, run / to if out is None else out)
    if json:
        print_json(exported.to_json())
    else:
        print(exported)
