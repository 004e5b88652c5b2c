"""What a report colours a text by: values of units, surprise, and what mattered for what."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from throughtime import state as states
from throughtime.inspect.report.reading import Units, states_at
from throughtime.model import SequenceModel

BACK = 128
"""Steps back that a symbol's gradients are followed."""
_TOGETHER = 64
"""Later symbols whose gradients are computed side by side."""
_LIKELY = 3


class Follower(NamedTuple):
    """A unit whose value goes with something that can be read off the text.

    Attributes:
        layer: as in `Units`.
        unit: its number.
        follows: what, in words.
        correlation: of the two, over the stretch.
    """

    layer: str
    unit: int
    follows: str
    correlation: float


class TextStretch(NamedTuple):
    """A piece of text that a model has read, and what it made of it.

    Shape letters: T symbols, K steps back.

    Attributes:
        start: how many symbols of the validation part were read before.
        symbols: the T symbols.
        surprise: (T,) nats: minus the logarithm of the probability that each was given.
        likely: for each, the symbols that were likeliest in its place, with their probabilities.
        mattered: (T, K): norm of the gradient of each symbol's log-probability with respect to
            the vector of the symbol k + 1 before; 0 before the beginning.
        units: of each layer.
        followers: units that go with something, the ones that do most first.
    """

    start: int
    symbols: str
    surprise: Tensor
    likely: tuple[tuple[tuple[str, float], ...], ...]
    mattered: Tensor
    units: tuple[Units, ...]
    followers: tuple[Follower, ...]


def surprise(outputs: Tensor, ids: Tensor) -> Tensor:
    """Return nats (T,) of symbols (T,) from the outputs (T, V) before each."""
    chances = outputs.double().log_softmax(1)
    return -chances.gather(1, ids[:, None])[:, 0]


def likely(
    outputs: Tensor, vocabulary: tuple[str, ...]
) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Return the likeliest symbols at each step of outputs (T, V), and their probabilities."""
    best = outputs.double().softmax(1).topk(min(_LIKELY, outputs.shape[1]), dim=1)
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return tuple(
        tuple((vocabulary[place], chance) for place, chance in zip(*row, strict=True))
        for row in rows
    )


def mattered(model: SequenceModel, ids: Tensor, start: int, *, back: int = BACK) -> Tensor:
    """Measure how much each symbol mattered for the probability of each later one.

    Args:
        model: a language model in evaluation mode.
        ids: (L,) int64, of which those from `start` on are asked about.
        start: 1 or more.
        back: K; the state from before is the one that the whole text led to.

    Returns:
        (L - start, K) float64: row t, column k is the norm of the gradient of the log-probability
        of symbol start + t with respect to the vector of the symbol k + 1 before it.
    """
    found = torch.zeros(len(ids) - start, back, dtype=torch.float64)
    begins = range(start, len(ids), _TOGETHER)
    windows = [max(first - back, 0) for first in begins]
    before = states_at(model, ids, windows)
    for number, (first, begin) in enumerate(zip(begins, windows, strict=True)):
        asked = ids[first : first + _TOGETHER]
        lanes = len(asked)
        with torch.no_grad():
            one = model._encode(ids[None, begin : first + lanes - 1])
        x = one.expand(lanes, -1, -1).clone().requires_grad_()
        state = states.take(before, torch.full((lanes,), number))
        with torch.enable_grad():
            y, _ = model.layers(x, state)
            # Lane l is asked about the symbol l after the first, from the step before it.
            last = first - 1 - begin + torch.arange(lanes)
            logits = model.head(y[torch.arange(lanes), last]).log_softmax(1)
            (gradient,) = torch.autograd.grad(logits.gather(1, asked[:, None]).sum(), x)
        norms = torch.linalg.vector_norm(gradient.double(), dim=2)
        places = last[:, None] - torch.arange(back)
        there = norms.gather(1, places.clamp(min=0)).masked_fill(places < 0, 0)
        found[first - start : first - start + lanes] = there
    return found


def followers(symbols: str, units: tuple[Units, ...]) -> tuple[Follower, ...]:
    """Find, for each thing that can be read off a text, the unit that goes with it most."""
    found = []
    for name, values in readable(symbols).items():
        if values.std() == 0:
            continue
        wanted = (values - values.mean()) / values.std()
        best = max(
            (_most_like(wanted, of_layer) for of_layer in units), key=lambda pair: abs(pair[1])
        )
        (layer, unit), correlation = best
        found.append(Follower(layer, unit, name, correlation))
    return tuple(sorted(found, key=lambda each: -abs(each.correlation)))


def readable(symbols: str) -> dict[str, np.ndarray]:
    """Return what a unit could follow in a text: numbers (T,) by what they are."""
    letters = np.array([symbol.isalpha() for symbol in symbols])
    ends = np.array([symbol == "\n" for symbol in symbols])
    return {
        "how long the line is": _since(ends),
        "how long the word is": _since(~letters),
        "the end of a line": ends.astype(float),
        "a space": np.array([symbol == " " for symbol in symbols], dtype=float),
        "a capital": np.array([symbol.isupper() for symbol in symbols], dtype=float),
        "a vowel": np.array([symbol.lower() in "aeiou" for symbol in symbols], dtype=float),
        "punctuation": np.array([symbol in ".,;:!?" for symbol in symbols], dtype=float),
    }


def _since(events: np.ndarray) -> np.ndarray:
    """Return how many steps ago the last event was, 0 at one; counted from step 0 before any."""
    places = np.arange(len(events))
    since: np.ndarray = places - np.maximum.accumulate(np.where(events, places, 0))
    return since.astype(float)


def _most_like(wanted: np.ndarray, units: Units) -> tuple[tuple[str, int], float]:
    values = units.values.double().numpy()
    spread = values.std(0)
    centred = (values - values.mean(0)) / np.where(spread > 0, spread, np.inf)
    correlations = wanted @ centred / len(wanted)
    best = int(np.abs(correlations).argmax())
    return (units.layer, best), float(correlations[best])
