"""`selftest.c`: the only `main` of an export, with what was recorded when the run was trained."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from throughtime.export.c.pieces import filled
from throughtime.export.c.program import Table
from throughtime.export.c.runner import sample_rows
from throughtime.export.c.write import defined, quoted
from throughtime.run import Run
from throughtime.tasks.forecast import ForecastTask

_MOST_NUMBERS = 20_000
"""Recorded outputs that go into the file, so that a large vocabulary leaves one that compiles."""


def write_selftest(run: Run, twin: Mapping[str, Tensor] | None = None) -> str:
    """Return the text of `selftest.c`.

    Args:
        run: the run.
        twin: what a twin gives in place of what was recorded; its outputs are met bit by bit.
    """
    recorded = {**run.parity, **(twin or {})}
    parity = {name: part.numpy() for name, part in recorded.items()}
    outputs = parity["outputs"]
    lanes, most, wide = outputs.shape
    steps = min(most, max(1, _MOST_NUMBERS // (lanes * wide)))
    forecast = isinstance(run.task, ForecastTask)
    kind = np.float32 if forecast else np.int32
    lengths = np.minimum(parity["lengths"], steps).astype(np.int32)
    tables = [
        Table("lengths", lengths, "steps of each lane"),
        Table("inputs", parity["inputs"][:, :steps].astype(kind).ravel(), "inputs, lane by lane"),
        Table("outputs", outputs[:, :steps].ravel(), "what came of them"),
    ]
    sizes = {"LANES": lanes, "STEPS": steps, "WIDE": wide}
    vectors = [f"#define {name} {size}" for name, size in sizes.items()]
    if isinstance(run.task, ForecastTask):
        vectors += _rows(recorded, run.task, tables)
    vectors += ["", *map(defined, tables)]
    words: dict[str, str | int] = {
        "OUTPUTS_TOLERANCE": "TOLERANCE" if twin is None else "0.0 /* equal bits */",
        "VECTORS": "\n".join(vectors),
        "FORECAST": int(forecast),
        "LANGUAGE": int(not forecast),
        "POOLED": ", MODEL_POOLED" if forecast else "",
    }
    return filled("selftest.c", words)


def _rows(recorded: Mapping[str, Tensor], task: ForecastTask, tables: list[Table]) -> list[str]:
    """Add the raw rows up to the first restart, and return the definitions that go with them."""
    sample = {
        name.removeprefix("data."): part
        for name, part in recorded.items()
        if name.startswith("data.")
    }
    quantiles = recorded["answer.quantiles"].numpy()
    each = quantiles[0].size
    later = np.flatnonzero(sample["restarts"].numpy()[1:]) + 1
    count = int(min([len(quantiles), *later, max(1, _MOST_NUMBERS // each)]))
    tables.append(Table("quantiles", quantiles[:count].ravel(), "what is forecast after each row"))
    rows = [_row(task, row) for row in sample_rows(task, sample)[:count]]
    unique_id = "".join(map(chr, sample["unique_id"].tolist()))
    center = float(quantiles[:count].mean())
    spread = float(quantiles[:count].std()) or 1.0
    return [
        f"#define ROWS {count}",
        f"#define SERIES_NAME {quoted(unique_id)}",
        "/* Forecasts are compared in units of their spread. */",
        f"#define CENTER {center!r}",
        f"#define SPREAD {spread!r}",
        "",
        "/* raw rows */",
        "static const model_row rows[ROWS] = {",
        *(f"    {row}," for row in rows),
        "};",
    ]


def _row(task: ForecastTask, row: np.ndarray) -> str:
    """Return a row as an initialiser of `model_row`."""
    count, known = len(task.format.covariates), len(task.features.known)
    parts = [_number(row[0])]
    if count:
        parts.append(_braced(row[1 : 1 + count]))
    if known:
        futures = row[1 + count :].reshape(known, -1)
        parts.append("{" + ", ".join(map(_braced, futures)) + "}")
    return "{" + ", ".join(parts) + "}"


def _braced(values: np.ndarray) -> str:
    return "{" + ", ".join(map(_number, values)) + "}"


def _number(value: float) -> str:
    return "NAN" if np.isnan(value) else repr(float(value))
