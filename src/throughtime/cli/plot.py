"""Curves as lines of text, for people who would rather look than read."""

import math
import sys
from collections.abc import Mapping, Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.-:=+*#"
"""Where the output can't show blocks."""


def sparkline(
    values: Sequence[float], *, low: float | None = None, high: float | None = None
) -> str:
    """Draw a curve as one line of text, one character a value.

    Args:
        values: NaN is drawn as a space.
        low: the value at the bottom; the smallest one when None.
        high: the value at the top; the largest one when None.

    Example:
        >>> sparkline([0.0, 1.0, 2.0, 3.0], high=4.0)
        '▁▃▅▇'
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " " * len(values)
    low = min(finite) if low is None else low
    high = max(finite) if high is None else high
    levels = _levels()
    span = (high - low) or 1.0
    drawn = []
    for value in values:
        if not math.isfinite(value):
            drawn.append(" ")
            continue
        share = min(max((value - low) / span, 0.0), 1.0)
        drawn.append(levels[min(int(share * len(levels)), len(levels) - 1)])
    return "".join(drawn)


def curves(rows: Mapping[str, Sequence[float]], *, first: str = "", last: str = "") -> str:
    """Draw curves below one another, on one scale, with what they are before them.

    Args:
        rows: name and values of each curve.
        first: what stands below the first value, such as a date.
        last: what stands below the last one.
    """
    everything = [value for values in rows.values() for value in values if math.isfinite(value)]
    low, high = (min(everything), max(everything)) if everything else (0.0, 1.0)
    margin = max(map(len, rows)) + 2
    lines = [
        f"{name:<{margin}}{sparkline(values, low=low, high=high)}" for name, values in rows.items()
    ]
    length = max(map(len, rows.values()))
    if first or last:
        room = max(length - len(first), len(last) + 1)
        lines.append(" " * margin + first + last.rjust(room))
    return "\n".join(lines)


def _levels() -> str:
    try:
        _BLOCKS.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return _PLAIN
    return _BLOCKS
