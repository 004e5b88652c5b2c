"""How a figure is written for people, in a terminal and in a document."""

from throughtime.bench.figure import Bar, Figure

_UNITS = {"ms": "ms", "us": "µs", "MiB": "MiB"}


def amount(figure: Figure, value: float | None) -> str:
    """Return what ours or the peer takes, with its unit."""
    if value is None:
        return "-"
    return f"{_digits(value)} {_UNITS[figure.unit]}"


def ratio(figure: Figure, value: float | None) -> str:
    """Return a ratio: `12.5x` for a speedup, `0.52` for a share."""
    if value is None:
        return "-"
    return f"{_digits(value)}x" if figure.reads == "speedup" else f"{value:.2f}"


def bar(figure: Figure, asked: Bar) -> str:
    """Return what is asked of a figure, such as `>= 3x` or `<= 8 µs`."""
    sign = {"at least": ">=", "at most": "<="}[asked.sense]
    if asked.of == "ours":
        return f"{sign} {asked.value:g} {_UNITS[figure.unit]}"
    return f"{sign} {asked.value:g}{'x' if figure.reads == 'speedup' else ''}"


def verdict(figure: Figure) -> str:
    """Return `met`, `MISSED`, `WRONG`, `not measured`, or nothing where nothing is asked."""
    if figure.wrong:
        return "WRONG"
    if figure.ours is None:
        return "not measured"
    if figure.met is None:
        return ""
    return "met" if figure.met else "MISSED"


def missed(figure: Figure, asked: Bar) -> str:
    """Return by what a figure misses what is asked of it."""
    value = figure.ratio if asked.of == "ratio" else figure.ours
    if value is None:
        came = f"not measured ({figure.note})"
    else:
        came = ratio(figure, value) if asked.of == "ratio" else amount(figure, value)
    return f"{figure.name}: {came}, asked {bar(figure, asked)}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
