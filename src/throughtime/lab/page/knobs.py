"""The knobs of an experiment as what can be moved: sliders, fields, choices."""

import math
from collections.abc import Sequence

from nicegui import ui

from throughtime.lab.experiment import Experiment, Knob, Value

PLACES = 100
"""How many stops a slider has, but for those that would be the same."""


def stops(knob: Knob) -> list[int | float]:
    """Return the values that a slider stops at, in two digits; wide ranges go by ratios."""
    assert not isinstance(knob.default, str)
    whole = isinstance(knob.default, int)
    found = {knob.default, type(knob.default)(knob.least), type(knob.default)(knob.most)}
    for place in range(PLACES + 1):
        share = place / PLACES
        if wide(knob):
            value = knob.least * math.exp(share * math.log(knob.most / knob.least))
        else:
            value = knob.least + (knob.most - knob.least) * share
        value = float(f"{value:.2g}")
        if knob.least <= value <= knob.most:
            found.add(round(value) if whole else value)
    return sorted(found)


def nearest(values: Sequence[int | float], value: int | float) -> int:
    """Return the place of the value that is nearest to another."""
    return min(range(len(values)), key=lambda place: abs(values[place] - value))


def wide(knob: Knob) -> bool:
    """Return whether a range is so wide that its small values would be lost on a plain scale."""
    return knob.least > 0 and knob.most / knob.least >= 30


class Knobs:
    """What is shown of an experiment's knobs, and the values that they have now."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.fields: dict[str, ui.number | ui.select] = {}
        self._place = ui.element("div").classes("knobs")
        self.reset()

    @property
    def values(self) -> dict[str, Value]:
        """The value of each.

        Raises:
            OptionError: when one can't have the value that was typed.
        """
        given = {name: field.value for name, field in self.fields.items()}
        return self.experiment.settings(
            {name: "" if value is None else value for name, value in given.items()}
        )

    def reset(self) -> None:
        """Show all as they come.

        They are made anew, since an old slider may still be about to say where it was moved to.
        """
        self._place.clear()
        with self._place:
            for name, knob in self.experiment.knobs.items():
                with ui.element("div").classes("knob"):
                    self.fields[name] = _choice(name, knob) if knob.choices else _number(name, knob)


def _choice(name: str, knob: Knob) -> ui.select:
    _named(name, knob)
    field = ui.select(list(knob.choices), value=knob.default).props("dense outlined")
    return field.props(f'aria-label="{name}"').mark(name)


def _number(name: str, knob: Knob) -> ui.number:
    _named(name, knob)
    whole = isinstance(knob.default, int)
    assert not isinstance(knob.default, str)
    field = ui.number(
        value=knob.default,
        min=knob.least,
        max=None if math.isinf(knob.most) else knob.most,
        precision=0 if whole else None,
        step=1 if whole else 0.01,
    )
    field.props(f'dense outlined aria-label="{name}"').mark(name)
    if math.isinf(knob.most):
        return field
    values = stops(knob)
    slider = ui.slider(min=0, max=len(values) - 1, value=nearest(values, knob.default))
    slider.props(f'aria-label="{name}, slider"').mark(f"{name}-slider")
    _join(values, slider, field)
    return field


def _join(values: Sequence[int | float], slider: ui.slider, field: ui.number) -> None:
    """Let a slider and a field move each other, where the field has the last word."""

    def slid() -> None:
        # When the field moved the slider, the field has its value already.
        moved = field.value is None or slider.value != nearest(values, field.value)
        if slider.value is not None and moved:
            field.value = float(values[int(slider.value)])

    def typed() -> None:
        if field.value is not None:
            slider.value = float(nearest(values, field.value))

    slider.on_value_change(slid)
    field.on_value_change(typed)


def _named(name: str, knob: Knob) -> None:
    with ui.element("div").classes("knob-name"):
        ui.label(name.replace("_", " ")).classes("strong")
        ui.label(knob.about).classes("quiet")
