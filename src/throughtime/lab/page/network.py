"""A network small enough to show whole: trained in a blink, and unrolled over a few steps.

It reads letters a and b and says what came four steps ago, so its state has to hold the last four.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from throughtime import inspect
from throughtime.lab.small import Reader, cross_entropy, learn

KINDS = ("rnn", "lstm", "gru")
STEPS = 12
DELAY = 4
UNITS = 8
LETTERS = "ab"
GOOD = 0.02
"""The loss at which training ends: later the gradients are too small to be worth a look."""


def letters(lanes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return letters as numbers -1 and 1, (B, T, 1), and the answers (B, T), -1 where none is."""
    drawn = torch.randint(0, 2, (lanes, STEPS), generator=generator)
    answers = torch.full_like(drawn, -1)
    answers[:, DELAY:] = drawn[:, :-DELAY]
    return drawn[:, :, None] * 2.0 - 1, answers


@cache
def reader(kind: str, trained: bool) -> Reader:
    """Return a network of a kind, as it is made or trained."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Reader(1, 2, layer=f"{kind}:{UNITS}", every=True, numbers=True)
    if trained:
        learn(
            model,
            lambda: letters(32, generator),
            updates=500,
            rate=2e-2,
            watch=lambda update, loss: loss < GOOD,
        )
    return model.eval()


def unrolled(kind: str, *, trained: bool, asked: int, drawn: int = 0) -> dict[str, Any]:
    """Return all that a network computes of one sequence, forward and back, as JSON values.

    Args:
        kind: of the layer.
        trained: whether it has learned the task.
        asked: the step, from 0, whose loss goes back; it has an answer.
        drawn: the seed of the sequence.

    Returns:
        `steps`, each with `letter`, `answer`, `says`, `chance` of what it says, `loss`, `values` by
        name (states and gates) and `gradients` by name of the state; `states`: the names of those,
        what is remembered by first; `asked` and `delay`.
    """
    model = reader(kind, trained)
    x, answers = letters(1, torch.Generator().manual_seed(drawn))
    with torch.no_grad():
        chances = model(x)[0].softmax(-1)
    values = {name.split(".")[-1]: each[0] for name, each in inspect.replay(model, x).items()}
    gradients = inspect.state_gradients(
        model.layer, x, lambda y: cross_entropy(model.head(y)[:, asked], answers[:, asked])
    )
    return {
        "kind": kind,
        "asked": asked,
        "delay": DELAY,
        "states": sorted(gradients),
        "steps": [
            {
                "letter": LETTERS[int(x[0, t, 0] > 0)],
                "answer": None if answers[0, t] < 0 else LETTERS[int(answers[0, t])],
                "says": LETTERS[int(chances[t].argmax())],
                "chance": float(chances[t].max()),
                "loss": None if answers[0, t] < 0 else -float(chances[t, answers[0, t]].log()),
                "values": {name: each[t].tolist() for name, each in values.items()},
                "gradients": {name: each[0, t].tolist() for name, each in gradients.items()},
            }
            for t in range(STEPS)
        ],
    }
