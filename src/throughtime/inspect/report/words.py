"""A report in words: the lines that a terminal shows, and what is said below each picture."""

import math
from typing import TYPE_CHECKING

from throughtime.inspect.report.reading import LayerGates, NotMeasured
from throughtime.inspect.report.series import SeriesStretch
from throughtime.inspect.report.states import STARTS, Path, Rest
from throughtime.inspect.report.text import TextStretch

if TYPE_CHECKING:
    from throughtime.inspect.memory import MemoryReport
    from throughtime.inspect.report.contents import Report

LINE = 150
"""Steps of a path that are joined by a line."""
_MOSTLY = 0.9
"""Share of the time from which a gate counts as always shut or open."""


def lines(report: "Report") -> list[str]:
    """Return the main figures of a report, a line each."""
    found = []
    if isinstance(report.memory, NotMeasured):
        found.append(f"memory not measured: {report.memory.why}")
    else:
        found += report.memory.lines()
    if isinstance(report.stretch, TextStretch):
        mean = float(report.stretch.surprise.mean())
        found.append(f"{mean:.2f} nats a symbol on the {len(report.stretch.symbols):,} shown")
    elif isinstance(report.stretch, SeriesStretch):
        found.append(covered(report.stretch))
    if isinstance(report.path, Path):
        found.append(
            f"two directions hold {float(report.path.shares.sum()):.0%} of what differs between "
            f"the states of {report.path.layer}"
        )
    for gates in () if isinstance(report.gates, NotMeasured) else report.gates:
        if gates.values:
            found.append(saturated(gates))
    if not isinstance(report.lint, NotMeasured):
        count = len(report.lint.findings)
        found.append("the linter finds nothing" if not count else f"the linter finds {count}")
    return found


def covered(stretch: SeriesStretch) -> str:
    """Say how many of the last rows lie in their intervals."""
    wanted = stretch.levels[2] - stretch.levels[0]
    return (
        f"{stretch.covered:.0%} of the last {len(stretch.times)} rows lie in the interval for "
        f"{wanted:.0%}"
    )


def saturated(gates: LayerGates) -> str:
    """Say how many units of a layer have gates that hardly ever move."""
    parts = []
    for name, values in gates.values.items():
        shut = int(((values < 0.1).double().mean(0) > _MOSTLY).sum())
        opened = int(((values > 0.9).double().mean(0) > _MOSTLY).sum())
        parts.append(f"{name} {shut} shut, {opened} open")
    size = next(iter(gates.values.values())).shape[1]
    return f"gates of {gates.layer} that hardly ever move, of {size}: {'; '.join(parts)}"


def of_context(memory: "MemoryReport") -> str:
    """Say what the losses by context mean."""
    used, ordered = memory.usage, memory.order
    first = (
        f"With the last {_steps(used.horizon)} alone the loss is within 1 % of that with all "
        f"{used.contexts[-1]}."
        if used.horizon is not None
        else f"The loss still falls at {used.contexts[-1]} steps, the longest context measured."
    )
    second = (
        f"All but the last {_steps(ordered.horizon)} may come in any order."
        if ordered.horizon is not None
        else "Order matters over all of the steps measured."
    )
    return (
        f"{first} {second} Curves that end flat are good: the model has all the context it can "
        "use. A curve that is flat from the first steps on is bad: nothing is remembered. "
        "Shaded: 95 % confidence of how far each loss is from the last one."
    )


def _steps(count: int) -> str:
    return "step" if count == 1 else f"{count} steps"


def of_gradients(memory: "MemoryReport") -> str:
    """Say what the gradients by lag mean."""
    found = memory.gradients
    reach = memory.reach
    change = (
        f"halves in {found.half_life:.3g} steps back"
        if math.isfinite(found.half_life)
        else f"doubles in {found.doubling:.3g} steps back"
        if math.isfinite(found.doubling)
        else "has no steady trend"
    )
    under = (
        ""
        if found.underflow is None
        else f" From {found.underflow} steps back on it is less than float32 can hold: nothing is "
        "learned from there."
    )
    shares = list(reach.items())
    return (
        f"The gradient of the last step's loss with respect to earlier states (leaf "
        f"{found.leaf or 'state'}) {change}; "
        f"{shares[1][0]:.0%} of all of it is within {shares[1][1]} steps.{under} A line that falls "
        "slowly is good: what is far back can be learned from. One that rises is bad: gradients "
        "explode. Shaded: from the lowest tenth of the windows to the highest."
    )


def of_exponents(memory: "MemoryReport") -> str:
    """Say what the Lyapunov exponents mean."""
    low, high = memory.exponent_interval
    if not math.isfinite(memory.exponent):
        return "States that differ come together at once: the layers hold a window of inputs only."
    what = (
        f"two states that differ come together by half in {memory.predicted_half_life:.3g} steps, "
        "and what differed is forgotten"
        if memory.exponent < 0
        else "two states that differ move apart"
    )
    return (
        f"The largest is {memory.exponent:+.3f} a step ({low:+.3f} to {high:+.3f}): {what}. Just "
        "below 0 is good: memory lasts. Far below, it fades at once; above 0, small errors grow."
    )


def of_capacity(memory: "MemoryReport") -> str:
    """Say what the memory curve means."""
    found = memory.capacity
    low, high = found.interval
    return (
        f"Fed with noise, {found.total:.1f} past inputs can be read off the {found.bound} outputs "
        f"by a linear read-out ({low:.1f} to {high:.1f}). More is not always better: a model that "
        "has learned its task keeps what the task needs and lets go of noise."
    )


def of_path(path: Path) -> str:
    """Say what the path of states means."""
    share = float(path.shares.sum())
    first = (
        f"The {'outputs' if path.what == 'output' else 'states'} of {path.layer} over the piece "
        f"shown: dots, and a line for the last {LINE} steps, from faint to dark. Two "
        f"directions hold {share:.0%} of what differs between them; the less that is, the less a "
        "flat picture can say."
    )
    return f"{first} {_of_rest(path.rest)}"


def _of_rest(rest: Rest | NotMeasured) -> str:
    if isinstance(rest, NotMeasured):
        return f"{rest.why[0].upper()}{rest.why[1:]}."
    fixed = int(rest.fixed.sum())
    stable = int((rest.fixed & (rest.unstable == 0)).sum())
    return (
        f"Were the input {rest.under} for ever, a step would leave {_points(fixed)} where it is, "
        f"{stable} of them stable, and hardly move {_points(len(rest.speeds) - fixed)}, of those "
        f"found from {STARTS} states of the piece. Stable points are what can be remembered "
        "without an end; from others the state is led away."
    )


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"


def of_gates(gates: LayerGates) -> str:
    """Say what the saturation of gates means."""
    return (
        f"Each dot is a unit: how much of the time its gate is below 0.1 and above 0.9. Dots at "
        "the lower right are gates that are always shut, at the top left always open: they do no "
        "work that a constant would not do. "
        f"{saturated(gates)[0].upper()}{saturated(gates)[1:]}."
    )


def of_forecasts(stretch: SeriesStretch) -> str:
    """Say what the last stretch of forecasts means."""
    which = (
        f"The longest of {stretch.series} series, {stretch.unique_id}. "
        if stretch.series > 1
        else ""
    )
    return (
        f"{which}{covered(stretch)}. Near that share is good; far below, the model is surer than "
        "it should be. Each row is forecast from the rows before it, one step ahead."
    )
