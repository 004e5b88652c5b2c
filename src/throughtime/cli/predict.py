"""`throughtime predict`: what follows the last row of each series."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime.cli.failures import say
from throughtime.cli.options import DATA_HELP, Json, RunFolder, SpareSeed
from throughtime.cli.show import print_json
from throughtime.errors import OptionError

if TYPE_CHECKING:
    import polars as pl


def predict(
    run: RunFolder,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help=f"{DATA_HELP} Forecasts begin after its last row.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Write a .csv or .parquet file instead; one there is replaced."),
    ] = None,
    json: Json = False,
    seed: SpareSeed = 0,
) -> None:
    """Forecast what follows the last row of each series.

    Prints CSV: unique_id, ds, horizon (1 to h) and a column for each quantile.
    """
    if out is not None:
        _check_out(out, data)
    from throughtime.run import load

    frame = load(run).predict(data, tell=say)
    if out is not None:
        _write(frame, out)
    if json:
        print_json({"rows": frame.to_dicts()})
    elif out is None:
        sys.stdout.write(frame.write_csv())
    else:
        print(f"{frame.height} rows written to {out}")


def _check_out(out: Path, data: str) -> None:
    """Refuse a file that can't be meant, before any work is done."""
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise OptionError(f"expected --out FILE.csv or FILE.parquet, got {out}; name one of these")
    if out.exists() and Path(data).exists() and out.samefile(data):
        raise OptionError(
            f"expected --out beside the data, got the data itself, {out}; name another"
        )


def _write(frame: "pl.DataFrame", out: Path) -> None:
    from throughtime.files import write_atomically

    buffer = io.BytesIO()
    if out.suffix.lower() == ".csv":
        frame.write_csv(buffer)
    else:
        frame.write_parquet(buffer)
    try:
        write_atomically(out, buffer.getvalue())
    except OSError as error:
        # Writing itself names no file, and the one beside it means nothing to the user.
        raise OSError(error.errno, error.strerror, str(out)) from None
