"""An automaton as a picture: SVG, its states on a circle, without Graphviz."""

import math
from html import escape

from throughtime.inspect.automaton import Automaton

_RADIUS = 22.0
_FONT = 14
Point = tuple[float, float]


def to_svg(automaton: Automaton, *, title: str = "") -> str:
    """Draw an automaton. Colours are those of the text around it, so it suits any background.

    Args:
        automaton: what is drawn; up to some dozen states stay readable.
        title: what it is, for those who can't see it.
    """
    count = len(automaton)
    ring = 0.0 if count == 1 else max(80.0, 46.0 * count / math.pi)
    half = ring + _RADIUS + 74.0
    places = [_on_circle(half, ring, state, count) for state in range(count)]
    arrows = automaton.arrows()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * half:.0f} {2 * half:.0f}" '
        f'width="{2 * half:.0f}" role="img" font-family="sans-serif" font-size="{_FONT}" '
        'text-anchor="middle" dominant-baseline="central" stroke="currentColor" fill="none">',
        f"<title>{escape(title or f'automaton of {count} states')}</title>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse">'
        '<path d="M0 0 10 5 0 10z" fill="currentColor" stroke="none"/></marker></defs>',
    ]
    for (first, to), label in arrows.items():
        way, at = _loop(places[first], half) if first == to else _arrow(places[first], places[to])
        parts.append(f'<path d="{way}" marker-end="url(#tip)"/>')
        parts.append(_text(at, label))
    left, top = places[0]
    parts.append(
        f'<path d="M{left - _RADIUS - 30:.1f} {top:.1f} {left - _RADIUS - 2:.1f} {top:.1f}" '
        'marker-end="url(#tip)"/>'
    )
    for state, (x, y) in enumerate(places):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS:.0f}"/>')
        if automaton.accepting[state]:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS - 4:.0f}"/>')
        parts.append(_text((x, y), str(state)))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _on_circle(half: float, ring: float, state: int, count: int) -> Point:
    """Return where a state is: the first at the left, then clockwise."""
    angle = math.pi + 2 * math.pi * state / count
    return half + ring * math.cos(angle), half + ring * math.sin(angle)


def _arrow(first: Point, to: Point) -> tuple[str, Point]:
    """Return a curve that leaves room for the one back, and the place of its label."""
    across, down = to[0] - first[0], to[1] - first[1]
    length = math.hypot(across, down)
    along, aside = (across / length, down / length), (down / length, -across / length)
    bend = 0.18 * length
    middle = (
        (first[0] + to[0]) / 2 + bend * aside[0],
        (first[1] + to[1]) / 2 + bend * aside[1],
    )
    turn = math.atan2(2 * bend, length)

    def edge(of: Point, sign: float) -> Point:
        """The point of a circle that the curve meets."""
        cos, sin = math.cos(turn), math.sin(turn)
        x = sign * along[0] * cos + aside[0] * sin
        y = sign * along[1] * cos + aside[1] * sin
        return of[0] + _RADIUS * x, of[1] + _RADIUS * y

    start, end = edge(first, 1.0), edge(to, -1.0)
    way = (
        f"M{start[0]:.1f} {start[1]:.1f} Q{middle[0]:.1f} {middle[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    )
    return way, (
        (first[0] + to[0]) / 2 + (0.5 * bend + _FONT) * aside[0],
        (first[1] + to[1]) / 2 + (0.5 * bend + _FONT) * aside[1],
    )


def _loop(place: Point, half: float) -> tuple[str, Point]:
    """Return a curve from a state to itself, away from the others."""
    away = math.atan2(place[1] - half, place[0] - half) if place != (half, half) else -math.pi / 2
    # The arrow to the first state comes from the left.
    if abs(abs(away) - math.pi) < 0.3:
        away = math.pi * 1.3
    points = []
    for turn, reach in ((-0.45, _RADIUS), (-0.5, 3 * _RADIUS), (0.5, 3 * _RADIUS), (0.45, _RADIUS)):
        points.append(
            (place[0] + reach * math.cos(away + turn), place[1] + reach * math.sin(away + turn))
        )
    start, one, two, end = (f"{x:.1f} {y:.1f}" for x, y in points)
    reach = 3 * _RADIUS + 4
    label = place[0] + reach * math.cos(away), place[1] + reach * math.sin(away)
    return f"M{start} C{one} {two} {end}", label


def _text(place: Point, text: str) -> str:
    return (
        f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" stroke="none" fill="currentColor">'
        f"{escape(text)}</text>"
    )
