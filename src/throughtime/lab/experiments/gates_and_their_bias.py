"""What the bias of the forget gate, a single number at the start, does to what is learned."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.inspect.picture import BLUE, GREY, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, accuracy, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SYMBOLS, HIDDEN = 8, 32
Curve = list[float]


def sequences(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return symbols (B, T), and the first of them, (B,), which is asked for after the last."""
    symbols = torch.randint(0, SYMBOLS, (count, length), generator=generator)
    return symbols, symbols[:, 0]


def torch_lstm(features: int, *, added: float) -> tt.Recurrent:
    """Return an LSTM as `nn.LSTM` makes it, with a number added to the forget gate's bias."""
    layer = nn.LSTM(features, HIDDEN, batch_first=True)
    with torch.no_grad():
        layer.get_parameter("bias_ih_l0")[HIDDEN : 2 * HIDDEN] += added
    return tt.from_torch(layer)


def gradient(model: Reader, symbols: Tensor) -> list[float]:
    """Return how much the last output depends on the cell, by steps back, as a share of lag 0."""
    x = model.encoder(symbols).detach()
    found = tt.inspect.gradient_by_lag(model.layer, x, lambda y: y[:, -1].sum())
    shares: list[float] = (found.median / found.median[0]).tolist()
    return shares


def run(seed: int, *, length: int, bias: float, updates: int) -> Outcome:
    """Train the same LSTM from three biases of the forget gate, and test it as it learns."""
    tests = sequences(500, length, torch.Generator().manual_seed(1000 + seed))
    curves: dict[str, list[float]] = {}
    gradients: dict[str, list[float]] = {}
    for added in (0.0, bias / 2, bias):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = Reader(SYMBOLS, SYMBOLS, layer=partial(torch_lstm, added=added))
        curve = [accuracy(model, *tests)]

        def watch(update: int, loss: float, model: Reader = model, curve: Curve = curve) -> bool:
            if update % 10 == 0:
                curve.append(accuracy(model, *tests))
            return False

        name = f"torch's bias + {added:g}" if added else "torch's bias"
        gradients[name] = gradient(model, tests[0][:32])
        learn(model, partial(sequences, 64, length, generator), updates=updates, watch=watch)
        curves[name] = [*curve, accuracy(model, *tests)]
    final = [curve[-1] for curve in curves.values()]
    return Outcome(final[-1], final[0], {"accuracy": curves, "gradient": gradients})


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint gradients by lag before training, and accuracy while it goes on."""
    for number, outcome in enumerate(outcomes):
        names = outcome.details["accuracy"]
        for colour, name in zip((GREY, ORANGE, BLUE), names, strict=True):
            label = None if number else name
            axes[0].semilogy(outcome.details["gradient"][name], color=colour, alpha=0.75)
            # The last one is of the end, which may be no multiple of ten.
            curve = outcome.details["accuracy"][name][:-1]
            updates = range(0, 10 * len(curve), 10)
            axes[1].plot(updates, curve, color=colour, alpha=0.75, label=label)
    axes[0].set(
        xlabel="lag, steps back", ylabel="gradient of the cell before training,\nshare of lag 0"
    )
    axes[1].axhline(1 / SYMBOLS, linestyle="--", color=GREY, linewidth=1)
    axes[1].set(xlabel="updates", ylabel="accuracy", ylim=(0, 1.05))
    axes[1].legend(loc="center right")


EXPERIMENT = Experiment(
    name="gates-and-their-bias",
    section="when and where",
    claim="Gates alone do not give a long memory: an LSTM as torch makes it forgets half of its "
    "cell at each step and does not learn to keep the first of 30 symbols in 500 updates. With 3 "
    "added to the bias of its forget gate at the start, it does.",
    question=Question(
        "Each sequence has 30 symbols of 8 kinds, and the first is asked for after the last. Two "
        "LSTMs train for 500 updates: one as torch makes it, one with 3 added to the forget gate's "
        "bias. How often are they right?",
        (
            "both always: LSTMs were made for this",
            "both by chance: 500 updates are too few",
            "one by chance, the other always",
        ),
        2,
    ),
    figure="accuracy after training, with the bias raised",
    interval=(0.97, 1.0),
    control="the bias as torch has it, near zero",
    run=run,
    draw=draw,
    meaning="Set the forget gate for the time that has to be bridged: a bias b keeps a cell for "
    "about 1 + exp(b) steps. throughtime's LSTM starts at 1, and `memory=T` spreads the biases up "
    "to T steps; `tt.inspect.gradient_by_lag` shows before training how far back a layer sees.",
    page="The page offers LSTMs and GRUs as the remedy for a short memory. As torch makes them "
    "they forget nearly as fast as a plain RNN; the remedy is a gate that starts open.",
    knobs={
        "length": Knob(30, "symbols in a sequence", least=4, most=60),
        "bias": Knob(3.0, "what is added to the forget gate's bias", least=0.1, most=8.0),
        "updates": Knob(500, "updates of the weights", least=1, most=3000),
    },
    quick={"length": 8, "updates": 20},
    columns=2,
)
