"""A language run without torch: from text to symbols, and from outputs to surprise.

Rows and symbols are those of every other way of running it (`stream.text_rows`, `data.text`).
"""

import json
from itertools import pairwise
from typing import Any

import numpy as np

from throughtime.data.text import Vocabulary
from throughtime.errors import BundleError
from throughtime.runtime.config import read_language_options
from throughtime.runtime.layer import Array
from throughtime.runtime.model import Network
from throughtime.stream.text_rows import TextRows


class Language:
    """What a language run is asked for, and its vocabulary.

    Args:
        content: of `task` in `config.json`.
        vocabulary: content of `vocabulary.json`, None where there is none.

    Raises:
        BundleError: the contents are not what a language run writes.
    """

    name = "language"

    def __init__(self, content: dict[str, Any], vocabulary: dict[str, Any] | None) -> None:
        if set(content) != {"name", "options"}:
            raise BundleError(
                "expected the fields name, options as task of config.json, got "
                f"{', '.join(sorted(map(repr, content)))[:300]}; the file is not one that "
                "throughtime wrote"
            )
        mode, self.independent = read_language_options(content["options"])
        self.vocabulary = Vocabulary.from_json(json.dumps(vocabulary))
        if self.vocabulary.mode != mode:
            raise BundleError(
                f"expected a vocabulary in {mode} mode, as config.json has it, got one of "
                f"{self.vocabulary.mode}; the files are not of one model"
            )

    def sizes(self) -> tuple[int, int]:
        """Return V and O that a model for this has."""
        return len(self.vocabulary), len(self.vocabulary)

    def answer(self, network: Network, sample: dict[str, Array]) -> dict[str, Array]:
        """Return the symbols (T,) of a sample, as it was recorded; the model has no part in it."""
        text = "".join(map(chr, sample["text"].tolist()))
        return {"symbols": self.vocabulary.encode(text)}


class TextReader(TextRows):
    """Reads rows of a language run.

    Args:
        task: the run's.
        network: the run's model.
    """

    def __init__(self, task: Language, network: Network) -> None:
        super().__init__(task.vocabulary, task.independent)
        self.network = network

    def begin(self) -> dict[str, Array]:
        """Return the state before a first symbol, of one lane."""
        return self.network.initial_state(1)

    def surprise(self, tape: Array, state: dict[str, Array]) -> tuple[float, dict[str, Array]]:
        """Read a tape of symbols (T + 1,)."""
        total = 0.0
        for now, then in pairwise(tape.tolist()):
            outputs, state = self.network.step(np.array([now], dtype=np.int64), state)
            total += nats(outputs[0], int(then))
        return total, state


def nats(logits: Array, symbol: int) -> float:
    """Return how surprising a symbol is, -log p, from the logits (V,) before it."""
    wide = logits.astype(np.float64)
    top = wide.max()
    return float(np.log(np.exp(wide - top).sum()) + top - wide[symbol])


def probabilities(logits: Array) -> Array:
    """Return the probability of each symbol, (..., V) float64, from logits (..., V)."""
    wide = logits.astype(np.float64)
    shares = np.exp(wide - wide.max(axis=-1, keepdims=True))
    result: Array = shares / shares.sum(axis=-1, keepdims=True)
    return result
