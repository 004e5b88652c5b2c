"""How far back a gradient has to be followed for a lag to be learned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, accuracy, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SYMBOLS, STEPS = 8, 40


class Truncated(nn.Module):
    """A reader that carries its state over the cuts of a sequence, and no gradient."""

    def __init__(self, reader: Reader, window: int) -> None:
        super().__init__()
        self.reader = reader
        self.window = window

    def forward(self, symbols: Tensor) -> Tensor:
        """Return scores (B, T, D) of symbols (B, T)."""
        state, scores = None, []
        for part in torch.split(symbols, self.window, 1):
            found, state = self.reader.carry(part, state)
            scores.append(found)
        return torch.cat(scores, 1)


def echoes(count: int, lag: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return symbols (B, T), and for each step the one so many before, (B, T); -1 at first."""
    symbols = torch.randint(SYMBOLS, (count, STEPS), generator=generator)
    answers = symbols.roll(lag, 1)
    answers[:, :lag] = -1
    return symbols, answers


def run(seed: int, *, lag: int, updates: int) -> Outcome:
    """Train with several windows from the same start, and test each on the same sequences."""
    generator = torch.Generator().manual_seed(seed)
    test = echoes(200, lag, generator)
    right = {}
    for window in sorted({max(1, lag // 2), lag, lag + 1, 3 * lag // 2, 2 * lag, STEPS}):
        torch.manual_seed(seed)
        model = Truncated(Reader(SYMBOLS, SYMBOLS, layer="rnn:48", every=True), window)
        # One update a sequence, whatever the window: only the reach of the gradient differs.
        learn(model, lambda: echoes(32, lag, generator), updates=updates)
        right[window] = accuracy(model, *test)
    details = {"windows": list(right), "accuracy": list(right.values()), "lag": lag}
    return Outcome(right[2 * lag], right[lag], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the accuracy by window, a line for every seed."""
    label: str | None = "a seed each"
    for outcome in outcomes:
        windows, right = outcome.details["windows"], outcome.details["accuracy"]
        axes[0].semilogx(windows, right, ".-", color=picture.BLUE, alpha=0.7, label=label)
        label = None
    lag = outcomes[0].details["lag"]
    axes[0].axvline(lag, color=picture.GREY, linestyle="--", label="lag to be learned")
    axes[0].axhline(1 / SYMBOLS, color=picture.GREY, linestyle=":", label="chance")
    axes[0].set_xticks(windows, [str(window) for window in windows])
    axes[0].set_xticks([], minor=True)
    axes[0].set(xlabel="steps of the window, no gradient before", ylabel="accuracy", ylim=(0, 1.05))
    axes[0].legend(loc="lower right", bbox_to_anchor=(1, 0.2))


EXPERIMENT = Experiment(
    name="truncated-bptt-window",
    section="build-up",
    claim="A lag is learned if the gradient is followed back beyond it. To carry the state over "
    "the cuts is not enough where no gradient crosses them: with windows as long as the lag, or "
    "shorter, an RNN is right less than one time in three, where chance is one in eight.",
    question=Question(
        "An RNN is to say which of 8 symbols came 6 steps before. Its state is carried through the "
        "whole sequence, its gradient is cut every 6 steps. How often is it right in the end?",
        (
            "almost always: the state has all that is needed",
            "about half of the time",
            "about one time in five: it never learns what to keep",
        ),
        2,
    ),
    figure="accuracy with windows of twice the lag",
    interval=(0.95, 1.0),
    control="windows as long as the lag: the gradient never gets to what is asked for",
    run=run,
    draw=draw,
    meaning="Choose the window of truncated backpropagation by the longest lag that is to be "
    "learned, and about twice as long: a lag is only within a window where both its ends are. "
    "The state may be carried for as long as one likes; it is there to use what was learned.",
    page="The page says that training looks at the whole sequence. Where sequences are long nobody "
    "does that: the gradient is cut every so often, and what is further apart is not learned.",
    knobs={
        "lag": Knob(6, "steps between a symbol and its echo", least=1, most=12),
        "updates": Knob(300, "updates of the weights", least=1, most=1000),
    },
    quick={"updates": 5},
)
