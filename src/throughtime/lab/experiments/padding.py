"""What becomes of answers that are read after the padding."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect.picture import BLUE, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAD, KEYS, SYMBOLS = 0, 4, 16
LENGTHS = (2, 12)
LONGER = (0, 1, 2, 3, 5, 8, 12, 20, 30, 50, 80)
"""Steps by which another sequence of the batch is longer than all of these."""


def sequences(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return symbols (B, T) with padding after each, and which key is among them, (B,)."""
    least, most = LENGTHS
    symbols = torch.randint(KEYS + 1, SYMBOLS, (count, most), generator=generator)
    lengths = torch.randint(least, most + 1, (count,), generator=generator)
    keys = torch.randint(KEYS, (count,), generator=generator)
    places = (torch.rand(count, generator=generator) * lengths).long()
    symbols[torch.arange(count), places] = keys + 1
    symbols[torch.arange(most) >= lengths[:, None]] = PAD
    return symbols, keys


class AtTheEnd(nn.Module):
    """A reader that answers at the last step of each sequence, not at that of the batch."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, symbols: Tensor) -> Tensor:
        """Return scores (B, 4) from symbols (B, T)."""
        scores: Tensor = self.reader(symbols, lengths=(symbols != PAD).sum(1))
        return scores


def run(seed: int, *, layer: str, longer: int, updates: int) -> Outcome:
    """Train with lengths, then put the same sequences beside longer and longer ones."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    reader = Reader(SYMBOLS, KEYS, layer=f"{layer}:32")
    at_the_end = AtTheEnd(reader)
    learn(at_the_end, lambda: sequences(64, generator), updates=updates)
    symbols, keys = sequences(1000, generator)
    steps = sorted({*LONGER, longer})
    changed: dict[str, list[float]] = {"last column": [], "last step of each": []}
    with torch.no_grad():
        before = at_the_end(symbols).argmax(-1)
        for more in steps:
            padded = nn.functional.pad(symbols, (0, more), value=PAD)
            for name, model in (("last column", reader), ("last step of each", at_the_end)):
                after = model(padded).argmax(-1)
                changed[name].append(float((after != before).double().mean()))
    place = steps.index(longer)
    details = {"changed": changed, "steps": steps, "right": float((before == keys).double().mean())}
    return Outcome(changed["last column"][place], changed["last step of each"][place], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how many answers change, by how much longer the batch is."""
    colours = {"last column": ORANGE, "last step of each": BLUE}
    for place, outcome in enumerate(outcomes):
        for name, shares in outcome.details["changed"].items():
            label = f"read at the {name}" if place == 0 else None
            steps = outcome.details["steps"]
            axes[0].plot(steps, shares, "o-", ms=3, color=colours[name], label=label)
    axes[0].set_xscale("symlog", linthresh=1)
    axes[0].set_xticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
    axes[0].set(
        xlabel="steps by which another sequence of the batch is longer",
        ylabel="share of answers that change",
        ylim=(-0.03, 1.0),
    )
    axes[0].legend(loc="upper left")


EXPERIMENT = Experiment(
    name="padding",
    section="pitfalls",
    claim="Read at the last column of a padded batch, the answer to a sequence depends on how long "
    "the others in its batch are; read at the sequence's own last step, it does not.",
    question=Question(
        "A network finds which of 4 keys is among the symbols of a sequence, and is always right "
        "at its last step. Now a sequence 50 steps longer is in the batch; the others are filled "
        "up to its length, and `y[:, -1]` is read. How many of their answers change?",
        (
            "none: padding says nothing, so nothing is changed by it",
            "about one in a hundred",
            "a third or more",
        ),
        2,
    ),
    figure="share of answers that change when the batch holds a sequence 50 steps longer",
    interval=(0.35, 0.9),
    control="the same network, read at the last step that each sequence has",
    run=run,
    draw=draw,
    meaning="To a layer, padding is input like any other: the state goes on and ends where the "
    "padding drives it. Give lengths, so that a step that is not there leaves the state as it is, "
    "and read each sequence at its own end. A test that always holds: a sequence gives the same "
    "answer alone and in any batch.",
    page="The page does not mention padding, which is a common way to lose what a recurrent "
    "network knows.",
    knobs={
        "layer": Knob("rnn", "kind of layer", choices=("rnn", "gru", "lstm")),
        "longer": Knob(50, "steps by which another sequence is longer", least=1, most=300),
        "updates": Knob(400, "updates of the weights", least=1, most=3000),
    },
    quick={"updates": 5},
)
