"""What an experiment is: a claim, a question to answer first, knobs, a figure and its control."""

import ast
import difflib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from throughtime.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Value = int | float | str

SEEDS = (0, 1, 2)
"""What an experiment is run with; its interval is that of the figure over such seeds."""


class Outcome(NamedTuple):
    """What one seed came to.

    Attributes:
        figure: what the claim says something about.
        control: the same figure where what the claim names is taken away.
        details: what the picture is drawn from: JSON values.
    """

    figure: float
    control: float
    details: dict[str, Any]


@dataclass(frozen=True)
class Knob:
    """Something to turn before an experiment is run.

    Attributes:
        default: its value if nobody turns it, which the interval belongs to.
        about: what it does, in a few words.
        choices: the values that it can have, where it is not a number between two others.
        least: the smallest number.
        most: the largest number.
    """

    default: Value
    about: str
    choices: tuple[Value, ...] = ()
    least: int | float = 1
    most: int | float = math.inf

    def read(self, name: str, given: Value) -> Value:
        """Return a value of the knob from what was typed or moved.

        Raises:
            OptionError: when it is none.
        """
        try:
            value = type(self.default)(given)
        except ValueError:
            value = None
        if self.choices:
            if value in self.choices:
                return value
            raise OptionError(
                f"expected {name} among {', '.join(map(str, self.choices))}, got {given!r}"
            )
        if isinstance(value, int | float) and self.least <= value <= self.most:
            return value
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        most = "" if self.most == math.inf else f" to {self.most:g}"
        more = "" if most else " or more"
        raise OptionError(f"expected {name} as {kind}, {self.least:g}{most}{more}, got {given!r}")


class Question(NamedTuple):
    """What is asked before the figure is shown.

    Attributes:
        text: the question.
        answers: to choose from.
        right: the place of the one that the experiment will show to be right.
    """

    text: str
    answers: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class Experiment:
    """A claim about recurrent networks, and what is measured to see whether it holds.

    Attributes:
        name: in words with hyphens.
        section: where in the lesson it is.
        claim: what is said to be so.
        question: asked before.
        figure: what is measured, with its unit.
        interval: where the figure lies over seeds; the control lies outside.
        control: what is taken away in the control.
        run: measures, from a seed and a value for each knob.
        draw: paints the picture on axes from the outcomes of all seeds.
        meaning: what follows.
        page: where the teaching page that this grew from is wrong or says too little.
        knobs: what can be turned, by the name of the argument of `run`.
        quick: values of knobs by which it takes a second or two, and shows nothing.
        columns: how many axes the picture has.
        alone: whether it measures time, so that nothing may run beside it.
    """

    name: str
    section: str
    claim: str
    question: Question
    figure: str
    interval: tuple[float, float]
    control: str
    run: Callable[..., Outcome]
    draw: "Callable[[Sequence[Outcome], Sequence[Axes]], None]"
    meaning: str
    page: str = ""
    knobs: Mapping[str, Knob] = field(default_factory=lambda: MappingProxyType({}))
    quick: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    columns: int = 1
    alone: bool = False

    def settings(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Return a value for each knob: those given, read and checked, and defaults.

        Raises:
            OptionError: when there is no such knob, or not with such a value.
        """
        for name in given:
            if name not in self.knobs:
                near = difflib.get_close_matches(name, self.knobs, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                there = ", ".join(self.knobs) or "none"
                raise OptionError(
                    f"expected a knob of {self.name} among {there}, got {name!r}{hint}"
                )
        return {
            name: knob.read(name, given[name]) if name in given else knob.default
            for name, knob in self.knobs.items()
        }

    def holds(self, outcomes: Sequence[Outcome]) -> bool:
        """Return whether every figure lies in the interval, and every control outside.

        What is not a number is neither.
        """
        low, high = self.interval
        return all(
            low <= each.figure <= high and (each.control < low or each.control > high)
            for each in outcomes
        )

    @property
    def source(self) -> str:
        """The code that runs: the experiment's module without what is said and drawn."""
        module = inspect.getmodule(self.run)
        assert module is not None
        text = inspect.getsource(module)
        lines = text.splitlines()
        for part in ast.parse(text).body:
            if self._is_told(part):
                lines[part.lineno - 1 : part.end_lineno] = [""] * _height(part)
        return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)).strip() + "\n"

    def _is_told(self, part: ast.stmt) -> bool:
        """Return whether a part of the module is words, the picture, or this object."""
        match part:
            case ast.Expr(value=ast.Constant()):
                return True
            case ast.FunctionDef(name=name):
                return name == self.draw.__name__
            case ast.Assign(targets=[ast.Name(id="EXPERIMENT")]):
                return True
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return True
        return False


def _height(part: ast.stmt) -> int:
    """Return how many lines a part has."""
    assert part.end_lineno is not None
    return part.end_lineno - part.lineno + 1
