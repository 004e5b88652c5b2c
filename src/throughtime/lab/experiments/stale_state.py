"""What becomes of answers when a state goes from one batch to the next, unrelated one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from throughtime.inspect.picture import BLUE, GREY, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SYMBOLS = 4


def sequences(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return symbols (B, T), and the first of each, (B,): what is to be said after the last."""
    symbols = torch.randint(SYMBOLS, (count, length), generator=generator)
    return symbols, symbols[:, 0]


def agreement(said: Tensor, answers: Tensor) -> float:
    """Return the share of answers (B,) that are the same."""
    return float((said == answers).double().mean())


@torch.no_grad()
def run(seed: int, *, length: int, updates: int, batches: int) -> Outcome:
    """Train from fresh states, then read batch after batch and never start afresh."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Reader(SYMBOLS, SYMBOLS, layer="gru:32")
    with torch.enable_grad():
        learn(model, lambda: sequences(64, length, generator), updates=updates)
    fresh, stale, of_first_batch = [], [], []
    state = None
    for batch in range(batches):
        symbols, answers = sequences(500, length, generator)
        if batch == 0:
            oldest = answers
        fresh.append(agreement(model(symbols).argmax(-1), answers))
        # The mistake is this one line: the state of other sequences goes in.
        scores, state = model.carry(symbols, state)
        stale.append(agreement(scores.argmax(-1), answers))
        of_first_batch.append(agreement(scores.argmax(-1), oldest))
    details = {"fresh": fresh, "stale": stale, "of the first batch": of_first_batch}
    return Outcome(stale[-1], fresh[-1], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how often answers are right, batch after batch."""
    parts = (
        ("fresh", "right, fresh state", BLUE, "-"),
        ("stale", "right, state carried over", ORANGE, "-"),
        ("of the first batch", "state carried over:\nthe answer of batch 1", GREY, ":"),
    )
    for name, label, colour, line in parts:
        for place, outcome in enumerate(outcomes):
            shares = outcome.details[name]
            batches = range(1, len(shares) + 1)
            once = label if place == 0 else None
            axes[0].plot(batches, shares, line, marker="o", ms=3, color=colour, label=once)
    axes[0].axhline(1 / SYMBOLS, linestyle="--", color="grey", linewidth=1)
    axes[0].set(xlabel="batch", ylabel="share of sequences", ylim=(0, 1.05))
    axes[0].legend(loc="center right")


EXPERIMENT = Experiment(
    name="stale-state",
    section="pitfalls",
    claim="A state that is carried from one batch into the next, unrelated one spoils the answers, "
    "and nothing says so: no error, no odd shape.",
    question=Question(
        "A GRU has learned to say, after the last of 8 symbols, which of 4 kinds the first was. "
        "Now the state after each batch is used as the first state of the next batch, whose "
        "sequences have nothing to do with it. How often is it right after a few batches?",
        (
            "nearly always: each sequence writes over what was in the state",
            "about one time in four, as by guessing",
            "about half of the time",
        ),
        1,
    ),
    figure="accuracy in the last batch, with the state carried over",
    interval=(0.1, 0.5),
    control="a fresh state for each batch",
    run=run,
    draw=draw,
    meaning="What a model has learned to keep, it keeps: here mostly the first symbol of the very "
    "first batch, for as long as the state lives. Start each unrelated sequence from a fresh "
    "state, and carry a state only where the next piece goes on where the last one ended. In this "
    "library a layer holds no state of its own, so what is not passed on is not carried, and "
    "`resets` starts single lanes afresh in the middle of a batch.",
    page="The wrong and the right code of pitfall 2 are the same line, `torch.zeros(...)`; they "
    "differ only in their comments. The mistake is in another line: the one that passes the last "
    "state on.",
    knobs={
        "length": Knob(8, "symbols in a sequence", least=2, most=20),
        "updates": Knob(300, "updates of the weights", least=1, most=3000),
        "batches": Knob(6, "batches read one after the other", least=2, most=30),
    },
    quick={"updates": 5, "batches": 2},
)
