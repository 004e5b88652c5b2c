"""The pages of the lesson, in its order, for each browser as far as it came."""

from pathlib import Path

from nicegui import app, ui

from throughtime.lab.experiments import SECTIONS, find, names
from throughtime.lab.page.card import Card
from throughtime.lab.page.frame import PLACES, Frame
from throughtime.lab.page.learner import Learner
from throughtime.lab.page.summary import summary
from throughtime.lab.page.text import LEADS, OPENING
from throughtime.lab.page.text import SECTIONS as WORDS
from throughtime.lab.page.turns import Turns
from throughtime.lab.page.unrolled import unrolled
from throughtime.lab.page.words import heading, paragraph

PATIENCE = 30
"""Seconds that a page may take to be made: the first one imports and trains."""


class Lesson:
    """The lesson on one server.

    Args:
        kept: the folder with what learners predicted and measured.
    """

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._learners: dict[str, Learner] = {}
        self._turns = Turns()

    def open(self) -> None:
        """Add the pages to the server."""
        app.colors(primary="#20639b", dark="#1b1f25", dark_page="#13161a")
        ui.add_css(Path(__file__).with_name("lesson.css"), shared=True)
        ui.page("/", response_timeout=PATIENCE)(self._opening)
        ui.page("/experiment/{name}", response_timeout=PATIENCE)(self._experiment)
        ui.page("/summary", response_timeout=PATIENCE)(self._summary)
        app.on_shutdown(self._turns.stop)

    def _learner(self) -> Learner:
        """Return who has the browser that a page is made for."""
        known = app.storage.browser["id"]
        if known not in self._learners:
            self._learners[known] = Learner.read(self._kept / f"{known}.json")
        return self._learners[known]

    def _opening(self) -> None:
        learner = self._learner()
        with Frame("/", learner).around():
            with ui.card().classes("panel"):
                heading("Why recurrent networks handle sequences", 1)
                ui.markdown(OPENING)
                place = f"/experiment/{learner.last}" if learner.last else PLACES[1]
                words = f"Go on with: {LEADS[learner.last].title}" if learner.last else "Begin"
                with ui.link(target=place).classes("begin").mark("begin"):
                    ui.label(words)
            unrolled()

    def _experiment(self, name: str) -> None:
        if name not in names():
            ui.status_code(404)
            ui.label(f"There is no experiment {name!r}.")
            ui.link("The lesson", "/")
            return
        learner = self._learner()
        learner.look(name)
        section = next(each for each, inside in SECTIONS.items() if name in inside)
        frame = Frame(f"/experiment/{name}", learner)
        with frame.around():
            with ui.element("div").classes("above"):
                at = names().index(name) + 1
                ui.label(f"{WORDS[section][0]} · {at} of {len(names())}").classes("quiet")
                if name == SECTIONS[section][0]:
                    paragraph(WORDS[section][1])
            Card(find(name), learner, self._turns, frame.moved)

    def _summary(self) -> None:
        learner = self._learner()
        with Frame("/summary", learner).around():
            summary(learner)
