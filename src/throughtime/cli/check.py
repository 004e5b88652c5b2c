"""`throughtime check`: whether a run gives the same numbers in every way of running it."""

from typing import Annotated

import typer

from throughtime.cli.failures import CAN_BE_MENDED
from throughtime.cli.options import Json, OptionalData, RunFolder, SpareSeed
from throughtime.cli.show import print_json


def check(
    run: RunFolder,
    data: OptionalData = None,
    drift: Annotated[
        int, typer.Option(help="Windows to run on for in search of drift, 8 or more; 0 for none.")
    ] = 50,
    json: Json = False,
    seed: SpareSeed = 0,
) -> None:
    """Check that a run gives the same numbers in every way of running it.

    Offline, in chunks, step by step and restored from disk.
    Leaves with exit code 1 when it does not.
    """
    from throughtime.check import check as check_run

    report = check_run(run, data, drift=drift)
    if json:
        print_json(report.to_json())
    else:
        print(report)
    if not report.passed:
        raise typer.Exit(CAN_BE_MENDED)
