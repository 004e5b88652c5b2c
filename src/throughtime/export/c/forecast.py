"""Forecasting in C: from a row in the data's own units to quantiles in the same."""

import numpy as np
import torch

from throughtime.export.c import layout
from throughtime.export.c.classic import array
from throughtime.export.c.pieces import filled
from throughtime.export.c.program import Program, Table
from throughtime.export.c.write import Around
from throughtime.model import SequenceModel
from throughtime.tasks.forecast import ForecastTask
from throughtime.tasks.scaling import RobustScaler

_NAMES_SHOWN = 8


def around_forecast(program: Program, task: ForecastTask, model: SequenceModel) -> Around:
    """Return what the task adds to a network: scales, features, grid and head.

    In whole numbers the head belongs to the network, and is there already.
    """
    format, options = task.format, task.options
    levels, horizon = options.levels, options.horizon
    each = len(levels) if options.head == "quantile" else 2
    around = Around("forecast", {})
    series = list(task.scaler.series)
    around.names = {"series_names": series or [""]}
    around.tables = [
        Table("scales", _scales(task.scaler, series), "location and scale of each series; pooled")
    ]
    if program.numbers == "float32":
        weight, bias = array(model.head.weight), array(model.head.bias)
        parts = layout.blocks(each * horizon, each)
        heads = [layout.affine(weight[ahead], bias[ahead]) for ahead in parts]
        program.widths |= layout.widths(each, layout.COLUMNS)
        around.tables.append(Table("head", np.concatenate(heads), "the head, by steps ahead"))
        around.words["HEAD_SIZE"] = len(heads[0])
    covariates, known = format.covariates, format.known_future
    if covariates:
        found = [task.covariate_scaler.scale_of(name) for name in covariates]
        scales = np.array([[scale.location, scale.scale] for scale in found])
        around.tables.append(
            Table("covariate_scales", scales, "location and scale of each covariate")
        )
    if known:
        places = np.array(task.features.known, np.int32)
        around.tables.append(Table("known", places, "covariates whose future is known"))
    if options.head == "gaussian":
        normal = torch.special.ndtri(torch.tensor(levels, dtype=torch.float64))
        about = "the levels as quantiles of the standard normal distribution"
        around.tables.append(Table("normal_quantiles", array(normal), about))
    around.pieces["scaled_quantiles"] = filled(f"{options.head}_head.c", {})
    around.words.update(
        FEATURES=task.features.size,
        OUTPUTS=each * horizon,
        HORIZON=horizon,
        QUANTILES=len(levels),
        LEVELS=", ".join(f"{level:g}" for level in levels),
        COVARIATES=len(covariates),
        KNOWN=len(known),
        UNKNOWN=int(not known),
        SERIES=len(series),
        TARGET=_plain(format.target),
        COVARIATE_NAMES=_listed(covariates),
        KNOWN_NAMES=_listed(known),
        TIME_UNITS="microseconds since 1970 in UTC"
        if format.time_kind == "timestamp"
        else f"a whole number of column {_plain(format.time)}",
        REGULAR=int(format.regular),
        IRREGULAR=int(not format.regular),
        MAX_GAP=format.max_gap,
        UNITS=model.layers.output_size,
        EACH=each,
        MOST=max(each, len(levels)),
    )
    for name in ("read_row", "filler_before"):
        around.pieces[name] = filled(f"{name}.c", around.words)
    if format.step_months is not None:
        months: dict[str, str | int] = {"MONTHS": format.step_months}
        around.pieces["steps_between"] = filled("steps_between_months.c", months)
    elif format.step_us is not None:
        unit = "microseconds" if format.time_kind == "timestamp" else "units"
        step = {"STEP": f"{format.step_us} {unit}", "SIZE": f"{format.step_us}u"}
        around.pieces["steps_between"] = filled("steps_between_times.c", step)
    return around


def _scales(scaler: RobustScaler, series: list[str]) -> np.ndarray:
    """Return location and scale (S + 1, 2) of each series, and last of any other."""
    found = [*(scaler.series[name] for name in series), scaler.pooled]
    return np.array([[scale.location, scale.scale] for scale in found])


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(_plain(name) for name in names[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" * (len(names) > _NAMES_SHOWN))


def _plain(name: str) -> str:
    """Return a column's name so that it can stand in a comment."""
    shown = (c if c.isascii() and c.isprintable() and c not in "*/\\?" else "_" for c in name)
    return "".join(shown)[:40]
