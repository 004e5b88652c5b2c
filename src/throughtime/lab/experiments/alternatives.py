"""A small RNN and a small Transformer, each on a task that suits it and on one that does not."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime import layers
from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, accuracy, learn
from throughtime.recurrent import Recurrent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEYS, UNITS = 16, 32
MOST_STEPS = 64
TIMED = (64, 256, 1024)


def parities(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return bits (B, T), and at every step whether the ones so far are odd."""
    bits = torch.randint(2, (count, length), generator=generator)
    return bits, bits.cumsum(1) % 2


def recalls(count: int, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return steps (B, T, F): pairs of a key and a value, then keys alone; and values wanted."""
    keys = torch.rand(count, KEYS, generator=generator).argsort(1)[:, :pairs]
    values = torch.randint(KEYS, (count, pairs), generator=generator)
    asked = torch.rand(count, pairs, generator=generator).argsort(1)
    told = nn.functional.one_hot(torch.cat([keys, keys.gather(1, asked)], 1), KEYS)
    shown = nn.functional.one_hot(values, KEYS)
    given = torch.cat([told, torch.cat([shown, torch.zeros_like(shown)], 1)], 2).float()
    return given, torch.cat([torch.full_like(values, -1), values.gather(1, asked)], 1)


def gru(width: int) -> Recurrent:
    """Return the recurrent network: one layer."""
    return layers.GRU(width, UNITS)


def transformer(width: int, steps: int = MOST_STEPS) -> Recurrent:
    """Return two blocks of a Transformer, each of which sees all steps so far."""
    return layers.build(layers.parse(f"attention:{UNITS}x2:block"), width, window=steps)


def seconds(layer: Recurrent, steps: int) -> float:
    """Return the CPU time of a forward and a backward pass: the shorter of two."""
    x, taken = torch.randn(4, steps, layer.input_size), []
    for _ in range(2):
        began = time.process_time()
        torch.autograd.backward(layer(x)[0].sum())
        taken.append(time.process_time() - began)
    return min(taken)


def train_and_test(
    layer: Callable[[int], Recurrent], *, length: int, pairs: int, updates: int, seed: int
) -> dict[str, list[float]]:
    """Return accuracies on parity up to four times as long, and on recall of up to all pairs."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    keeper = Reader(2, 2, layer=layer, every=True)
    learn(keeper, lambda: parities(32, length, generator), updates=updates)
    finder = Reader(2 * KEYS, KEYS, layer=layer, every=True, numbers=True)
    learn(finder, lambda: recalls(32, pairs, generator), updates=updates)
    return {
        "parity": [accuracy(keeper, *parities(200, k * length, generator)) for k in (1, 2, 4)],
        "recall": [accuracy(finder, *recalls(200, pairs // k, generator)) for k in (1, 2, 4)],
    }


def run(seed: int, *, length: int, pairs: int, updates: int) -> Outcome:
    """Train both on both tasks, and time both by length."""
    options = {"length": length, "pairs": pairs, "updates": updates, "seed": seed}
    right = {
        "GRU": train_and_test(gru, **options),
        "Transformer": train_and_test(transformer, **options),
    }
    taken = {
        "GRU": [seconds(gru(UNITS), steps) for steps in TIMED],
        "Transformer": [seconds(transformer(UNITS, steps), steps) for steps in TIMED],
    }
    details = {
        "accuracy": right,
        "steps": {"parity": [length, 2 * length, 4 * length]}
        | {"recall": [2 * (pairs // k) for k in (1, 2, 4)]},
        "seconds": taken,
    }
    return Outcome(
        min(right["GRU"]["parity"][0], right["Transformer"]["recall"][0]),
        max(right["GRU"]["recall"][0], right["Transformer"]["parity"][0]),
        details,
    )


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint accuracies by length, and times by length."""
    for color, name in ((picture.BLUE, "GRU"), (picture.ORANGE, "Transformer")):
        for task, line in (("parity", "o-"), ("recall", "s--")):
            label: str | None = f"{name}, {task}"
            for outcome in outcomes:
                steps, right = outcome.details["steps"][task], outcome.details["accuracy"]
                axes[0].semilogx(steps, right[name][task], line, color=color, label=label)
                label = None
        label = name
        for outcome in outcomes:
            axes[1].loglog(TIMED, outcome.details["seconds"][name], ".-", color=color, label=label)
            label = None
    ticks = sorted({step for each in outcomes[0].details["steps"].values() for step in each})
    axes[0].set_xticks(ticks, [str(step) for step in ticks])
    axes[0].set_xticks([], minor=True)
    axes[0].set(xlabel="steps of the test", ylabel="accuracy", ylim=(0, 1.05))
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    axes[1].set_xticks(TIMED, [str(step) for step in TIMED])
    axes[1].set_xticks([], minor=True)
    axes[1].set(xlabel="steps", ylabel="CPU time of an update, seconds")
    axes[1].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


EXPERIMENT = Experiment(
    name="alternatives",
    section="build-up",
    claim="Neither a recurrent network nor a Transformer is the better one. A small GRU keeps "
    "track of parity, also at four times the length, and fails to look up pairs; a small "
    "Transformer looks them up and fails at parity.",
    question=Question(
        "A small GRU and a small Transformer get 200 updates for each of two tasks. Task 1: is the "
        "number of ones so far odd? Task 2: eight pairs are shown, then keys; what is the value of "
        "each? Which of them wins?",
        (
            "the Transformer wins both: it sees all steps",
            "the GRU wins both: it is made for sequences",
            "the GRU wins the first, the Transformer the second",
        ),
        2,
    ),
    figure="accuracy of each on its own task, the lower of the two: GRU parity, Transformer recall",
    interval=(0.9, 1.0),
    control="the tasks exchanged, the higher of the two: GRU recall, Transformer parity",
    run=run,
    draw=draw,
    columns=2,
    meaning="What has to be updated at every step suits a state; what has to be looked up among "
    "much suits attention. Both are so at these sizes, after equal updates; it is no proof that "
    "the other never could. Time by length tells them apart as well: a state costs the same at "
    "every step, attention more with each step that it can see.",
    page="The page has Transformers replace RNNs, and calls RNNs slow for going step by step. It "
    "never says what recurrence does better: to keep track, beyond the length it was trained on, "
    "at a cost that does not grow. Which is slower depends on the length and on the machine.",
    knobs={
        "length": Knob(16, "bits in training, tested up to four times as many", least=4, most=16),
        "pairs": Knob(8, "pairs to be looked up", least=4, most=16),
        "updates": Knob(200, "updates of the weights", least=1, most=800),
    },
    quick={"updates": 2, "length": 4, "pairs": 4},
)
