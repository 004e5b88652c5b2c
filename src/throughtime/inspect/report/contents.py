"""What a report is made of: every section measured, or the line that says why it is not."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from throughtime.data.windows import Example
from throughtime.errors import ThroughtimeError
from throughtime.files import read_regular_file
from throughtime.formats import JSON_LIMIT, parse_json
from throughtime.inspect.context import CONTEXTS, POSITIONS
from throughtime.inspect.lint import LintReport, lint_run
from throughtime.inspect.memory import MemoryReport, memory_report
from throughtime.inspect.report import series as of_series
from throughtime.inspect.report import text as of_text
from throughtime.inspect.report.reading import LayerGates, NotMeasured, Reading, read_stretch
from throughtime.inspect.report.series import SeriesStretch
from throughtime.inspect.report.states import Path, path, usual_input
from throughtime.inspect.report.text import TextStretch
from throughtime.kernels import threads_for
from throughtime.run import RESULTS_FILE, Run
from throughtime.tasks.forecast import ForecastTask
from throughtime.tasks.language import LanguageTask

SYMBOLS = 1500
"""Of the text that is shown."""
WARM = 500
"""Symbols that are read before, so that the state is a usual one."""
WORK = 8e11
"""Multiply-adds that losses by context may take: some ten seconds of a core."""
FEWEST = 200
"""Places that losses are measured at whatever the work."""

Show = Callable[[float, str], None]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Report:
    """What the model of a run does over time, measured.

    Attributes:
        name: of the run's folder.
        facts: what the run is, in words, by what is said.
        scores: figures of the model and of baselines on the last part of the data, as training
            left them; empty where it left none.
        memory: how far back the model remembers.
        stretch: a piece of the data and what the model made of it.
        path: where states went over that piece.
        gates: of each layer over that piece.
        lint: what the linter found.
    """

    name: str
    facts: dict[str, str]
    scores: dict[str, dict[str, float | None]]
    memory: MemoryReport | NotMeasured
    stretch: TextStretch | SeriesStretch | NotMeasured
    path: Path | NotMeasured
    gates: tuple[LayerGates, ...] | NotMeasured
    lint: LintReport | NotMeasured

    def lines(self) -> list[str]:
        """Say the main figures in words, a line each."""
        from throughtime.inspect.report.words import lines

        return lines(self)

    def to_json(self) -> dict[str, Any]:
        """Return all figures as JSON values; what is infinite or not measured is null."""
        from throughtime.inspect.report.figures import figures

        return figures(self)

    def to_html(self) -> str:
        """Return the page: one file with its pictures inside, which loads nothing else.

        Raises:
            ThroughtimeError: when matplotlib is not installed.
        """
        from throughtime.inspect.picture import check_can_draw
        from throughtime.inspect.report.page import page

        check_can_draw()
        return page(self)


def report(run: Run, data: Any = None, *, seed: int = 0, show: Show | None = None) -> Report:
    """Measure what the model of a run does over time.

    Args:
        run: the run.
        data: a path, a frame or `demo:NAME`; the data the run was trained on when None.
        seed: of the places that losses are measured at.
        show: told the share of the work that is done, and what comes next.

    Returns:
        A report; sections that can't be measured say why.

    Raises:
        DataError: when the data can't be read as the training data was.
        OptionError: when no data is given and the run was trained on a frame.
    """
    # Nearly all of it is many small products in a row, which threads only slow down.
    with threads_for(0):
        return _measured(run, data, seed, show or (lambda share, title: None))


def _measured(run: Run, data: Any, seed: int, tell: Show) -> Report:
    source = run.given(data, "inspect")
    tell(0.0, "reading the data")
    read = run.task.read(source)
    tell(0.05, "how far back the model remembers")
    memory = _or_why(lambda: memory_report(run, source, positions=_positions(run), seed=seed))
    tell(0.6, "what it makes of a piece of the data")
    stretch, of_states, gates = _of_stretch(run, read)
    tell(0.9, "the linter")
    lint = _or_why(lambda: lint_run(run, source))
    tell(1.0, "done")
    return Report(
        name=run.path.resolve().name,
        facts=_facts(run, source),
        scores=_scores(run) if data is None else {},
        memory=memory,
        stretch=stretch,
        path=of_states,
        gates=gates,
        lint=lint,
    )


def _or_why(measure: Callable[[], T]) -> T | NotMeasured:
    try:
        return measure()
    except ThroughtimeError as error:
        return NotMeasured(str(error))


def _positions(run: Run) -> int:
    """Return at how many places losses are measured: fewer, the larger the model."""
    steps = sum(CONTEXTS) + len(CONTEXTS) * max(CONTEXTS)
    return int(np.clip(WORK / (steps * run.model.parameter_count()), FEWEST, POSITIONS))


def _of_stretch(
    run: Run, read: Any
) -> tuple[
    TextStretch | SeriesStretch | NotMeasured,
    Path | NotMeasured,
    tuple[LayerGates, ...] | NotMeasured,
]:
    found = _or_why(lambda: _example(run, read))
    if isinstance(found, NotMeasured):
        return found, found, found
    example, start = found
    inputs = torch.from_numpy(example.inputs)
    resets = torch.from_numpy(example.starts)
    reading = read_stretch(run.model, inputs, start, resets=resets)
    symbol, x = usual_input(run.model, inputs[start:])
    name = "the middle of all inputs"
    stretch: TextStretch | SeriesStretch | NotMeasured
    if isinstance(run.task, LanguageTask):
        name = repr(run.task.vocabulary.symbols[symbol or 0])
        stretch = _text(run, run.task, example, start, reading)
    elif isinstance(run.task, ForecastTask):
        stretch = of_series.series_stretch(run.task, run.model, read, reading.units)
    else:
        stretch = NotMeasured(f"nothing is shown of the data of a {run.task.name} run")
    states = _or_why(
        lambda: path(run.model, reading.units, inputs, start, (name, x), resets=resets)
    )
    return stretch, states, reading.gates


def _example(run: Run, read: Any) -> tuple[Example, int] | NotMeasured:
    """Return a sequence from its beginning, and the step that the stretch begins with."""
    if isinstance(run.task, ForecastTask):
        series = of_series.longest(read)
        inputs = run.task.features.inputs(series)
        example = Example(inputs, np.zeros(len(inputs)), series.restarts)
        return example, of_series.first_row(run.task, series)
    whole = run.task.long_example(read)
    start = min(WARM, len(whole) // 4)
    if start < 1:
        return NotMeasured(f"a piece of the data to show needs 4 steps, got {len(whole)}")
    cut = slice(start + SYMBOLS)
    return Example(whole.inputs[cut], whole.targets[cut], whole.starts[cut]), start


def _text(
    run: Run, task: LanguageTask, example: Example, start: int, reading: Reading
) -> TextStretch:
    ids = torch.from_numpy(example.inputs)
    symbols = task.vocabulary.decode(example.inputs[start:])
    before = reading.outputs[:-1]
    return TextStretch(
        start,
        symbols,
        of_text.surprise(before, ids[start:]),
        of_text.likely(before, task.vocabulary.symbols),
        of_text.mattered(run.model, ids, start),
        reading.units,
        of_text.followers(symbols, reading.units),
    )


def _facts(run: Run, source: Any) -> dict[str, str]:
    config = run.config
    named = isinstance(source, str | os.PathLike)
    return {
        "task": run.task.name,
        "model": f"{config.model.layer}, {run.model.parameter_count():,} parameters",
        "data": os.path.basename(str(source)) if named else "a frame",
        "throughtime": config.version,
    }


def _scores(run: Run) -> dict[str, dict[str, float | None]]:
    """Return the figures that training left beside the model, which nothing vouches for."""
    try:
        read = read_regular_file(run.path / RESULTS_FILE, RESULTS_FILE, JSON_LIMIT)
        content = parse_json(read, source=RESULTS_FILE)
        part = content["splits"][run.task.parts[-1]]
        rows = {"this model": part, **content["baselines"]}
        return {
            str(name): {
                str(figure): None if value is None else float(value)
                for figure, value in row.items()
            }
            for name, row in rows.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
