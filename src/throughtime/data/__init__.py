"""Data: files become sequences, and what was found in them is said.

The names below load their modules when they are first used, so that importing this package is
cheap. Nothing in it needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from throughtime.data.demo_reber import reber_optimum
    from throughtime.data.demos import Demo, open_demo
    from throughtime.data.findings import Findings
    from throughtime.data.grid import Admission, GridLane, advance
    from throughtime.data.moments import parse_time, time_text
    from throughtime.data.sequences import Series, Table, TableFormat
    from throughtime.data.splits import parse_split, split_rows
    from throughtime.data.tables import read_table
    from throughtime.data.text import Text, Vocabulary, read_text

_HOMES = {
    "Admission": "grid",
    "Demo": "demos",
    "Findings": "findings",
    "GridLane": "grid",
    "Series": "sequences",
    "Table": "sequences",
    "TableFormat": "sequences",
    "Text": "text",
    "Vocabulary": "text",
    "advance": "grid",
    "open_demo": "demos",
    "parse_split": "splits",
    "parse_time": "moments",
    "read_table": "tables",
    "read_text": "text",
    "reber_optimum": "demo_reber",
    "split_rows": "splits",
    "time_text": "moments",
}

__all__ = [
    "Admission",
    "Demo",
    "Findings",
    "GridLane",
    "Series",
    "Table",
    "TableFormat",
    "Text",
    "Vocabulary",
    "advance",
    "open_demo",
    "parse_split",
    "parse_time",
    "read_table",
    "read_text",
    "reber_optimum",
    "split_rows",
    "time_text",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
