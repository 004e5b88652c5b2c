"""The automaton that a trained network is, found by asking it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect import Automaton, Recogniser, extract_automaton
from throughtime.inspect.picture import BLUE, GREY, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import learn
from throughtime.model import ModelConfig, SequenceModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTERS = ("a", "b")
BEGIN = 2
"""What is read before each word, so that the network can judge the empty one."""
LANGUAGES = {
    "a and b even": Automaton(
        LETTERS, ((1, 2), (0, 3), (3, 0), (2, 1)), (True, False, False, False)
    ),
    "a less b, mod 3": Automaton(LETTERS, ((1, 2), (2, 0), (0, 1)), (True, False, False)),
    "never aaa": Automaton(LETTERS, ((1, 0), (2, 0), (3, 0), (3, 3)), (True, True, True, False)),
}


class Judge(nn.Module):
    """A model that scores each prefix of a word: above zero where it is in the language."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        config = ModelConfig(symbols=3, embedding=4, layer=f"gru:{hidden}", outputs=1)
        self.model = SequenceModel(config)

    def forward(self, words: Tensor) -> Tensor:
        """Return scores (N, T + 1) of words (N, T)."""
        begun = nn.functional.pad(words, (1, 0), value=BEGIN)
        scores: Tensor = self.model(begun)[0][..., 0]
        return scores

    def machine(self, queries: int) -> Automaton:
        """Return the automaton that answers as the model does, as far as it was asked."""
        asked = Recogniser(self.model, begin=BEGIN)
        found = extract_automaton(asked, (0, 1), alphabet=LETTERS, queries=queries)
        return found.automaton


def agreement(said: Tensor, wanted: Tensor) -> list[float]:
    """Return the share judged alike of prefixes up to each length; prefixes are (N, T)."""
    alike = (said == wanted).double().mean(0)
    return (alike.cumsum(0) / torch.arange(1, len(alike) + 1)).tolist()


def run(
    seed: int, *, language: str, hidden: int, length: int, updates: int, queries: int
) -> Outcome:
    """Take the automaton out of a network before and after it learned a language."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    language_machine = LANGUAGES[language]

    def sample() -> tuple[Tensor, Tensor]:
        words = torch.randint(2, (64, length), generator=generator)
        return words, language_machine.run(words).float()

    judge = Judge(hidden)
    before = judge.machine(queries)
    learn(
        judge,
        sample,
        updates=updates,
        rate=1e-2,
        loss=nn.functional.binary_cross_entropy_with_logits,
        watch=lambda _, loss: loss < 1e-3,
    )
    after = judge.machine(queries)
    words = torch.randint(2, (500, 200), generator=generator)
    wanted = language_machine.run(words)
    with torch.no_grad():
        said = judge(words) > 0
    right = {
        "network": agreement(said, wanted),
        "its automaton": agreement(after.run(words), wanted),
        "automaton before training": agreement(before.run(words), wanted),
    }
    arrows = [[*pair, letters] for pair, letters in after.arrows().items()]
    details = {"right": right, "arrows": arrows, "accepting": list(after.accepting)}
    figure, control = right["its automaton"][-1], right["automaton before training"][-1]
    return Outcome(figure, control, details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the automaton of the first seed, and who is right on words of which length."""
    accepting, arrows = (outcomes[0].details[name] for name in ("accepting", "arrows"))
    # Around a circle in an order in which one state leads to the next, where that can be.
    order: list[int] = []
    waiting = [0]
    while waiting:
        state = waiting.pop()
        if state not in order:
            order.append(state)
            waiting += [to for first, to, _ in reversed(arrows) if first == state]
    turns = [math.pi * (0.75 - 2 * at / len(order)) for at in range(len(order))]
    places = {
        state: (math.cos(turn), math.sin(turn)) for state, turn in zip(order, turns, strict=True)
    }
    for first, to, letters in arrows:
        (x1, y1), (x2, y2) = places[first], places[to]
        if first == to:
            axes[0].text(1.4 * x1, 1.4 * y1, f"{letters}: stays", ha="center", va="center")
            continue
        look = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=0.25", "color": GREY}
        ends = {"shrinkA": 12, "shrinkB": 12}
        axes[0].annotate("", (x2, y2), (x1, y1), arrowprops={**look, **ends})
        beside = (x1 + x2) / 2 + 0.22 * (y2 - y1), (y1 + y2) / 2 - 0.22 * (x2 - x1)
        axes[0].text(*beside, letters, ha="center", va="center")
    for state, (along, up) in places.items():
        ring = BLUE if accepting[state] else GREY
        axes[0].plot(along, up, "o", ms=20, color="white", mec=ring, mew=3)
        # On the white of the circle, whatever the page behind it is.
        axes[0].text(along, up, str(state), ha="center", va="center", color="black")
    axes[0].set(xlim=(-1.8, 1.8), ylim=(-1.6, 1.6), aspect="equal")
    axes[0].set_title("begins in 0; blue states accept (first seed)")
    axes[0].axis("off")
    looks = zip(outcomes[0].details["right"], (ORANGE, BLUE, GREY), ("-", "--", "-"), strict=True)
    for name, colour, line in looks:
        for place, outcome in enumerate(outcomes):
            shares = outcome.details["right"][name]
            axes[1].plot(shares, line, color=colour, label=name if place == 0 else None)
    axes[1].set(xlabel="letters, at most", ylabel="share of words judged rightly", ylim=(0, 1.05))
    axes[1].legend(loc="lower right")


EXPERIMENT = Experiment(
    name="state-machine",
    section="connections",
    claim="A network that has learned a language of a finite automaton is that automaton: asked "
    "for its answers to chosen words, it gives away the smallest one exactly.",
    question=Question(
        "A GRU of 16 units has learned from words of 20 letters which have an even number of a "
        "and an even number of b. An automaton is learned from its answers alone. How many states "
        "has it?",
        (
            "four: whether a is even, and whether b is",
            "16, one for each unit",
            "hundreds: a state of 16 real numbers is never twice the same",
        ),
        0,
    ),
    figure="share of prefixes of words of 200 letters that the extracted automaton judges rightly",
    interval=(0.99, 1.0),
    control="the automaton of the same network before training",
    run=run,
    draw=draw,
    meaning="The numbers of a state differ from word to word, and what they are used for is one of "
    "four things. An automaton can be read and checked, and it shows what was learned by halves: "
    "then it has more states than the language, and words on which both differ are found. Turn "
    "the updates down to see it.",
    page="Resembling is too little said: where the language has finitely many states, it can be "
    "one and the same machine. What limits its memory is how many states it learns to tell apart.",
    knobs={
        "language": Knob("a and b even", "what is learned", choices=tuple(LANGUAGES)),
        "hidden": Knob(16, "units of the GRU", least=2, most=64),
        "length": Knob(20, "letters of the words that it learns from", least=2, most=40),
        "updates": Knob(1500, "updates of the weights, at most", least=1, most=5000),
        "queries": Knob(1000, "words that may be asked, at most", least=300, most=10000),
    },
    quick={"updates": 3, "queries": 300},
    columns=2,
)
