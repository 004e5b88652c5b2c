"""The demos: small data that needs no download, by name.

`demo:sunspots` is the yearly sunspot number 1700 to 2008, compiled by the World Data Center
SILSO of the Royal Observatory of Belgium, Brussels, in the form in which the US National
Geophysical Data Center distributed it and statsmodels bundles it (public domain);
`sunspots.csv` is written by `scripts/make_sunspots.py`. The other demos are made when asked
for. What a table or a text is lives in `sequences` and `text`.
"""

import sysconfig
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from throughtime.data.findings import Findings
from throughtime.data.text import Text
from throughtime.errors import DataError, OptionError

DEMO_PREFIX = "demo:"
PYTHON_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Demo:
    """What a demo is.

    Attributes:
        name: what follows `demo:`.
        description: one line.
        task: the task it is for: "forecast" or "language".
        covariates: columns that a model may see beside the target.
        labels: columns for the reader's eyes that no model may see, such as a fault's label.
    """

    name: str
    description: str
    task: str
    covariates: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The data argument that names it, for example `demo:sunspots`."""
        return DEMO_PREFIX + self.name


_DEMOS = (
    Demo(
        "sunspots",
        "yearly sunspot number 1700-2008 (WDC-SILSO, Royal Observatory of Belgium, Brussels)",
        "forecast",
    ),
    Demo(
        "meter",
        "a made-up half-hourly electricity meter, 12 weeks, with labelled faults",
        "forecast",
        labels=("fault",),
    ),
    Demo("python", "source text of the Python standard library, a million characters", "language"),
    Demo("reber", "strings of the embedded Reber grammar, whose best score is known", "language"),
)


def names() -> tuple[str, ...]:
    """Give the names of all demos.

    Returns:
        What may follow `demo:`.
    """
    return tuple(demo.name for demo in _DEMOS)


def describe() -> tuple[Demo, ...]:
    """Give all demos.

    Returns:
        Name, description and task of each.

    Example:
        >>> describe()[0].source
        'demo:sunspots'
    """
    return _DEMOS


def open_demo(source: str, seed: int = 0) -> pl.DataFrame | Text:
    """Make or read a demo.

    Args:
        source: `demo:NAME`.
        seed: seed of those that are made by chance: meter and reber.

    Returns:
        A frame with a time column and a target, or a text.

    Raises:
        OptionError: there is no such demo.
    """
    name = source.removeprefix(DEMO_PREFIX)
    if name == "sunspots":
        return pl.read_csv(Path(__file__).with_name("sunspots.csv"))
    if name == "meter":
        from throughtime.data.demo_meter import make_meter

        return make_meter(seed)
    if name == "python":
        return _python_text()
    if name == "reber":
        from throughtime.data.demo_reber import make_reber

        return make_reber(seed=seed)
    raise OptionError(f"expected one of the demos {', '.join(names())}, came {name!r}: choose one")


def _python_text() -> Text:
    folder = Path(sysconfig.get_path("stdlib"))
    parts: list[str] = []
    length = 0
    for path in sorted(folder.glob("*.py")):
        parts.append(path.read_text(encoding="utf-8", errors="strict"))
        length += len(parts[-1])
        if length >= PYTHON_CHARACTERS:
            break
    if not parts:
        raise DataError(
            f"expected the standard library's .py files in {folder}, came none: use another text"
        )
    text = "".join(parts)[:PYTHON_CHARACTERS]
    line = f"{len(text):,} characters of {len(parts)} files of the standard library"
    counts = {"characters": len(text), "files": len(parts), "documents": 1}
    return Text("demo:python", (text,), False, Findings(counts, (line,)))
