"""One experiment on the page: predict, commit, turn the knobs, run, see, and read on."""

from collections.abc import Callable

from nicegui import background_tasks, ui

from throughtime.errors import OptionError
from throughtime.lab.experiment import SEEDS, Experiment
from throughtime.lab.page import shown
from throughtime.lab.page.knobs import Knobs
from throughtime.lab.page.learner import Learner
from throughtime.lab.page.text import LEADS
from throughtime.lab.page.turns import Turn, Turns
from throughtime.lab.page.words import heading, paragraph
from throughtime.lab.result import shown as digits

OFTEN = 0.3
"""Seconds between looks at a run."""


class Card:
    """An experiment, as far as the learner is with it.

    Args:
        experiment: what is shown.
        learner: who looks at it.
        turns: where it is run.
        moved: called when the learner got further.
    """

    def __init__(
        self, experiment: Experiment, learner: Learner, turns: Turns, moved: Callable[[], None]
    ) -> None:
        self.experiment = experiment
        self.learner = learner
        self.turns = turns
        self.moved = moved
        lead = LEADS[experiment.name]
        with ui.card().classes("panel"):
            heading(lead.title, 1)
            paragraph(lead.words)
            self.question()
        self.lab()

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return self.experiment.name

    @ui.refreshable_method
    def question(self) -> None:
        """Ask; after that, show what was answered, and what is so once that was measured."""
        question = self.experiment.question
        with ui.element("div").classes("question"):
            paragraph(question.text).classes("strong")
            if self.name in self.learner.predicted:
                self._answered()
                return
            ui.label("Commit to an answer first. The claim and the experiment come after.").classes(
                "quiet"
            )
            answers = ui.radio(
                {place: answer.replace("`", "") for place, answer in enumerate(question.answers)}
            ).mark("answers")
            answers.props["aria-label"] = "your prediction"

            def commit() -> None:
                self.learner.predict(self.name, answers.value)
                self.question.refresh()
                self.lab.refresh()
                self.moved()
                # What the keyboard was on is gone.
                ui.run_javascript('document.querySelector(".claim")?.focus()')

            button = ui.button("Commit", on_click=commit).props("no-caps unelevated").mark("commit")
            button.bind_enabled_from(answers, "value", backward=lambda value: value is not None)

    def _answered(self) -> None:
        question, mine = self.experiment.question, self.learner.predicted[self.name]
        right = self.learner.was_right(self.name)
        for place, answer in enumerate(question.answers):
            sign, kind = ("●", "mine") if place == mine else ("○", "")
            if right is not None and place == question.right:
                sign, kind = "✓", "so"
            elif right is False and place == mine:
                sign, kind = "✗", "mine"
            notes = ["your prediction"] if place == mine else []
            notes += ["what came"] if sign == "✓" else []
            with ui.element("div").classes(f"answer {kind}"):
                ui.label(sign).classes("sign")
                paragraph(answer + (f" ({', '.join(notes)})" if notes else ""))
        ui.label(self._told(right)).classes("quiet").mark("told")

    def _told(self, right: bool | None) -> str:
        if right is not None:
            return "You predicted it." if right else "It came otherwise than you predicted."
        if self.learner.plain(self.name) is None:
            return "Whether that is so shows when it is run with the knobs as they come."
        return "The run did not show what the claim says, so the question stays open."

    @ui.refreshable_method
    def lab(self) -> None:
        """Show the claim, the knobs and what came, once the learner is committed."""
        if self.name not in self.learner.predicted:
            return
        with ui.card().classes("panel"):
            heading("The claim")
            paragraph(self.experiment.claim).classes("claim").props("tabindex=-1").mark("claim")
            low, high = self.experiment.interval
            paragraph(
                f"Measured: {self.experiment.figure}; expected from {digits(low)} to "
                f"{digits(high)} for each seed. Control: {self.experiment.control}."
            ).classes("quiet")
            self.knobs = Knobs(self.experiment)
            with ui.row().classes("choices"):
                ui.button("Run", on_click=self._run).props("no-caps unelevated").mark("run")
                if self.experiment.knobs:
                    ui.button("Knobs as they come", on_click=self.knobs.reset).props(
                        "no-caps flat"
                    ).mark("reset")
            self.progress()
            self.seen = self._state()
            ui.timer(OFTEN, self._look)
        self.came()
        with ui.card().classes("panel"), ui.expansion("The code that runs").classes("code"):
            ui.code(self.experiment.source, language="python")

    @ui.refreshable_method
    def progress(self) -> None:
        """Say how far the run is, or that it waits, and let it be stopped."""
        turn = self.turns.find(self.learner, self.name)
        if turn is None:
            return
        if turn.failure:
            ui.label(turn.failure).classes("verdict bad").mark("failure")
        if not _going(turn):
            if turn.stopped:
                ui.label("Stopped.").classes("quiet")
            return
        with ui.element("div").classes("running").props("role=status"):
            if turn.begun:
                ui.label(f"Running: {turn.done} of {len(SEEDS)} seeds are done.").mark("running")
                ui.linear_progress(turn.done / len(SEEDS), show_value=False)
            else:
                ui.label("Another run is on; this one waits for its turn.").mark("waiting")
            ui.button("Stop", on_click=turn.stop).props("no-caps outline").mark("stop")

    @ui.refreshable_method
    def came(self) -> None:
        """Show what was measured, and what follows."""
        runs = self.learner.runs.get(self.name, [])
        if not runs:
            return
        with ui.card().classes("panel"):
            heading("What came")
            shown.show(self.experiment, runs, self.prediction)
        with ui.card().classes("panel"):
            heading("What it means")
            paragraph(self.experiment.meaning)
            if self.experiment.page:
                heading("Where the page is wrong, or says too little")
                paragraph(self.experiment.page)

    def prediction(self) -> None:
        """Say again what was predicted, where it can be compared with what came."""
        question, right = self.experiment.question, self.learner.was_right(self.name)
        ui.label("You predicted").classes("quiet")
        paragraph(question.answers[self.learner.predicted[self.name]]).classes("strong")
        if right is not None:
            ui.label("What came").classes("quiet")
            paragraph(question.answers[question.right]).classes("strong")
        ui.label(self._told(right)).classes("quiet")

    def _run(self) -> None:
        turn = self.turns.find(self.learner, self.name)
        if turn is not None and _going(turn):
            ui.notify("It is running already.")
            return
        try:
            knobs = self.knobs.values
        except OptionError as error:
            ui.notify(str(error), type="negative")
            return
        background_tasks.create(self.turns.take(self.learner, self.name, knobs))

    def _state(self) -> tuple[object, ...]:
        turn = self.turns.find(self.learner, self.name)
        if turn is None:
            return ()
        return id(turn), turn.begun, turn.done, turn.ended, turn.stopped, turn.failure

    def _look(self) -> None:
        """Show what changed since the last look, wherever the run was asked for."""
        state = self._state()
        if state == self.seen:
            return
        self.seen = state
        self.progress.refresh()
        turn = self.turns.find(self.learner, self.name)
        if turn is not None and turn.ended:
            self.question.refresh()
            self.came.refresh()
            self.moved()


def _going(turn: Turn) -> bool:
    """Return whether a run is on, or waits to be."""
    return not turn.ended and not (turn.stopped and not turn.begun)
