"""The page of a report: one file with its pictures, style and program inside."""

import base64
import math
from collections.abc import Iterator
from html import escape
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import torch

from throughtime.inspect.document import document, figure
from throughtime.inspect.report import pictures, words
from throughtime.inspect.report.figures import rounded
from throughtime.inspect.report.reading import NotMeasured, Units
from throughtime.inspect.report.text import TextStretch

if TYPE_CHECKING:
    from throughtime.inspect.report.contents import Report

_HERE = FilePath(__file__).parent
_MARKS = {"\n": "↵\n", "\t": "⇥"}


def page(report: "Report") -> str:
    """Return a report as a page of HTML that loads nothing else."""
    return document(
        report.name,
        " · ".join(f"{name} {value}" for name, value in report.facts.items()),
        "\n".join(_body(report)),
        style=_asset("page.css"),
        script=_asset("page.js"),
        data=_data(report.stretch) if isinstance(report.stretch, TextStretch) else {},
    )


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _body(report: "Report") -> Iterator[str]:
    yield "<h2>In short</h2>\n<ul>"
    yield from (f"<li>{escape(line)}</li>" for line in report.lines())
    yield "</ul>"
    if report.scores:
        yield _scores(report.scores)
    yield from _stretch(report)
    yield from _memory(report)
    yield from _states(report)
    yield from _lint(report)


def _scores(scores: dict[str, dict[str, float | None]]) -> str:
    names = list(next(iter(scores.values())))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{escape(row)}</td>"
        + "".join(f"<td>{_number(figures.get(name))}</td>" for name in names)
        + "</tr>"
        for row, figures in scores.items()
    )
    return (
        '<div class="scroll"><table><thead><tr><th>on the last part of the data</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.4g}"


def _stretch(report: "Report") -> Iterator[str]:
    stretch = report.stretch
    if isinstance(stretch, TextStretch):
        yield "<h2>A piece of the text, as the model reads it</h2>"
        yield from _text(stretch)
        return
    yield "<h2>The last rows, as the model reads them</h2>"
    if isinstance(stretch, NotMeasured):
        yield _none("A piece of the data", stretch.why)
        return
    yield '<div class="figures">'
    yield figure("Truth and forecasts", pictures.forecasts(stretch), words.of_forecasts(stretch))
    for units in stretch.units:
        yield figure(
            f"What {units.layer} holds ({units.what})",
            pictures.over_time(units, stretch),
            "A row is a unit, orange above zero and blue below; units that move alike are next to "
            "each other. Rows that follow the data, or keep a colour for long, are memory at work; "
            "rows that never change hold nothing.",
        )
    yield "</div>"


def _text(stretch: TextStretch) -> Iterator[str]:
    yield (
        f"<p>{len(stretch.symbols):,} symbols of the validation part, after {stretch.start:,} that "
        "were read before. Colour says what a unit holds after each character, how much each one "
        "surprised the model (much red is bad), or how much each mattered for a later one: the "
        "gradient of the later one's log-probability.</p>"
    )
    ways = {
        "surprise": "surprise",
        "mattered": "what mattered for a character",
        "unit": "a unit's value",
    }
    yield '<div class="controls" role="radiogroup" aria-label="Colour by">Colour by '
    for way, name in ways.items():
        yield f'<label><input type="radio" name="by" value="{way}">{name}</label>'
    yield "</div>"
    yield from _choice_of_unit(stretch)
    yield (
        '<p class="quiet"><span id="low"></span> <span id="scale" class="scale"></span> '
        '<span id="high"></span></p>'
    )
    yield '<div id="reading" aria-live="polite"><p id="summary"></p><p id="figures"></p></div>'
    symbols = "".join(map(_symbol, stretch.symbols))
    yield (
        '<div id="text" tabindex="0" role="application" aria-label="The text; arrow keys choose '
        f'a character">{symbols}</div>'
    )


def _choice_of_unit(stretch: TextStretch) -> Iterator[str]:
    yield '<div class="controls"><label>Layer <select id="layer">'
    for number, units in enumerate(stretch.units):
        yield f'<option value="{number}">{escape(f"{units.layer}, {units.what}")}</option>'
    yield (
        '</select></label> <label>Unit <input id="unit" type="number" min="0" step="1">'
        '<input id="slide" type="range" min="0" step="1" aria-label="Unit"></label></div>'
    )
    yield '<div class="controls units">Units that follow something '
    layers = [units.layer for units in stretch.units]
    for each in stretch.followers:
        yield (
            f'<button type="button" data-layer="{layers.index(each.layer)}" '
            f'data-unit="{each.unit}">{escape(each.follows)}: {each.unit} '
            f"(r {each.correlation:+.2f})</button>"
        )
    yield "</div>"


def _symbol(symbol: str) -> str:
    if symbol in _MARKS:
        return f'<i class="mark">{_MARKS[symbol]}</i>'
    return f"<i>{escape(symbol)}</i>" if symbol.isprintable() else '<i class="mark">·</i>'


def _memory(report: "Report") -> Iterator[str]:
    yield "<h2>How far back it remembers</h2>"
    memory = report.memory
    if isinstance(memory, NotMeasured):
        yield _none("Memory", memory.why)
        return
    yield '<div class="figures">'
    yield figure("Loss by context", pictures.context(memory), words.of_context(memory))
    yield figure(
        "Gradient by steps back", pictures.gradients(memory.gradients), words.of_gradients(memory)
    )
    if len(memory.exponents):
        yield figure("Lyapunov exponents", pictures.exponents(memory), words.of_exponents(memory))
    else:
        yield _none("Lyapunov exponents", "the sequences are too short to measure any")
    yield figure("Memory curve", pictures.capacity(memory.capacity), words.of_capacity(memory))
    yield "</div>"


def _states(report: "Report") -> Iterator[str]:
    yield '<h2>What its states do</h2>\n<div class="figures">'
    if isinstance(report.path, NotMeasured):
        yield _none("Path of the states", report.path.why)
    else:
        yield figure("Path of the states", pictures.path(report.path), words.of_path(report.path))
    if isinstance(report.gates, NotMeasured):
        yield _none("Saturation of gates", report.gates.why)
    else:
        for gates in report.gates:
            title = f"Saturation of the gates of {gates.layer}"
            if gates.values:
                yield figure(title, pictures.gates(gates), words.of_gates(gates))
            else:
                yield _none(title, gates.why)
    yield "</div>"


def _lint(report: "Report") -> Iterator[str]:
    yield "<h2>What the linter finds</h2>"
    lint = report.lint
    if isinstance(lint, NotMeasured):
        yield _none("Faults", lint.why)
        return
    if lint.clean:
        yield f"<p>None of the {len(lint.checked)} faults that were looked for.</p>"
    yield "<ul>"
    for found in lint.findings:
        where = f" in {found.where}" if found.where else ""
        yield (
            f"<li><strong>{escape(found.name)}</strong>{escape(where)}: {escape(found.text)}<br>"
            f"{escape(found.mend)}</li>"
        )
    for missed in lint.skipped:
        yield f'<li class="quiet">not checked: {escape(missed.name)}: {escape(missed.reason)}</li>'
    yield "</ul>"


def _none(title: str, why: str) -> str:
    return (
        f'<div class="none"><h3>{escape(title)}</h3><p class="quiet">Not measured: '
        f"{escape(why)}.</p></div>"
    )


def _data(stretch: TextStretch) -> dict[str, Any]:
    """Return what the page colours by: matrices as bytes, since there are many numbers."""
    rows = stretch.mattered / stretch.mattered.sum(1, keepdim=True).clamp(min=1e-300)
    peaks = rows.max(1).values
    shares = (rows / peaks[:, None].clamp(min=1e-300)).sqrt() * 255
    return {
        "symbols": list(stretch.symbols),
        "surprise": rounded(stretch.surprise),
        "likely": [
            [[symbol, float(f"{chance:.4g}")] for symbol, chance in each] for each in stretch.likely
        ],
        "back": rows.shape[1],
        "peaks": rounded(peaks),
        "mattered": _bytes(shares.round().to(torch.uint8)),
        "layers": [_layer(units) for units in stretch.units],
    }


def _layer(units: Units) -> dict[str, Any]:
    scales = units.values.abs().amax(0)
    levels = (units.values / scales.clamp(min=1e-30) * 127).round().to(torch.int8)
    return {"name": units.layer, "scales": rounded(scales), "values": _bytes(levels.T)}


def _bytes(values: torch.Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()
