"""How a run is shown: its figures, whether the claim holds, the picture, and earlier runs."""

from collections.abc import Callable, Sequence
from threading import Lock

from nicegui import background_tasks, run, ui

from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment
from throughtime.lab.result import Result, shown

_painting = Lock()


def verdict(experiment: Experiment, result: Result) -> str:
    """Return in words what a run says about the claim."""
    if result.turned:
        return (
            f"Knobs were turned ({knobs(result)}): no interval is stated for this setting. "
            "Compare the figures."
        )
    low, high = experiment.interval
    between = f"between {shown(low)} and {shown(high)}"
    if result.holds:
        return f"It holds: every figure lies {between}, and no control does."
    return (
        f"It does not hold here: not every figure lies {between} with every control outside. "
        "Chance, or another machine? Run it again, and look at the picture."
    )


def knobs(result: Result) -> str:
    """Return in words which knobs were turned."""
    turned = ", ".join(f"{name} {value}" for name, value in result.turned.items())
    return turned or "as they come"


def show(experiment: Experiment, runs: Sequence[Result], beside: Callable[[], None]) -> None:
    """Show the last of some runs, and the others to compare.

    Args:
        experiment: what was run.
        runs: from earlier to later.
        beside: shows what stands beside the picture.
    """
    result = runs[-1]
    kind = "open" if result.turned else "good" if result.holds else "bad"
    ui.label(verdict(experiment, result)).classes(f"verdict {kind}").mark("verdict")
    header = ("seed", experiment.figure, f"control: {experiment.control}")
    rows = [
        (str(seed), shown(outcome.figure), shown(outcome.control))
        for seed, outcome in zip(result.seeds, result.outcomes, strict=True)
    ]
    table(header, rows, "figures")
    with ui.element("div").classes("beside"):
        _paint(experiment, result)
        with ui.element("div").classes("predicted"):
            beside()
    ui.label(f"{result.seconds:.1f} s, knobs {knobs(result)}").classes("quiet")
    if len(runs) > 1:
        ui.label("Runs so far").classes("strong")
        lines = [
            (
                knobs(each),
                ", ".join(shown(outcome.figure) for outcome in each.outcomes),
                ", ".join(shown(outcome.control) for outcome in each.outcomes),
            )
            for each in reversed(runs)
        ]
        table(("knobs", "figures", "controls"), lines, "runs")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], mark: str) -> None:
    """Show words and numbers in rows."""
    with ui.element("div").classes("scroll"), ui.element("table").classes("numbers").mark(mark):
        with ui.element("thead"), ui.element("tr"):
            for name in header:
                _cell("th", name)
        with ui.element("tbody"):
            for row in rows:
                with ui.element("tr"):
                    for each in row:
                        _cell("td", each)


def _cell(tag: str, words: str) -> None:
    with ui.element(tag):
        ui.label(words)


def _paint(experiment: Experiment, result: Result) -> None:
    """Draw the picture beside the server's other work, for it takes a moment."""
    place = ui.html("", sanitize=False).mark("picture")
    place.classes("picture two" if experiment.columns > 1 else "picture")

    async def fill() -> None:
        drawn = await run.io_bound(_drawn, experiment, result)
        if drawn is not None and not place.is_deleted:
            place.set_content(drawn)

    background_tasks.create(fill())


def _drawn(experiment: Experiment, result: Result) -> str:
    # The style that pictures are drawn in is one for all threads.
    with _painting:
        figure = picture.draw(
            lambda axes: experiment.draw(result.outcomes, axes), columns=experiment.columns
        )
        return picture.to_svg(figure, f"{experiment.name}: {experiment.figure}")
