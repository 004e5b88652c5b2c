"""Words of experiments on the page: plain text in which backticks are around code."""

import re
from html import escape

from nicegui import ui


def paragraph(text: str) -> ui.html:
    """Show words, with what is between backticks as code."""
    return ui.html(re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)), sanitize=False)


def heading(text: str, level: int = 2) -> None:
    """Show a heading."""
    label = ui.label(text).classes("title" if level == 1 else "heading")
    label.props(f"role=heading aria-level={level}")
