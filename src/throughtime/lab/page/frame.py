"""What is around each page of the lesson: where the learner is, and the ways to go."""

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import ui

from throughtime.lab.experiments import SECTIONS, names
from throughtime.lab.page.learner import Learner
from throughtime.lab.page.text import LEADS
from throughtime.lab.page.text import SECTIONS as WORDS

PLACES = ("/", *(f"/experiment/{name}" for name in names()), "/summary")
"""The pages, in order."""


def title_of(place: str) -> str:
    """Return what a page is called."""
    if place == "/":
        return "The lesson"
    if place == "/summary":
        return "Summary"
    return LEADS[place.removeprefix("/experiment/")].title


class Frame:
    """Header, contents and the ways on, around one page.

    Args:
        place: of the page.
        learner: whose progress is shown.
    """

    def __init__(self, place: str, learner: Learner) -> None:
        self.place = place
        self.learner = learner

    @contextmanager
    def around(self) -> Iterator[None]:
        """Put what is made inside between the header and the ways on."""
        ui.page_title(f"{title_of(self.place)} · throughtime lab")
        with ui.header().classes("top"):
            menu = ui.button(icon="menu").props('flat round aria-label="contents"')
            ui.link("throughtime lab", "/").classes("brand")
            self.progress()
        # Asked to find out by itself, NiceGUI fills the terminal when a browser is slow to answer.
        with ui.left_drawer(value=False, bordered=True).classes("contents") as drawer:
            drawer.props("show-if-above")
            self.contents()
        menu.on_click(drawer.toggle)
        with ui.element("div").classes("lesson") as main:
            yield
            self._ways()
        ui.skip_link("Skip to the lesson", target=main)

    def moved(self) -> None:
        """Show how far the learner is now."""
        self.progress.refresh()
        self.contents.refresh()

    @ui.refreshable_method
    def progress(self) -> None:
        """Say how many experiments were predicted and run."""
        predicted, ran = self.learner.done
        count = len(names())
        with ui.element("div").classes("progress"):
            ui.label(f"{predicted} of {count} predicted, {ran} run").mark("progress")
            ui.linear_progress((predicted + ran) / (2 * count), show_value=False).props(
                'aria-label="progress"'
            )

    @ui.refreshable_method
    def contents(self) -> None:
        """List all pages, with what was done of each."""
        with ui.element("nav").props('aria-label="contents"'):
            self._entry("/")
            for section, inside in SECTIONS.items():
                ui.label(WORDS[section][0]).classes("section")
                for name in inside:
                    self._entry(f"/experiment/{name}", self._sign(name))
            ui.separator()
            self._entry("/summary")

    def _entry(self, place: str, sign: str = "") -> None:
        with ui.link(target=place).classes("entry") as link:
            if sign:
                ui.label(sign).classes("sign")
            ui.label(title_of(place))
        if place == self.place:
            link.props("aria-current=page")

    def _sign(self, name: str) -> str:
        if self.learner.runs.get(name):
            return "●"
        return "◐" if name in self.learner.predicted else "○"

    def _ways(self) -> None:
        at = PLACES.index(self.place)
        with ui.element("nav").classes("ways").props('aria-label="next and previous"'):
            if at > 0:
                ui.link(f"← {title_of(PLACES[at - 1])}", PLACES[at - 1]).mark("previous")
            ui.space()
            if at + 1 < len(PLACES):
                ui.link(f"{title_of(PLACES[at + 1])} →", PLACES[at + 1]).mark("next")
