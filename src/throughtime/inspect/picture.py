"""How pictures look and what files they become: one look for the report and the lab.

A picture is drawn by matplotlib, without its global state. As SVG its ink takes the colour of the
text around it, so that one picture suits a light and a dark page.
"""

import hashlib
import io
import re
from collections.abc import Callable
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.errors import ThroughtimeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    *("#3f86c8", "#d9822b", "#2f9e77", "#cf4f5f", "#8d6cc0"),
    "#8a8f98",
)
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, GREY)
"""Colours of what is compared, in order; they can be told apart on light and on dark."""

_INK, _FAINT = "#13161a", "#a7adb6"
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _FAINT,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.prop_cycle": "cycler('color', [" + ", ".join(f"'{each}'" for each in SERIES) + "])",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.alpha": 0.35,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "throughtime",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def check_can_draw() -> None:
    """Refuse to begin what will be drawn in the end, where matplotlib is not installed.

    Raises:
        ThroughtimeError: with how to install it.
    """
    if find_spec("matplotlib") is None:
        raise ThroughtimeError(
            "expected the package matplotlib to draw with, got none; "
            "pip install 'throughtime[inspect]'"
        )


def draw(
    paint: "Callable[[list[Axes]], None]",
    *,
    columns: int = 1,
    width: float | None = None,
    height: float = 3.0,
) -> "Figure":
    """Return a figure that was painted in the style of all pictures.

    Args:
        paint: given the empty axes, from left to right.
        columns: how many axes beside each other.
        width: in inches; 5 for one, 8 for more when None.
        height: in inches.

    Example:
        >>> figure = draw(lambda axes: axes[0].set_xlabel("lag"))
        >>> to_svg(figure, "nothing yet").startswith("<svg")
        True
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # What is made outside of this would look as matplotlib does by itself.
    with rc_context(_STYLE):
        size = (width or (5.0 if columns == 1 else 8.0), height)
        figure = Figure(figsize=size, layout="constrained")
        paint(list(figure.subplots(1, columns, squeeze=False)[0]))
    return figure


def to_svg(figure: "Figure", title: str) -> str:
    """Return a figure as an `<svg>` element for a page.

    Args:
        figure: what is drawn.
        title: what it is, for those who can't see it, and to tell its parts from those of others.
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # The style would be that of the whole page.
    text = re.sub(r"\s*<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = text.replace(_INK, "currentColor")
    own = hashlib.sha256((title + text).encode()).hexdigest()[:8]
    text = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{own}-", text)
    head = text[: text.index(">")]
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    assert view is not None
    begun = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {view[1]} {view[2]}" role="img" style="width:100%;'
        f'max-width:{float(view[1]) * 4 / 3:.0f}px;height:auto"><title>{escape(title)}</title>'
    )
    return begun + text[len(head) + 1 :].strip()


def save(figure: "Figure", path: Path) -> None:
    """Write a figure to a file, in the format that its name ends with; PNG on white."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        figure.savefig(path, dpi=150, facecolor="white")
