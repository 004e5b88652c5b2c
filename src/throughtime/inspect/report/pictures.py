"""The pictures of a report, as inline SVG in the look of all pictures."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from throughtime.inspect import picture
from throughtime.inspect.dynamics import saturation
from throughtime.inspect.gradients import SMALLEST, GradientByLag
from throughtime.inspect.picture import BLUE, GREEN, GREY, ORANGE, RED, SERIES
from throughtime.inspect.report import words
from throughtime.inspect.report.reading import LayerGates, Units
from throughtime.inspect.report.series import SeriesStretch
from throughtime.inspect.report.states import Path, Rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from throughtime.inspect.capacity import MemoryCapacity
    from throughtime.inspect.context import ContextCurve
    from throughtime.inspect.memory import MemoryReport

_UNITS = 64
"""Units that are drawn over time; more would be less than a dot high."""


def context(memory: "MemoryReport") -> str:
    """Draw the loss by how many of the last steps are there, and by how many are in order."""

    def paint(ax: "Axes") -> None:
        _curve(ax, memory.usage, BLUE, "the last k steps alone")
        _curve(ax, memory.order, ORANGE, "older steps in another order")
        ax.set_xscale("log")
        ax.set_xlabel("k, steps back")
        ax.set_ylabel("loss of the last step")
        ax.legend()

    return _svg(paint, "Loss by steps of context")


def _curve(ax: "Axes", curve: "ContextCurve", colour: str, label: str) -> None:
    whole = float(curve.means[-1])
    low, high = ([whole + interval[side] for interval in curve.intervals] for side in range(2))
    ax.fill_between(curve.contexts, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(curve.contexts, curve.means.tolist(), "o-", markersize=3, color=colour, label=label)
    if curve.horizon is not None:
        ax.axvline(curve.horizon, color=colour, linewidth=0.8, linestyle=":")


def gradients(found: GradientByLag) -> str:
    """Draw the norms of gradients by how far back, with their trend and what float32 holds."""
    median = found.median
    lags = np.arange(len(median))
    middle, low, high = (_positive(each) for each in (median, *found.band()))

    def paint(ax: "Axes") -> None:
        ax.fill_between(lags, low, high, color=BLUE, alpha=0.2, linewidth=0)
        ax.plot(lags, middle, color=BLUE, label="median of the windows")
        if math.isfinite(found.slope) and np.isfinite(middle).any():
            seen = np.isfinite(middle)
            level = np.nanmean(np.log(middle[seen]) - found.slope * lags[seen])
            trend = np.exp(np.clip(level + found.slope * lags, -700, 700))
            ax.plot(lags, trend, color=ORANGE, linestyle="--", linewidth=1.4, label=_trend(found))
        ax.set_yscale("log")
        if np.isfinite(low).any() and np.nanmin(low) < 1e3 * SMALLEST:
            ax.axhline(SMALLEST, color=GREY, linewidth=1, label="the least that float32 holds")
        ax.set_xlabel("steps back")
        ax.set_ylabel("norm of the gradient")
        ax.legend()

    return _svg(paint, "Norm of the gradient by steps back")


def _trend(found: GradientByLag) -> str:
    if math.isfinite(found.half_life):
        return f"halves in {found.half_life:.3g} steps"
    return f"doubles in {found.doubling:.3g} steps"


def _positive(values: Tensor) -> np.ndarray:
    """Return what a logarithmic axis can show; the rest is NaN."""
    array: np.ndarray = values.numpy().astype(float)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def exponents(memory: "MemoryReport") -> str:
    """Draw the largest Lyapunov exponents, with the interval of the first."""
    found = memory.exponents.mean(0).numpy()
    places = np.arange(1, len(found) + 1)
    shown = np.isfinite(found)
    low, high = memory.exponent_interval

    def paint(ax: "Axes") -> None:
        ax.axhline(0, color=GREY, linewidth=1)
        ax.vlines(places[shown], 0, found[shown], color=BLUE, linewidth=2)
        ax.plot(places[shown], found[shown], "o", color=BLUE)
        if shown[0]:
            ax.vlines([1], low, high, color=ORANGE, linewidth=4, alpha=0.8, label="95 % confidence")
            ax.legend()
        ax.set_xticks(places)
        ax.set_xlabel("exponent, from the largest down")
        ax.set_ylabel("rate a step, natural logarithm")

    return _svg(paint, "Lyapunov exponents")


def capacity(found: "MemoryCapacity") -> str:
    """Draw how much of each past input can be read off the outputs."""
    shares = found.explained.numpy()
    low, high = found.interval
    held = np.flatnonzero(shares)
    last = int(held[-1]) + 2 if len(held) else 2

    def paint(ax: "Axes") -> None:
        shown = shares[: min(last, len(shares))]
        lags = np.arange(len(shown))
        label = f"{found.total:.1f} in all ({low:.1f} to {high:.1f}), {found.bound} at most"
        ax.fill_between(lags, 0, shown, color=BLUE, alpha=0.2, linewidth=0)
        ax.plot(lags, shown, color=BLUE, label=label)
        ax.set_ylim(0, 1.05)
        ax.set_xlabel("steps back")
        ax.set_ylabel("share of variance explained")
        ax.legend()

    return _svg(paint, "Memory curve")


def path(found: Path) -> str:
    """Draw the states of a stretch in two components, and where they would come to rest."""
    x, y = found.points.T.numpy()

    def paint(ax: "Axes") -> None:
        ax.plot(x, y, "o", color=GREY, markersize=1.5, alpha=0.5)
        segments = np.linspace(max(len(x) - words.LINE, 0), len(x), 11).astype(int)
        for part, (first, last) in enumerate(pairwise(segments), 1):
            cut = slice(first, last + 1)
            ax.plot(x[cut], y[cut], color=BLUE, linewidth=1, alpha=0.09 * part)
        if isinstance(found.rest, Rest) and len(found.rest.points):
            _rest(ax, found.rest)
            ax.legend()
        shares = found.shares.tolist()
        ax.set_xlabel(f"first component, {shares[0]:.0%} of the variance")
        ax.set_ylabel(f"second, {shares[1]:.0%}")

    return _svg(paint, "Path of the states", height=3.6)


def _rest(ax: "Axes", rest: Rest) -> None:
    stable = rest.fixed & (rest.unstable == 0)
    kinds: list[tuple[str, Tensor, str, dict[str, Any]]] = [
        ("stable", stable, "o", {"color": GREEN}),
        ("unstable", rest.fixed & ~stable, "X", {"color": RED}),
        ("slow", ~rest.fixed, "o", {"color": GREY, "fillstyle": "none"}),
    ]
    for label, chosen, marker, look in kinds:
        if chosen.any():
            points = rest.points[chosen].numpy()
            ax.plot(*points.T, marker, label=f"{label}: {int(chosen.sum())}", **look)


def gates(found: LayerGates) -> str:
    """Draw how much of the time the gates of each unit are shut and open."""

    def paint(ax: "Axes") -> None:
        for (name, values), colour in zip(found.values.items(), SERIES, strict=False):
            shut, opened = saturation(values[None])
            ax.plot(
                shut.numpy(),
                opened.numpy(),
                "o",
                color=colour,
                markersize=4,
                alpha=0.5,
                label=f"gate {name}",
            )
        ax.plot([0, 1], [1, 0], color=GREY, linewidth=0.8)
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(-0.03, 1.03)
        ax.set_xlabel("share of the time shut (below 0.1)")
        ax.set_ylabel("open (above 0.9)")
        ax.legend()

    return _svg(paint, f"Saturation of the gates of {found.layer}", height=3.6)


def forecasts(stretch: SeriesStretch) -> str:
    """Draw the last rows, and what was forecast for each."""
    low, middle, high = stretch.levels

    def paint(ax: "Axes") -> None:
        rows = np.arange(len(stretch.truth))
        ax.fill_between(
            rows,
            stretch.low,
            stretch.high,
            color=BLUE,
            alpha=0.25,
            linewidth=0,
            label=f"{low:.0%} to {high:.0%}",
        )
        ax.plot(rows, stretch.middle, color=BLUE, linewidth=1.2, label=f"forecast, {middle:.0%}")
        ax.plot(rows, stretch.truth, color=ORANGE, linewidth=1.2, label="truth")
        _times(ax, stretch)
        ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))

    return _svg(paint, "Truth and forecasts")


def over_time(units: Units, stretch: SeriesStretch) -> str:
    """Draw the units of a layer over the rows of a series, those that move alike together."""
    values = units.values.numpy()
    most = values.std(0).argsort()[::-1][:_UNITS]
    shown = values[:, np.sort(most)]
    centred = shown - shown.mean(0)
    directions = np.linalg.svd(centred, full_matrices=False)[2]
    shown = shown[:, directions[0].argsort()]
    largest = np.abs(shown).max() or 1.0
    share = (shown / largest).T
    # Transparent where a unit is at zero, so that the page shows through, light or dark.
    colours = np.where(share[..., None] > 0, _rgb(ORANGE), _rgb(BLUE))
    pixels = np.concatenate([colours, np.abs(share)[..., None]], -1)

    def paint(ax: "Axes") -> None:
        ax.imshow(pixels, aspect="auto", interpolation="nearest", origin="lower")
        ax.grid(False)
        ax.set_ylabel(f"unit of {units.layer}")
        ax.set_yticks([])
        _times(ax, stretch)

    return _svg(paint, f"Units of {units.layer} over time")


def _times(ax: "Axes", stretch: SeriesStretch) -> None:
    places = np.linspace(0, len(stretch.times) - 1, 4).round().astype(int)
    # The time of day on a line of its own.
    ax.set_xticks(places, [stretch.times[place].replace(" ", "\n") for place in places])
    labels = ax.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")
    ax.set_xlim(-0.5, len(stretch.times) - 0.5)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])


def _svg(paint: "Callable[[Axes], None]", title: str, *, height: float = 3.0) -> str:
    return picture.to_svg(picture.draw(lambda axes: paint(axes[0]), height=height), title)
