"""How good a forecaster looks when it is judged in time order, and when it is not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from throughtime.data.demos import open_demo
from throughtime.inspect.picture import BLUE, ORANGE
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.lab.small import Reader, learn
from throughtime.tasks.baselines import Baseline, last_value, ridge, seasonal_naive
from throughtime.tasks.metrics import Split
from throughtime.tasks.scaling import fit_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAST, AHEAD, SEASON, EVERY = 24, 12, 11, 20


def series() -> Split:
    """Return the yearly sunspot numbers, 70 / 15 / 15 per cent in time order."""
    table = open_demo("demo:sunspots")
    assert isinstance(table, pl.DataFrame)
    y = table["sunspots"].to_numpy().astype(float)
    first, second = int(0.7 * len(y)), int(0.85 * len(y))
    return Split(y, slice(0, first), slice(first, second))


def windows(split: Split) -> tuple[Tensor, Tensor]:
    """Return each stretch of 24 past years (N, 24, 1), scaled, and the 12 after it (N, 12)."""
    # The scale is that of the training years: any other would tell of the future.
    scale = fit_scale(split.y[split.train])
    values = torch.from_numpy((split.y - scale.location) / scale.scale).float()
    both = values.unfold(0, PAST + AHEAD, 1)
    return both[:, :PAST, None], both[:, PAST:]


def in_time_order(split: Split) -> tuple[Tensor, Tensor, Tensor]:
    """Return windows of each part: all that a part's windows are to forecast lies in it alone."""
    first, second = split.validation.start, split.validation.stop
    begin = torch.arange(len(split.y) - PAST - AHEAD + 1)
    ahead, end = begin + PAST, begin + PAST + AHEAD
    return (
        begin[end <= first],
        begin[(ahead >= first) & (end <= second)],
        begin[ahead >= second],
    )


def shuffled(split: Split, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same windows dealt out at random, as `train_test_split` does by default."""
    parts = [len(part) for part in in_time_order(split)]
    dealt = torch.randperm(len(split.y) - PAST - AHEAD + 1, generator=generator)
    train, validation, test, _ = torch.split(dealt, [*parts, len(dealt) - sum(parts)])
    return train, validation, test


def baseline_error(baseline: Baseline, split: Split, chosen: Tensor) -> float:
    """Return the mean absolute error of a baseline on windows, in the training part's scale."""
    rows = chosen[:, None].numpy() + PAST + np.arange(AHEAD)
    # Row t of column k is the forecast of y[t] that was made k + 1 steps before.
    errors = np.abs(baseline.mean[0][rows, np.arange(AHEAD)] - split.y[rows])
    return float(errors.mean()) / fit_scale(split.y[split.train]).scale


def network_errors(
    seed: int, split: Split, parts: tuple[Tensor, Tensor, Tensor], updates: int
) -> tuple[list[float], list[float]]:
    """Train a GRU; return its errors on validation and on test, every so many updates."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    past, ahead = windows(split)
    train, *judged = parts
    model = Reader(1, AHEAD, layer="gru:32", numbers=True)
    errors: tuple[list[float], list[float]] = ([], [])

    def sample() -> tuple[Tensor, Tensor]:
        chosen = train[torch.randint(len(train), (32,), generator=generator)]
        return past[chosen], ahead[chosen]

    def watch(update: int, loss: float) -> bool:
        if update % EVERY == 0:
            with torch.no_grad():
                for found, part in zip(errors, judged, strict=True):
                    found.append(float(l1_loss(model(past[part]), ahead[part])))
        return False

    learn(model, sample, updates=updates, loss=l1_loss, rate=1e-2, watch=watch)
    return errors


def run(seed: int, *, updates: int) -> Outcome:
    """Judge a GRU and three baselines in time order, and on windows dealt out at random."""
    split = series()
    baselines = (
        last_value([split], horizon=AHEAD),
        seasonal_naive([split], SEASON, horizon=AHEAD),
        ridge([split], PAST, horizon=AHEAD),
    )
    generator = torch.Generator().manual_seed(seed)
    ways = {"time order": in_time_order(split), "shuffled": shuffled(split, generator)}
    details: dict[str, Any] = {}
    ratio = {}
    for name, parts in ways.items():
        validation, test = network_errors(seed, split, parts, updates)
        stop = validation.index(min(validation))
        beside = {each.name: baseline_error(each, split, parts[2]) for each in baselines}
        ratio[name] = test[stop] / min(beside.values())
        details[name] = {"network": test, "stop": stop, "baselines": beside}
    return Outcome(ratio["time order"], ratio["shuffled"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the network's error by update, where it was stopped, and the best baseline's error."""
    for axis, name in zip(axes, ("time order", "shuffled"), strict=True):
        for number, outcome in enumerate(outcomes):
            found = outcome.details[name]
            network, stop = found["network"], found["stop"]
            updates = [EVERY * (place + 1) for place in range(len(network))]
            said = ("GRU", "stopped here", "best baseline") if number == 0 else (None,) * 3
            axis.plot(updates, network, color=BLUE, alpha=0.7, linewidth=1.2, label=said[0])
            axis.plot(updates[stop], network[stop], "o", color=BLUE, label=said[1])
            best = min(found["baselines"].values())
            axis.axhline(best, linestyle="--", color=ORANGE, alpha=0.8, label=said[2])
        axis.set(
            title=f"windows in {name}" if name == "time order" else "windows dealt out at random",
            xlabel="updates",
            ylabel="mean absolute error on test",
            ylim=(0, 1.3),
        )
    axes[1].legend(loc="upper right")


EXPERIMENT = Experiment(
    name="forecast-honestly",
    section="when and where",
    claim="Judged on the years after those it learned from, a GRU forecasts sunspots about as well "
    "as repeating the last cycle. Judged on windows dealt out at random, the same GRU seems twice "
    "as good as any baseline, because most of each test window was seen in training.",
    question=Question(
        "A GRU forecasts sunspots 12 years ahead from 24. On windows dealt out at random to "
        "training and test, its error is half of the best baseline's. And on later years than it "
        "learned from, with the same baselines?",
        (
            "half as large too: the windows of the test were not in training",
            "about as large as the best baseline's",
            "several times as large: what it has learned is of no use there",
        ),
        1,
    ),
    figure="error of the GRU on test, in times of that of the best baseline, in time order",
    interval=(0.72, 1.4),
    control="the same windows dealt out to training, validation and test at random",
    run=run,
    draw=draw,
    meaning="Split in time order, scale by the training part, and show a last value, a seasonal "
    "naive and a ridge beside each forecast. Stopping by a validation part does not save a "
    "shuffled split: that part leaks as the test does. throughtime's `train` and `evaluate` do all "
    "of this.",
    page="The page says that RNNs are in use for time series, and not how to find out whether they "
    "are worth it.",
    knobs={"updates": Knob(1000, "updates of the weights", least=20, most=4000)},
    quick={"updates": 40},
    columns=2,
)
