"""How near a recurrent network and Markov chains come to a source that has no Markov order."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.inspect.picture import BLUE, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ORDERS = range(1, 15)
SETTLING = 20
"""Steps at the start of a test sequence that are not scored: any model lacks context there."""


def even_process(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return bits (B, T) in which ones come in pairs, and where a coin decided, (B, T) bool.

    In the first state a coin decides between 0 and 1; after such a 1 a second one must follow.
    """
    owed = torch.rand(count, generator=generator) < 1 / 3
    bits, free = [], []
    for heads in (torch.rand(length, count, generator=generator) < 0.5).unbind():
        free.append(~owed)
        bits.append(owed | heads)
        owed = heads & ~owed
    return torch.stack(bits, 1).long(), torch.stack(free, 1)


def contexts(bits: Tensor, order: int) -> Tensor:
    """Return the number that the last `order` bits make, before each bit from that one on."""
    weights = 2 ** torch.arange(order)
    return (bits.unfold(1, order, 1)[:, :-1] * weights).sum(2)


def markov_bits(train: Tensor, test: Tensor, order: int) -> float:
    """Return bits a symbol of a Markov chain of some order, counted on `train`."""
    counts = torch.full((2**order, 2), 0.5)
    places = (contexts(train, order).flatten(), train[:, order:].flatten())
    counts.index_put_(places, torch.tensor(1.0), accumulate=True)
    chances = counts / counts.sum(1, keepdim=True)
    found = chances[contexts(test, order), test[:, order:]]
    return float(-found[:, SETTLING - order :].log2().mean())


@torch.no_grad()
def network_bits(model: nn.Module, test: Tensor) -> float:
    """Return bits a symbol of a network."""
    chances = model(test[:, :-1]).log_softmax(-1).gather(2, test[:, 1:, None])
    return float(-chances[:, SETTLING - 1 :].mean() / math.log(2))


def run(seed: int, *, hidden: int, sequences: int, updates: int) -> Outcome:
    """Count contexts and train a network on the same bits, and score both on others."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    train, _ = even_process(sequences, 200, generator)
    test, free = even_process(400, 250, generator)
    model = Reader(2, 2, layer=f"rnn:{hidden}", every=True)

    def sample() -> tuple[Tensor, Tensor]:
        rows = train[torch.randint(sequences, (32,), generator=generator)]
        return rows[:, :-1], rows[:, 1:]

    learn(model, sample, updates=updates)
    # The source itself is surprised by one bit where a coin decided, by none elsewhere.
    floor = float(free[:, SETTLING:].double().mean())
    chain = [markov_bits(train, test, order) for order in ORDERS]
    network = network_bits(model, test)
    details = {"chain": chain, "network": network, "floor": floor}
    return Outcome(network - floor, min(chain) - floor, details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint bits above those of the source, by the order of the chain."""
    for place, outcome in enumerate(outcomes):
        said = outcome.details
        above = [bits - said["floor"] for bits in said["chain"]]
        label = "Markov chains" if place == 0 else None
        axes[0].plot(ORDERS, above, "o-", ms=3, color=ORANGE, label=label)
        label = "recurrent network" if place == 0 else None
        axes[0].axhline(said["network"] - said["floor"], color=BLUE, label=label)
    axes[0].axhline(0, linestyle="--", color="grey", linewidth=1, label="the source itself")
    axes[0].set(xlabel="order of the chain: symbols that it looks back", xticks=ORDERS[1::2])
    axes[0].set_ylabel("bits a symbol above the source")
    axes[0].legend(loc="upper right")


EXPERIMENT = Experiment(
    name="markov-chain",
    section="connections",
    claim="A source with two hidden states can have no Markov order at all: no number of symbols "
    "back says everything. A network with a state comes nearer to it than the best Markov chain.",
    question=Question(
        "In a stream of bits, ones come in pairs: after a 0 or a finished pair a coin decides. "
        "Markov chains of order 1 to 14 are counted on 40,000 bits. What does it cost to look back "
        "further and further?",
        (
            "nothing: each order is better than the one before",
            "from order 2 on all are the same, since a pair has two symbols",
            "they get better until contexts are too rare to be counted, and never reach the source",
        ),
        2,
    ),
    figure="bits a symbol that the network needs above the source itself",
    interval=(-0.001, 0.006),
    control="the best of the Markov chains of order 1 to 14",
    run=run,
    draw=draw,
    meaning="In a run of ones, what counts is whether it is even or odd, however long it is: one "
    "bit that a state carries and no window holds. A recurrent network is a Markov chain too, in "
    "its state: the next state depends on this one and the input alone. What it gains over a "
    "chain on symbols is that it learns what to keep.",
    page="Both are said to depend on previous steps. A Markov chain on symbols depends on a fixed "
    "number of them; the state of a recurrent network can depend on all.",
    knobs={
        "hidden": Knob(16, "units of the network", least=1, most=64),
        "sequences": Knob(200, "sequences of 200 bits to learn from", least=5, most=1000),
        "updates": Knob(600, "updates of the weights", least=1, most=3000),
    },
    quick={"updates": 5, "sequences": 20},
)
