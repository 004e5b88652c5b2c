"""From a run to a folder of C: written, compiled and verified aside, and put into place last."""

import os
import tempfile
from pathlib import Path
from typing import Any

from throughtime.errors import OptionError
from throughtime.export.c.around import add
from throughtime.export.c.compiler import FAST, STRICT
from throughtime.export.c.forecast import around_forecast
from throughtime.export.c.language import around_language
from throughtime.export.c.program import Program
from throughtime.export.c.runner import CRunner
from throughtime.export.c.selftest import write_selftest
from throughtime.export.c.size import measure
from throughtime.export.c.write import Around, write_header, write_source
from throughtime.export.exported import Exported
from throughtime.export.gate import verify
from throughtime.export.placing import folder_to_export_to, put_files
from throughtime.run import Run, load
from throughtime.tasks.forecast import ForecastTask
from throughtime.tasks.language import LanguageTask

NUMBERS = ("float32", "int8")

HEADER, SOURCE, SELFTEST, SIZES = "model.h", "model.c", "selftest.c", "size.txt"


def to_c(
    run: Run | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    numbers: str = "float32",
    calibrate: Any = None,
) -> Exported:
    """Export a run as C99: `model.h`, `model.c`, `selftest.c` and `size.txt`.

    The code needs no libm and no memory but a struct for each stream. Its numbers are verified
    before anything is written: see `throughtime.export.verify`. With 8-bit weights it has the bits
    of a twin in Python, and what that costs in the figures of the run is measured and told.

    Args:
        run: the run, or its directory.
        out: the folder; created if it is not there.
        numbers: "float32", or "int8": weights of 8 bits, and whole numbers only.
        calibrate: for int8: a path, a frame or `demo:NAME` to take the sizes of numbers from; what
            the run was trained on when None.

    Returns:
        What was written, with the largest error and the sizes; an `IntegerExported` for int8.

    Raises:
        OptionError: there is no C for one of the layers, or no C compiler to verify with.
        MismatchError: the C gives other numbers than the run, or for int8 than its twin.
    """
    if numbers not in NUMBERS:
        raise OptionError(f"expected numbers {' or '.join(NUMBERS)}, got {numbers!r}")
    run = run if isinstance(run, Run) else load(run)
    folder = folder_to_export_to(out)
    if numbers == "int8":
        from throughtime.export.c.int8.exporting import to_c_int8

        return to_c_int8(run, folder, calibrate)
    if calibrate is not None:
        raise OptionError("expected numbers int8 with calibrate, got float32; leave it out")
    program, texts = write_texts(run)
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        for file, text in texts.items():
            (aside / file).write_text(text)
        with CRunner(run, program, aside, [*STRICT, *FAST]) as runner:
            verdict = verify(run, runner)
        size = measure(aside, run.model.parameter_count(), program)
    texts[SIZES] = f"{size}\n"
    put_files(folder, {file: text.encode() for file, text in texts.items()})
    return Exported(folder, tuple(texts), verdict, size)


def write_texts(run: Run) -> tuple[Program, dict[str, str]]:
    """Return the network of a run as a program, and the text of each file."""
    first = Program()
    add(first, run.model.layers, "features")
    program = Program(blocks=first.best_blocks())
    y = add(program, run.model.layers, "features")
    if run.config.model.embedding_dropout:
        program.leaves += [None, None]  # The noise that drops symbols in training.
    return program, {**texts_of(run, program, y), SELFTEST: write_selftest(run)}


def texts_of(run: Run, program: Program, y: str) -> dict[str, str]:
    """Return the header and the source of a program whose network puts out `y`."""
    layer = run.config.model.layer
    around = _around(program, run)
    around.words["FINGERPRINT"] = run.fingerprint
    program.tables = [*around.tables, *program.tables]
    return {
        HEADER: write_header(program, around, layer),
        SOURCE: write_source(program, around, layer, y),
    }


def _around(program: Program, run: Run) -> Around:
    task = run.task
    if isinstance(task, ForecastTask):
        return around_forecast(program, task, run.model)
    if isinstance(task, LanguageTask):
        return around_language(program, task, run.model)
    raise OptionError(f"expected a forecast or language run to export to C, got a {task.name} run")
