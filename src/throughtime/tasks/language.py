"""Language modelling: the next symbol of a text, and text made by drawing symbols.

Symbols are characters or bytes. The model puts out a logit for each symbol of the vocabulary, which
was built from the training part alone.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional

from throughtime.data.splits import TEXT_SPLIT, split_rows
from throughtime.data.text import Mode, Text, Vocabulary, read_text
from throughtime.data.windows import Example
from throughtime.model import ModelConfig, SequenceModel
from throughtime.tasks.metrics import language_metrics
from throughtime.tasks.ngram import fit_ngram
from throughtime.tasks.task import Metrics, Recipe, Task, mean_loss, misfit

_VALIDATION_LANES = 32
_SAMPLE_SYMBOLS = 512


class LanguageOptions(BaseModel):
    """What a language model is asked to be.

    Attributes:
        mode: whether the symbols are characters or bytes.
        fractions: shares of the training and validation symbols, or documents.
        independent: whether documents are sequences of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = "characters"
    fractions: tuple[float, ...] = TEXT_SPLIT
    independent: bool = False


class LanguageTask(Task):
    """Modelling one text.

    Args:
        options: what is asked for.
        vocabulary: the symbols.
    """

    name = "language"
    recipe = Recipe(layer="lstm:384", lanes=32, steps=128, learning_rate=3e-3)
    parts = ("train", "validation")
    route = "text to symbols"

    def __init__(self, options: LanguageOptions, vocabulary: Vocabulary) -> None:
        self.options = options
        self.vocabulary = vocabulary
        self.independent = options.independent

    @classmethod
    def fit(cls, text: Text, options: LanguageOptions) -> "LanguageTask":
        """Build the vocabulary from the training part of a text."""
        options = options.model_copy(update={"independent": text.independent})
        train = _documents(text, options.fractions)[0]
        return cls(options, Vocabulary.from_documents(train, options.mode))

    def model_config(self, layer: str, **options: Any) -> ModelConfig:
        """Return the configuration of a language model."""
        size = len(self.vocabulary)
        return ModelConfig(symbols=size, outputs=size, layer=layer, **options)

    def read(self, source: Any, fractions: tuple[float, ...] | None = None) -> Text:
        """Read a text the way the training text was read: as one text, or as documents."""
        if fractions is not None:
            self.options = self.options.model_copy(update={"fractions": fractions})
        text = read_text(source, mode=self.options.mode)
        return replace(text, independent=self.options.independent)

    def examples(self, data: Text, part: str) -> list[Example]:
        """Return the training text, or the validation text in pieces that start afresh.

        Pieces are much quicker to run side by side; `evaluate` reads the part as it is.
        """
        place = self.parts.index(part)
        found = self._examples(data, place)
        if part == "train" or self.options.independent:
            return found
        (whole,) = found
        pieces = min(_VALIDATION_LANES, -(-len(whole) // 512))
        return [_example(ids) for ids in np.array_split(_ids(whole), pieces) if len(ids) > 1]

    def long_example(self, data: Text) -> Example:
        """Return the whole validation text, or its longest document."""
        return max(self._examples(data, 1), key=len)

    def sample(self, data: Text) -> dict[str, Tensor]:
        """Return the code points of the first symbols of the validation text."""
        text = "".join(_documents(data, self.options.fractions)[1])[:_SAMPLE_SYMBOLS]
        return {"text": torch.tensor([ord(symbol) for symbol in text])}

    def answer(self, model: SequenceModel, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the symbols (T,) of a sample; what a model makes of symbols needs no task."""
        text = "".join(map(chr, sample["text"].tolist()))
        return {"symbols": torch.from_numpy(self.vocabulary.encode(text))}

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy in nats and the number of symbols."""
        total = functional.cross_entropy(
            outputs.flatten(0, 1).float(), targets.flatten(), ignore_index=-1, reduction="sum"
        )
        return total, (targets >= 0).sum()

    def evaluate(self, model: SequenceModel, data: Text) -> dict[str, Metrics]:
        """Return nats, bits and perplexity per symbol of the whole validation part.

        A text is read from its last training symbol on, so that every symbol of the part is scored.
        """
        return {"validation": language_metrics(mean_loss(self, model, self._examples(data, 1)))}

    def baselines(self, data: Text) -> dict[str, dict[str, Metrics]]:
        """Return the figures of the unigram and of the best n-gram."""
        train, validation = (
            [self.vocabulary.encode(document) for document in documents]
            for documents in _documents(data, self.options.fractions)
        )
        if not self.options.independent:
            validation = [np.concatenate([train[-1][-1:], validation[0]])]
        figures = {}
        for order in (1, None):
            model = fit_ngram(train, len(self.vocabulary), order=order)
            scores = [model.log_probabilities(ids)[1:] for ids in validation]
            name = "unigram" if model.order == 1 else f"{model.order}-gram"
            figures[name] = language_metrics(-float(np.concatenate(scores).mean()))
        return {"validation": figures}

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return {"options": self.options.model_dump(mode="json")}

    def vocabulary_json(self) -> dict[str, Any]:
        """Return the vocabulary as JSON values."""
        content: dict[str, Any] = json.loads(self.vocabulary.to_json())
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any], vocabulary: Any) -> "LanguageTask":
        """Make the task that `to_json` and `vocabulary_json` described.

        Raises:
            BundleError: when the content is not what they give.
        """
        try:
            return cls(
                LanguageOptions.model_validate(content["options"]),
                Vocabulary.from_json(json.dumps(vocabulary)),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise misfit(cls.name, error) from None

    def _examples(self, text: Text, place: int) -> list[Example]:
        parts = _documents(text, self.options.fractions)
        encoded = [self.vocabulary.encode(document) for document in parts[place]]
        if not self.options.independent and place:
            before = self.vocabulary.encode(parts[place - 1][-1][-1:])
            encoded[0] = np.concatenate([before, encoded[0]])
        return [_example(ids) for ids in encoded if len(ids) > 1]


def _documents(text: Text, fractions: tuple[float, ...]) -> list[list[str]]:
    """Cut a text into parts: by documents where they are independent, by symbols otherwise."""
    if text.independent:
        parts = split_rows(len(text.documents), fractions)
        return [list(text.documents[part]) for part in parts]
    whole = "".join(text.documents)
    return [[whole[part]] for part in split_rows(len(whole), fractions)]


def _example(ids: np.ndarray) -> Example:
    """Return a sequence of symbols with the next one as the target of each but the last."""
    starts = np.zeros(len(ids) - 1, dtype=bool)
    starts[0] = True
    return Example(ids[:-1], ids[1:], starts)


def _ids(example: Example) -> np.ndarray:
    return np.append(example.inputs, example.targets[-1])
