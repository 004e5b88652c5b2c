"""A report as JSON values: every number that its page shows."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from throughtime.inspect.dynamics import saturation
from throughtime.inspect.report.reading import LayerGates, NotMeasured, Units
from throughtime.inspect.report.series import SeriesStretch
from throughtime.inspect.report.states import Path, Rest
from throughtime.inspect.report.text import TextStretch

if TYPE_CHECKING:
    from throughtime.inspect.memory import MemoryReport
    from throughtime.inspect.report.contents import Report

FORMAT = "throughtime.inspect/1"
_DIGITS = 4


def figures(report: "Report") -> dict[str, Any]:
    """Return a report as JSON values; a section that is not measured says why."""
    memory, path, gates, lint = report.memory, report.path, report.gates, report.lint
    return {
        "format": FORMAT,
        "run": report.name,
        "facts": report.facts,
        "scores": {
            row: {name: _finite(value) for name, value in figures.items()}
            for row, figures in report.scores.items()
        },
        "lines": report.lines(),
        "memory": _why(memory) if isinstance(memory, NotMeasured) else _of_memory(memory),
        "stretch": _of_stretch(report.stretch),
        "path": _why(path) if isinstance(path, NotMeasured) else _of_path(path),
        "gates": _why(gates) if isinstance(gates, NotMeasured) else list(map(_of_gates, gates)),
        "lint": _why(lint) if isinstance(lint, NotMeasured) else lint.to_json(),
    }


def rounded(values: Tensor | np.ndarray) -> Any:
    """Return numbers as nested lists, to four digits: there are hundreds of thousands of them."""
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        return [rounded(row) for row in array]
    return [_finite(float(f"{value:.{_DIGITS}g}")) for value in array.tolist()]


def _why(missing: NotMeasured) -> dict[str, Any]:
    return {"not_measured": missing.why}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _of_memory(memory: "MemoryReport") -> dict[str, Any]:
    content = memory.to_json()
    low, high = memory.gradients.band()
    content["gradients"] |= {"low": rounded(low), "high": rounded(high)}
    return content


def _of_stretch(stretch: TextStretch | SeriesStretch | NotMeasured) -> dict[str, Any]:
    if isinstance(stretch, NotMeasured):
        return _why(stretch)
    if isinstance(stretch, TextStretch):
        return {
            "kind": "text",
            "start": stretch.start,
            "symbols": stretch.symbols,
            "surprise": rounded(stretch.surprise),
            "likely": [
                [[symbol, float(f"{chance:.{_DIGITS}g}")] for symbol, chance in each]
                for each in stretch.likely
            ],
            "mattered": rounded(stretch.mattered),
            "units": list(map(_of_units, stretch.units)),
            "followers": [each._asdict() for each in stretch.followers],
        }
    return {
        "kind": "series",
        "unique_id": stretch.unique_id,
        "series": stretch.series,
        "times": list(stretch.times),
        "truth": rounded(stretch.truth),
        "levels": list(stretch.levels),
        "low": rounded(stretch.low),
        "middle": rounded(stretch.middle),
        "high": rounded(stretch.high),
        "covered": _finite(stretch.covered),
        "units": list(map(_of_units, stretch.units)),
    }


def _of_units(units: Units) -> dict[str, Any]:
    return {"layer": units.layer, "what": units.what, "values": rounded(units.values)}


def _of_path(path: Path) -> dict[str, Any]:
    return {
        "layer": path.layer,
        "what": path.what,
        "points": rounded(path.points),
        "explained": rounded(path.shares),
        "rest": _of_rest(path.rest) if isinstance(path.rest, Rest) else _why(path.rest),
    }


def _of_rest(rest: Rest) -> dict[str, Any]:
    return {
        "under": rest.under,
        "points": rounded(rest.points),
        "speeds": rest.speeds.tolist(),
        "fixed": rest.fixed.tolist(),
        "unstable": rest.unstable.tolist(),
    }


def _of_gates(gates: LayerGates) -> dict[str, Any]:
    if not gates.values:
        return {"layer": gates.layer, **_why(NotMeasured(gates.why))}
    found: dict[str, Any] = {"layer": gates.layer}
    for name, values in gates.values.items():
        shut, opened = saturation(values[None])
        found[name] = {"shut": rounded(shut), "open": rounded(opened)}
    return found
