"""What the best single choice of a model loses on the task that suits it least."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from throughtime.inspect.picture import BLUE, GREY, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, Transformer, accuracy, games, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS, LANES = 16, 64
SIZE = (2 * KINDS) ** 0.5
"""Of a one among 31 zeros, so that an input has a mean square of about one."""
Sequences = tuple[Tensor, Tensor]
Task = Callable[[int, torch.Generator], Sequences]
TASKS, MODELS = ("follow a ball", "look up a pair"), ("GRU", "Transformer")


def follow(length: int, count: int, generator: torch.Generator) -> Sequences:
    """Return moves (B, T, 32) that swap two of three cups or none, and where the ball is (B, T)."""
    moves, cups = games(count, length, generator)
    return SIZE * one_hot(moves, 2 * KINDS), cups


def recall(pairs: int, count: int, generator: torch.Generator) -> Sequences:
    """Return pairs of a key and a value and then a key (B, T, 32), and its value at the end."""
    keys = torch.rand(count, KINDS, generator=generator).argsort(1)[:, :pairs]
    values = torch.randint(0, KINDS, (count, pairs), generator=generator)
    asked = torch.randint(0, pairs, (count, 1), generator=generator)
    read = torch.cat([one_hot(keys, KINDS), one_hot(values, KINDS)], 2)
    cue = nn.functional.pad(one_hot(keys.gather(1, asked), KINDS), (0, KINDS))
    answers = torch.full((count, pairs + 1), -1)
    answers[:, -1:] = values.gather(1, asked)
    return SIZE * torch.cat([read, cue], 1), answers


def score(name: str, task: Task, seed: int, updates: int) -> float:
    """Train a model on a task, and return its accuracy on new sequences of it."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    if name == "GRU":
        # As many parameters as the Transformer has, 18.8 thousand against 18.7.
        model: nn.Module = Reader(2 * KINDS, KINDS, layer="gru:62", every=True, numbers=True)
    else:
        model = Transformer(nn.Linear(2 * KINDS, 32), KINDS, 32)
    rate = 1e-2 if name == "GRU" else 2e-3
    learn(model, partial(task, LANES, generator), updates=updates, rate=rate)
    return accuracy(model, *task(1000, generator))


def loss_of_the_best_choice(scores: dict[str, dict[str, float]]) -> float:
    """Return the least that a model falls behind, where it falls behind most, by task and model."""
    return min(max(max(of.values()) - of[model] for of in scores.values()) for model in MODELS)


def run(seed: int, *, length: int, pairs: int, updates: int) -> Outcome:
    """Train both models on both tasks, long and short, under the same budget."""
    long = dict(zip(TASKS, (partial(follow, length), partial(recall, pairs)), strict=True))
    short = dict(zip(TASKS, (partial(follow, 2), partial(recall, 1)), strict=True))
    scores = [
        {
            name: {model: score(model, task, seed, budget) for model in MODELS}
            for name, task in tasks.items()
        }
        for tasks, budget in ((long, updates), (short, updates // 2))
    ]
    losses = [loss_of_the_best_choice(each) for each in scores]
    return Outcome(losses[0], losses[1], {"long": scores[0], "short": scores[1]})


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the accuracy of both models on both tasks, long and short."""
    for axis, size in zip(axes, ("long", "short"), strict=True):
        for number, outcome in enumerate(outcomes):
            for colour, model in zip((BLUE, ORANGE), MODELS, strict=True):
                scores = [outcome.details[size][task][model] for task in TASKS]
                label = None if number else model
                axis.plot(TASKS, scores, "o-", color=colour, alpha=0.7, label=label)
        axis.plot(TASKS, (1 / 3, 1 / KINDS), "_", color=GREY, markersize=30)
        axis.set(title=f"{size} sequences", ylabel="accuracy", ylim=(0, 1.05), xlim=(-0.4, 1.4))
    axes[0].legend(loc="lower left")


EXPERIMENT = Experiment(
    name="always-best",
    section="myths",
    claim="No one model is always best: with the same number of parameters and of updates a GRU "
    "wins where a state is to be followed, a Transformer where a pair is to be looked up, and "
    "whichever of the two is chosen falls far behind on one of the tasks.",
    question=Question(
        "A GRU and a Transformer of the same size learn two tasks: where a ball is after each of "
        "20 swaps of cups, and which value went with one of six keys. You may take only one of "
        "them. What do you lose?",
        (
            "nothing, with the Transformer: it is the newer model",
            "a few per cent at most, with either",
            "a third or more of the accuracy on one task, with either",
        ),
        2,
    ),
    figure="accuracy by which the better single choice falls behind on its worse task",
    interval=(0.35, 0.65),
    control="the same tasks made short, 2 moves and 1 key, with half of the updates",
    run=run,
    draw=draw,
    meaning="Ask what the task needs: a state that changes with each input, or a look back at any "
    "one of many things. Try both on your data under one budget, with several seeds; a comparison "
    "on one task, or on one that is too easy, shows no difference. Layers of both kinds can be "
    "stacked, as in `gru:64+attention:64`.",
    page="The page is right that RNNs are not always best, and makes it sound as if Transformers "
    "were: it names no task that they lose.",
    knobs={
        "length": Knob(20, "moves of the cups", least=2, most=40),
        "pairs": Knob(6, "pairs of a key and a value", least=1, most=12),
        "updates": Knob(300, "updates of the weights", least=1, most=1000),
    },
    quick={"length": 6, "pairs": 2, "updates": 5},
    columns=2,
)
