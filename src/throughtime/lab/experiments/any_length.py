"""Whether one set of weights serves sequences of every length, and what carries it there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACES, MOVES = 3, (-1, 0, 1)


def walks(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return moves round a ring of three places, and the place after each, (B, T) both."""
    symbols = torch.randint(len(MOVES), (count, length), generator=generator)
    return symbols, torch.tensor(MOVES)[symbols].cumsum(1) % PLACES


@torch.no_grad()
def by_step(model: Reader, length: int, generator: torch.Generator, every: int = 0) -> Tensor:
    """Return the accuracy at every step, (T,), where the state begins afresh `every` so often."""
    symbols, places = walks(500, length, generator)
    resets = torch.zeros(symbols.shape, dtype=torch.bool)
    if every:
        resets[:, ::every] = True
    y, _ = model.layer(model.encoder(symbols), resets=resets)
    right: Tensor = model.head(y).argmax(-1) == places
    return right.double().mean(0)


def run(seed: int, *, layer: str, length: int, times: int, updates: int) -> Outcome:
    """Train on short walks of any length, and test on long ones."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Reader(len(MOVES), PLACES, layer=f"{layer}:32", every=True)
    learn(model, lambda: walks(64, length, generator), updates=updates)
    carried = by_step(model, times * length, generator)
    cut = by_step(model, times * length, generator, every=length)
    details = {"carried": carried.tolist(), "cut": cut.tolist(), "trained": length}
    return Outcome(float(carried[-length:].mean()), float(cut[-length:].mean()), details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the accuracy at every step, a line for every seed."""
    labels: dict[str, str | None]
    labels = {"carried": "state carried", "cut": "state begun afresh, a training length each"}
    for outcome in outcomes:
        for color, kind in ((picture.BLUE, "carried"), (picture.ORANGE, "cut")):
            accuracy = outcome.details[kind]
            steps = range(1, len(accuracy) + 1)
            axes[0].plot(steps, accuracy, color=color, alpha=0.6, label=labels[kind])
            labels[kind] = None
    trained = outcomes[0].details["trained"]
    axes[0].axvline(trained, color=picture.GREY, linestyle="--", label="longest in training")
    axes[0].set(xlabel="step of the walk", ylabel="accuracy", ylim=(0, 1.05))
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=2)


EXPERIMENT = Experiment(
    name="any-length",
    section="why designed so",
    claim="The weights of a step serve any number of steps. What a GRU has learned from walks of "
    "20 steps it does in walks of 200, because the state carries all that a step needs; where the "
    "state is thrown away every 20 steps, it is lost.",
    question=Question(
        "A GRU learns to say where on a ring of three places a walker is, from walks of at most "
        "20 moves. How often is it right at the end of walks of 200 moves?",
        (
            "one time in three, as by chance: it has not seen such walks",
            "about two times in three: errors add up on the way",
            "always: a move is a move, wherever in the walk it is",
        ),
        2,
    ),
    figure="accuracy over the last 20 of 200 steps, trained on 20",
    interval=(0.95, 1.0),
    control="the state begins afresh every 20 steps",
    run=run,
    draw=draw,
    meaning="Length is no part of a recurrent model: not of its weights, not of its state. So it "
    "may be trained on pieces and run on streams. It is right there only if what it learned is a "
    "rule of one step, with states that do not wear out: measure it at the length that you mean "
    "to use. A min_gru, whose gates do not see the state, does not even learn the short walks.",
    page="The page gives sharing as the reason for variable lengths, and so it is: any length can "
    "be run. It does not say that a model need not be right at lengths it was not trained on.",
    knobs={
        "layer": Knob("gru", "of 32 numbers", choices=("gru", "lstm", "rnn", "min_gru")),
        "length": Knob(20, "moves in a walk of the training", least=2, most=60),
        "times": Knob(10, "how many times as long the walks of the test are", least=2, most=30),
        "updates": Knob(500, "updates of the weights", least=1, most=3000),
    },
    quick={"updates": 5, "length": 5},
)
