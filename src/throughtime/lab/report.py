"""The report of the lab: a page with every experiment that was run, its figures and its picture."""

import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from throughtime import __version__
from throughtime.files import write_atomically
from throughtime.inspect import picture
from throughtime.inspect.document import document, figure
from throughtime.lab.experiments import SECTIONS, find
from throughtime.lab.result import Result, shown

PAGE = "index.html"

_STYLE = """
.holds { color: light-dark(#1d7a55, #57c596); }
.fails { color: light-dark(#b3263a, #f07a88); }
article { margin: 2rem 0 3rem; }
article > h3 { font-size: 1.1rem; }
pre { overflow-x: auto; padding: 0.75rem; background: var(--raised); border: 1px solid var(--line);
  border-radius: 0.6rem; font: 0.8125rem/1.5 ui-monospace, monospace; }
summary { cursor: pointer; }
"""


def write_page(results: Sequence[Result], folder: Path) -> Path:
    """Write the page of results into a folder, and return its path."""
    held = sum(result.holds is True for result in results)
    subtitle = f"throughtime {__version__} · {held} of {len(results)} claims hold as they are said"
    body = "\n".join([*_table(results), *_sections(results)])
    path = folder / PAGE
    page = document("Why recurrent networks handle sequences", subtitle, body, style=_STYLE)
    write_atomically(path, page.encode())
    return path


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield '<div class="scroll"><table><thead><tr><th>experiment</th><th>figure by seed</th>'
    yield "<th>expected</th><th>control by seed</th><th>seconds</th><th></th></tr></thead><tbody>"
    for result in results:
        yield (
            f'<tr><td><a href="#{result.name}">{result.name}</a></td>'
            f"<td>{_by_seed([each.figure for each in result.outcomes])}</td>"
            f"<td>{_interval(result)}</td>"
            f"<td>{_by_seed([each.control for each in result.outcomes])}</td>"
            f"<td>{result.seconds:.0f}</td><td>{_verdict(result)}</td></tr>"
        )
    yield "</tbody></table></div>"


def _sections(results: Sequence[Result]) -> Iterator[str]:
    by_name = {result.name: result for result in results}
    for section, names in SECTIONS.items():
        here = [by_name[name] for name in names if name in by_name]
        if here:
            yield f"<h2>{escape(section.capitalize())}</h2>"
        for result in here:
            yield from _article(result)


def _article(result: Result) -> Iterator[str]:
    experiment = find(result.name)
    yield f'<article id="{result.name}"><h3>{result.name} {_verdict(result)}</h3>'
    yield f"<p>{_said(experiment.claim)}</p>"
    if result.failure:
        yield f"<p>Not run: {escape(result.failure)}</p></article>"
        return
    if result.turned:
        turned = ", ".join(f"{name} = {value}" for name, value in result.turned.items())
        yield f'<p class="quiet">With {escape(turned)}, for which no interval is stated.</p>'
    drawn = picture.draw(
        lambda axes: experiment.draw(result.outcomes, axes), columns=experiment.columns
    )
    measured = experiment.figure[0].upper() + experiment.figure[1:]
    caption = (
        f"{measured}: {_by_seed([each.figure for each in result.outcomes])} for seeds "
        f"{', '.join(map(str, result.seeds))}, expected {_interval(result)}. Control, "
        f"{experiment.control}: {_by_seed([each.control for each in result.outcomes])}."
    )
    yield figure("", picture.to_svg(drawn, experiment.figure), caption)
    yield f"<p>{_said(experiment.meaning)}</p>"
    if experiment.page:
        yield f'<p class="quiet">The page that this grew from: {_said(experiment.page)}</p>'
    yield (
        f"<details><summary>The code that ran</summary><pre>{escape(experiment.source)}</pre>"
        "</details></article>"
    )


def _said(text: str) -> str:
    """Return words as HTML, with what is between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _by_seed(values: Sequence[float]) -> str:
    return ", ".join(map(shown, values)) or "-"


def _interval(result: Result) -> str:
    low, high = find(result.name).interval
    return "-" if result.turned else f"{shown(low)} to {shown(high)}"


def _verdict(result: Result) -> str:
    kind = {True: "holds", False: "fails", None: "quiet"}[result.holds]
    return f'<span class="{kind}">{result.verdict}</span>'
