"""`throughtime export`: a run as what runs without torch."""

from pathlib import Path
from typing import Annotated

import typer

from throughtime.cli.options import Json, RunFolder, SpareSeed
from throughtime.cli.show import print_json
from throughtime.errors import OptionError

_KINDS = ("c", "onnx")


def export(
    run: RunFolder,
    to: Annotated[str, typer.Option(metavar="KIND", help="What to write: c or onnx.")] = "c",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where it is written; RUN/c, RUN/c_int8 or RUN/onnx if not given.",
        ),
    ] = None,
    numbers: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="For c: float32, or int8: weights of 8 bits and whole numbers only.",
        ),
    ] = "float32",
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="For int8: what the sizes of numbers are taken from; what the run was trained on "
            "if not given.",
        ),
    ] = None,
    json: Json = False,
    seed: SpareSeed = 0,
) -> None:
    """Export a run as C or as ONNX, verified before it is done.

    To c: a header and a source file of C99, with scales, vocabulary and head inside.
    They need no libm and no memory but a struct for each stream. With int8 they are a
    quarter as large, give the bits of a twin in Python, and the report says what that costs.

    To onnx: a graph of one step, a graph of whole sequences, and a runner in Python that
    needs numpy and onnxruntime alone.
    """
    if to not in _KINDS:
        raise OptionError(f"expected --to {' or '.join(_KINDS)}, got {to!r}")
    from throughtime.export import to_c, to_onnx

    folder = run / (to if numbers == "float32" else f"{to}_{numbers}") if out is None else out
    if to == "c":
        exported = to_c(run, folder, numbers=numbers, calibrate=calibrate)
    elif numbers != "float32" or calibrate is not None:
        raise OptionError(
            "expected --numbers and --calibrate with --to c alone, got them with --to onnx; "
            "leave them out"
        )
    else:
        exported = to_onnx(run, folder)
    if json:
        print_json(exported.to_json())
    else:
        print(exported)
