"""How much of its state a trained network replaces at each step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

import throughtime as tt
from throughtime.inspect.picture import BLUE, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, accuracy, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SYMBOLS = 8
Task = Callable[[int], tuple[Tensor, Tensor]]


def give_back(length: int, delay: int, g: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Return symbols (B, T), and at each step the symbol `delay` steps before it; -1 is none."""
    symbols = torch.randint(0, SYMBOLS, (count, length), generator=g)
    answers = symbols.roll(delay, 1)
    answers[:, :delay] = -1
    return symbols, answers


def keep_first(length: int, g: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Return symbols (B, T), and at each step the first symbol."""
    symbols = torch.randint(0, SYMBOLS, (count, length), generator=g)
    return symbols, symbols[:, :1].expand(count, length)


@torch.no_grad()
def change(model: Reader, symbols: Tensor) -> Tensor:
    """Return how much of the state a step replaces, |h_t - h_{t-1}| / |h_{t-1}|, (T - 1,)."""
    h, _ = model.layer(model.encoder(symbols))
    ratio = (h[:, 1:] - h[:, :-1]).norm(dim=2) / h[:, :-1].norm(dim=2)
    return torch.quantile(ratio, 0.5, dim=0)


def run(seed: int, *, length: int, delay: int, updates: int) -> Outcome:
    """Train the same GRU for two tasks, and watch its state at each step."""
    generator = torch.Generator().manual_seed(seed)
    tasks: dict[str, Task] = {
        f"give back the symbol {delay} steps ago": partial(give_back, length, delay, generator),
        "keep the first symbol": partial(keep_first, length, generator),
    }
    changes, right = {}, {}
    for name, task in tasks.items():
        torch.manual_seed(seed)
        model = Reader(SYMBOLS, SYMBOLS, layer=lambda size: tt.GRU(size, 64, memory=8), every=True)
        learn(model, partial(task, 32), updates=updates, rate=1e-2)
        symbols, answers = task(500)
        right[name] = accuracy(model, symbols, answers)
        changes[name] = change(model, symbols).tolist()
    written, kept = (
        sum(each[length // 2 :]) / len(each[length // 2 :]) for each in changes.values()
    )
    return Outcome(written, kept, {"change": changes, "accuracy": right})


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how much of the state each step replaces, for both tasks."""
    for number, outcome in enumerate(outcomes):
        for colour, (name, change) in zip(
            (BLUE, ORANGE), outcome.details["change"].items(), strict=True
        ):
            label = None if number else name
            axes[0].plot(range(1, len(change) + 1), change, color=colour, alpha=0.75, label=label)
    axes[0].set(
        xlabel="step",
        ylabel="change of the state in a step,\nshare of its length",
        ylim=(0, None),
    )
    axes[0].legend()


EXPERIMENT = Experiment(
    name="fixed-memory",
    section="myths",
    claim="The state is no fixed memory: each step may write all of it anew. How much it writes is "
    "learned, from more than all of the state to a few per cent of it.",
    question=Question(
        "A GRU has learned to give back, at each step, the symbol of three steps ago. How far does "
        "a step move its state, measured by the length of the state itself?",
        ("hardly: it has to remember", "by about a tenth of it", "by about all of it"),
        2,
    ),
    figure="how far a step moves the state, in lengths of the state (later half of the steps)",
    interval=(0.4, 1.5),
    control="the same GRU, trained to keep the first symbol only",
    run=run,
    draw=draw,
    meaning="To remember is not to leave the state alone: what is to be given back later moves "
    "through the state from step to step. Where one thing is to be kept, training shuts the gates "
    "and the state all but stands still. A network that needs both must find units for both.",
    page="The page says that the state changes continuously. It changes in steps, and by how "
    "much is up to the task: the same GRU moves by a few per cent where it is trained to keep.",
    knobs={
        "length": Knob(24, "symbols in a sequence", least=6, most=60),
        "delay": Knob(3, "how many steps ago the symbol came", least=1, most=5),
        "updates": Knob(400, "updates of the weights", least=1, most=3000),
    },
    quick={"length": 8, "updates": 5},
)
