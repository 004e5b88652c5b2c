"""A page of HTML in one file: what it shows inside, light and dark, for any screen, offline."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

_HERE = Path(__file__).parent


def document(
    title: str,
    subtitle: str,
    body: str,
    *,
    style: str = "",
    script: str = "",
    data: dict[str, Any] | None = None,
) -> str:
    """Return a whole page that loads nothing else.

    Args:
        title: its name, and its first heading.
        subtitle: facts below it.
        body: HTML.
        style: CSS beyond that of every page.
        script: a program beyond that of every page.
        data: JSON values for it, in the element `data`.
    """
    header = (
        f'<header><div><h1>{escape(title)}</h1><p class="quiet">{escape(subtitle)}</p></div>'
        '<button id="theme" type="button">Light / dark</button></header>'
    )
    return Template(_read("document.html")).substitute(
        title=escape(title),
        style=_read("document.css") + style,
        script=_read("document.js") + script,
        body=f"{header}\n{body}",
        # So that no text can end the element that it is in.
        data=json.dumps(data or {}, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )


def figure(title: str, svg: str, caption: str) -> str:
    """Return a picture with its name above it and what it means below."""
    return (
        f"<figure><h3>{escape(title)}</h3>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
