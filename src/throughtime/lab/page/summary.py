"""The end of the lesson: what was predicted, what was measured, and what to take away."""

from collections.abc import Sequence

from nicegui import ui

from throughtime.lab.experiments import SECTIONS, find, names
from throughtime.lab.page.learner import Learner
from throughtime.lab.page.text import CLOSING, LEADS
from throughtime.lab.page.text import SECTIONS as WORDS
from throughtime.lab.page.words import heading, paragraph
from throughtime.lab.result import Result, shown


def counted(learner: Learner) -> str:
    """Return in words how the predictions fared."""
    predicted, ran = learner.done
    known = [learner.was_right(name) for name in names()]
    right, wrong = known.count(True), known.count(False)
    words = (
        f"You predicted {predicted} of {len(names())} and ran {ran}. "
        f"Of your predictions {right} came true and {wrong} did not."
    )
    still = predicted - right - wrong
    if still:
        words += f" Open until run with the knobs as they come: {still}."
    return words


def summary(learner: Learner) -> None:
    """Show how it went, experiment by experiment."""
    with ui.card().classes("panel"):
        heading("Summary", 1)
        ui.label(counted(learner)).mark("counted")
        ui.markdown(CLOSING)
    for section, inside in SECTIONS.items():
        met = [name for name in inside if name in learner.predicted]
        if not met:
            continue
        with ui.card().classes("panel"):
            heading(WORDS[section][0])
            for name in met:
                _line(name, learner)
    open_ones = [name for name in names() if name not in learner.predicted]
    if open_ones:
        with ui.card().classes("panel"):
            heading("Not yet predicted")
            with ui.element("div").classes("links"):
                for name in open_ones:
                    ui.link(LEADS[name].title, f"/experiment/{name}")
    _again(learner)


def _line(name: str, learner: Learner) -> None:
    experiment, right = find(name), learner.was_right(name)
    answers = experiment.question.answers
    sign = {None: "◐", True: "✓", False: "✗"}[right]
    with ui.element("div").classes("line"):
        with ui.element("div").classes("answer"):
            ui.label(sign).classes("sign")
            ui.link(LEADS[name].title, f"/experiment/{name}").classes("strong")
        paragraph(f"You said: {answers[learner.predicted[name]]}.")
        if right is False:
            paragraph(f"It came: {answers[experiment.question.right]}.")
        run = learner.plain(name)
        if run is None:
            ui.label("Not run yet with the knobs as they come.").classes("quiet")
            return
        paragraph(f"Measured: {experiment.figure}: {spread(run)}.").classes("quiet")
        paragraph(experiment.meaning)


def spread(run: Result) -> str:
    """Return the figures of a run and its controls, from the least to the greatest."""
    figures = _range([outcome.figure for outcome in run.outcomes])
    return f"{figures}, control {_range([outcome.control for outcome in run.outcomes])}"


def _range(numbers: Sequence[float]) -> str:
    least, most = shown(min(numbers)), shown(max(numbers))
    return least if least == most else f"{least} to {most}"


def _again(learner: Learner) -> None:
    def forget() -> None:
        learner.forget()
        ui.navigate.to("/")

    with ui.dialog() as sure, ui.card():
        ui.label("Forget all that was predicted and measured?")
        with ui.row():
            ui.button("Keep it", on_click=sure.close).props("no-caps flat")
            ui.button("Forget", on_click=forget).props("no-caps unelevated").mark("forget")
    ui.button("Start over", on_click=sure.open).props("no-caps outline").mark("again")
