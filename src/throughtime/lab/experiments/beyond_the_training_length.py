"""What becomes of a network on sequences longer than those that it learned from."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from throughtime.inspect.picture import BLUE, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, accuracy, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TIMES = (1, 1.5, 2, 3, 4, 6, 8, 12, 20)
"""Lengths that are tested, in multiples of the one that is trained."""


def words(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Return words of 0 and 1, (B, T): mostly one of them in the first half, then the other."""
    first = torch.rand(count, 1, generator=generator).round() * 0.8 + 0.1
    ones = torch.where(torch.arange(length) < length // 2, first, 1 - first)
    return (torch.rand(count, length, generator=generator) < ones).long()


def odd(letters: Tensor) -> Tensor:
    """Return whether there was an odd number of ones so far, (B, T): two cases, at any length."""
    return letters.cumsum(1) % 2


def more(letters: Tensor) -> Tensor:
    """Return whether there were more ones than zeros so far, (B, T): it takes a count."""
    return ((2 * letters - 1).cumsum(1) > 0).long()


TASKS: dict[str, Callable[[Tensor], Tensor]] = {"odd or even": odd, "more ones or zeros": more}


def run(seed: int, *, layer: str, length: int, updates: int) -> Outcome:
    """Train the same network for two tasks on short words, and test it on longer ones."""
    right: dict[str, list[float]] = {}
    lengths = [round(times * length) for times in TIMES]
    for name, task in TASKS.items():
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = Reader(2, 2, layer=f"{layer}:16", every=True)

        def sample(
            task: Callable[[Tensor], Tensor] = task, generator: torch.Generator = generator
        ) -> tuple[Tensor, Tensor]:
            letters = words(64, length, generator)
            return letters, task(letters)

        learn(model, sample, updates=updates, rate=1e-2)
        tests = [words(300, steps, generator) for steps in lengths]
        right[name] = [accuracy(model, test, task(test)) for test in tests]
    details = {"right": right, "lengths": lengths}
    return Outcome(right["odd or even"][-1], right["more ones or zeros"][-1], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the accuracy of both tasks by the length of the words."""
    lengths = outcomes[0].details["lengths"]
    for place, outcome in enumerate(outcomes):
        for (name, shares), colour in zip(
            outcome.details["right"].items(), (BLUE, ORANGE), strict=True
        ):
            label = name if place == 0 else None
            axes[0].plot(lengths, shares, "o-", ms=3, color=colour, label=label)
    axes[0].axvline(lengths[0], color="grey", linewidth=1, label="trained")
    axes[0].axhline(0.5, linestyle="--", color="grey", linewidth=1, label="by guessing")
    axes[0].set_xscale("log")
    ticks = [lengths[TIMES.index(times)] for times in (1, 2, 4, 8, 20)]
    axes[0].set_xticks(ticks, [str(each) for each in ticks])
    axes[0].minorticks_off()
    axes[0].set(xlabel="length of the words (steps)", ylabel="accuracy", ylim=(0.4, 1.03))
    axes[0].legend(loc="center left")


EXPERIMENT = Experiment(
    name="beyond-the-training-length",
    section="pitfalls",
    claim="A recurrent network runs at any length; whether it is right beyond the length that it "
    "learned from depends on what has to be kept. Which of two cases it is can be held for ever; "
    "a count that grows beyond all that was seen is lost.",
    question=Question(
        "A tanh network of 16 units learns two tasks from words of 20 letters, and is right at 98 "
        "of 100 steps or more: is the number of ones odd so far, and are there more ones than "
        "zeros so far? What happens at 400 letters?",
        (
            "both still work: the same weights are used at each step",
            "both fail: errors of 400 steps add up",
            "odd or even still works, more or less is hardly better than guessing",
        ),
        2,
    ),
    figure="accuracy in odd or even, at 20 times the length that was trained",
    interval=(0.9, 1.0),
    control="the same network and words, and a task that needs a count",
    run=run,
    draw=draw,
    meaning="Two states that pull near ones towards them hold for ever; a count has no such "
    "places, and a bounded state runs out of room for it. That a layer takes any length says "
    "nothing of what it is worth there: test at the lengths that will come. Other layers do "
    "otherwise: an LSTM's cell can count further, and a GRU often loses odd or even as well.",
    page="Made for sequences of any length, says the page. Made to run on them, yes.",
    knobs={
        "layer": Knob("rnn", "kind of layer", choices=("rnn", "gru", "lstm")),
        "length": Knob(20, "letters of the words that it learns from", least=4, most=40),
        "updates": Knob(800, "updates of the weights", least=1, most=3000),
    },
    quick={"updates": 3, "length": 8},
)
