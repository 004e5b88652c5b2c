"""From a run to a folder of C: written, compiled and verified aside, and put into place last."""

import os
import tempfile
from pathlib import Path

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
from throughtime.run import Run, load
from throughtime.state import write_atomically
from throughtime.tasks.forecast import ForecastTask
from throughtime.tasks.language import LanguageTask

HEADER, SOURCE, SELFTEST, SIZES = "model.h", "model.c", "selftest.c", "size.txt"


def to_c(run: Run | str | os.PathLike[str], out: str | os.PathLike[str]) -> Exported:
    """Export a run as C99: `model.h`, `model.c`, `selftest.c` and `size.txt`.

    The code needs no libm and no memory but a struct for each stream. Its numbers are verified
    before anything is written: see `throughtime.export.verify`.

    Args:
        run: the run, or its directory.
        out: the folder; created if it is not there.

    Returns:
        What was written, with the largest error and the sizes.

    Raises:
        OptionError: there is no C for one of the layers, or no C compiler to verify with.
        MismatchError: the C gives other numbers than the run.
    """
    run = run if isinstance(run, Run) else load(run)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"expected a folder to export to, got the file {folder}")
    program, texts = write_texts(run)
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        for file, text in texts.items():
            (aside / file).write_text(text)
        with CRunner(run, program, aside, [*STRICT, *FAST]) as runner:
            verdict = verify(run, runner)
        weights = sum(table.values.nbytes for table in program.tables)
        size = measure(aside, run.model.parameter_count(), weights)
    texts[SIZES] = f"{size}\n"
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        write_atomically(folder / file, text.encode())
    return Exported(folder, tuple(texts), verdict, size)


def write_texts(run: Run) -> tuple[Program, dict[str, str]]:
    """Return the network of a run as a program, and the text of each file."""
    program = Program()
    layer = run.config.model.layer
    y = add(program, run.model.layers, "features")
    if run.config.model.embedding_dropout:
        program.leaves += [None, None]  # The noise that drops symbols in training.
    around = _around(program, run)
    around.words["FINGERPRINT"] = run.fingerprint
    program.tables = [*around.tables, *program.tables]
    texts = {
        HEADER: write_header(program, around, layer),
        SOURCE: write_source(program, around, layer, y),
        SELFTEST: write_selftest(run),
    }
    return program, texts


def _around(program: Program, run: Run) -> Around:
    task = run.task
    if isinstance(task, ForecastTask):
        return around_forecast(program, task, run.model)
    if isinstance(task, LanguageTask):
        return around_language(program, task, run.model)
    raise OptionError(f"expected a forecast or language run to export to C, got a {task.name} run")
