"""The network unrolled on the page: what it is can be chosen, and `unrolled.js` moves it."""

from typing import Any

from nicegui import ui
from nicegui.element import Element

from throughtime.lab.page import network
from throughtime.lab.page.text import UNROLLED
from throughtime.lab.page.words import heading


class Unrolled(Element, component="unrolled.js"):
    """The picture, drawn and moved in the browser from the numbers of one network."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__()
        self.show(content)

    def show(self, content: dict[str, Any]) -> None:
        """Draw another network, or another loss of the same."""
        self.props["network"] = content
        self.update()


def unrolled() -> None:
    """Show a small network over time, and what can be chosen of it."""
    chosen: dict[str, Any] = {
        "kind": "lstm",
        "trained": True,
        "asked": network.STEPS - 2,
        "drawn": 0,
    }

    def choose(**changed: Any) -> None:
        chosen.update(changed)
        picture.show(network.unrolled(**chosen))

    with ui.card().classes("panel"):
        heading("A network, unrolled")
        ui.markdown(UNROLLED)
        with ui.row().classes("choices"):
            ui.select(
                {kind: kind.upper() for kind in network.KINDS},
                value=chosen["kind"],
                label="layer",
                on_change=lambda event: choose(kind=event.value),
            ).mark("layer")
            ui.select(
                {False: "as it is made", True: "trained"},
                value=chosen["trained"],
                label="weights",
                on_change=lambda event: choose(trained=event.value),
            ).mark("weights")
            ui.select(
                {t: f"step {t + 1}" for t in range(network.DELAY, network.STEPS)},
                value=chosen["asked"],
                label="loss looked at",
                on_change=lambda event: choose(asked=event.value),
            ).mark("asked")
            ui.button("Other letters", on_click=lambda: choose(drawn=chosen["drawn"] + 1)).props(
                "outline no-caps"
            )
        picture = Unrolled(network.unrolled(**chosen))
