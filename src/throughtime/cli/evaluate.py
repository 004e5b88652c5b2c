"""`throughtime evaluate`: the figures of a run and of the baselines."""

from typing import Annotated

import typer

from throughtime.cli.failures import say
from throughtime.cli.options import Json, OptionalData, RunFolder, SpareSeed
from throughtime.cli.show import print_figures, print_json


def evaluate(
    run: RunFolder,
    data: OptionalData = None,
    split: Annotated[
        str | None,
        typer.Option(help="Shares of the parts in time order, such as 70/15/15; as in training."),
    ] = None,
    json: Json = False,
    seed: SpareSeed = 0,
) -> None:
    """Score a run beside the baselines, on its own data or on other.

    Each series is run from its first row with the state carried on;
    only the rows of a part are scored.
    """
    from throughtime.run import load

    results = load(run).evaluate(data, split=split, tell=say)
    if json:
        print_json(results)
    else:
        print_figures(results)
