"""Interpolated n-gram language models: what a trained network on text has to beat.

Fitted by sorting instead of looping, so that a million symbols take seconds. The documents are
arrays of symbol numbers, from `data.text`; a context never reaches into the document before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from throughtime.errors import OptionError, ShapeError
from throughtime.tasks.metrics import nats

Array = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

HELD_OUT = 0.1
"""Share of the training part, at its end, on which the order is chosen."""


@dataclass(frozen=True)
class _Table:
    """Discounted shares of grams, and what that leaves of their contexts for lower orders.

    Attributes:
        share: `max(a - D, 0) / sum a` of each gram (G,).
        left: what the discounts took from each context (C,), of one.
    """

    share: Array
    left: Array


@dataclass(frozen=True)
class _Level:
    """All grams of one length that training saw.

    A gram is named by its place in `keys`; its key is made of the name of the gram without its last
    symbol, which is its context and a gram of the level below, and of that symbol.

    Attributes:
        keys: sorted keys (G,).
        highest: the table for use as the highest order, from how often each gram occurs.
        lower: the table for use as a lower order, from how many symbols each gram follows.
    """

    keys: Ids
    highest: _Table
    lower: _Table


@dataclass(frozen=True)
class NGram:
    """Modified Kneser-Ney interpolation of orders 1 to `order` (Chen and Goodman 1999).

    With `a(h x)` the count of symbol x after context h, and h' the context without its oldest
    symbol,

    `P(x | h) = max(a(h x) - D, 0) / sum_x a(h x) + left(h) P(x | h')`

    where D depends on whether the count is 1, 2 or more, and `left(h)` is what the discounts took
    away, so that the probabilities sum to one. In the highest order the count is how often the gram
    occurs; in lower orders, how many different symbols it follows (Kneser and Ney 1995). Below
    order 1 is the uniform distribution, so that no symbol has probability zero.

    Made by `fit_ngram`.

    Attributes:
        vocabulary_size: symbols are numbered 0 to this, excluded.
        order: symbols in the longest gram; 1 for a unigram.
    """

    vocabulary_size: int
    order: int
    levels: tuple[_Level, ...]

    def log_probabilities(self, document: np.ndarray) -> Array:
        """Natural log-probability (T,) of each symbol (T,) after those before it.

        The first symbol is predicted from the start of a document.

        Raises:
            ShapeError: the document is not one row of symbol numbers.
            OptionError: a symbol number is not in the vocabulary.
        """
        return self._by_order([document])[self.order - 1]

    def nats(self, documents: Sequence[np.ndarray]) -> float:
        """Cross-entropy in nats for each symbol after the first one of each document.

        First symbols are context only, as they are for a network that reads a symbol and predicts
        the next.
        """
        scores = self._by_order(documents)[self.order - 1]
        return nats(scores[~_firsts(documents)])

    def distribution(self, context: np.ndarray) -> Array:
        """Probabilities (V,) of the symbol after `context` (T,), the whole document so far."""
        # one symbol more than a gram can reach keeps the start mark out of its sight
        reach = np.asarray(context, dtype=np.int64)[-self.order :]
        tails = np.tile(reach, (self.vocabulary_size, 1))
        every = np.arange(self.vocabulary_size, dtype=np.int64)[:, None]
        documents = list(np.concatenate([tails, every], axis=1))
        width = tails.shape[1] + 1
        scores = self._by_order(documents)[self.order - 1]
        found: Array = np.exp(scores[width - 1 :: width])
        return found

    def _by_order(self, documents: Sequence[np.ndarray]) -> list[Array]:
        """Log-probabilities of all symbols in a row, by the models of order 1, 2, ..."""
        symbols, real = _join(documents, self.vocabulary_size, len(self.levels))
        base = self.vocabulary_size + 1
        lower = np.full(symbols.size, 1.0 / self.vocabulary_size)
        context = np.zeros(symbols.size, dtype=np.int64)
        results = []
        for level in self.levels:
            gram = _find(level.keys, context, symbols, base)
            results.append(np.log(_mix(level.highest, context, gram, lower))[real])
            lower = _mix(level.lower, context, gram, lower)
            context = _shift(gram)
        return results


def fit_ngram(
    documents: Sequence[np.ndarray],
    vocabulary_size: int,
    *,
    order: int | None = None,
    maximum: int = 8,
) -> NGram:
    """Fit an n-gram model to the training documents.

    Without `order`, the models of order 1 to `maximum` are fitted to the first nine tenths of the
    symbols and the one that is best on the last tenth is fitted again to all of them.

    Args:
        documents: symbol numbers (T,) of each document; none follows from the one before.
        vocabulary_size: symbols are numbered 0 to this, excluded.
        order: symbols in the longest gram; None to choose.
        maximum: highest order to choose from.

    Raises:
        ShapeError: a document is not one row of symbol numbers.
        OptionError: there are no symbols, a number is not in the vocabulary, or an order is below
            1.

    Example:
        >>> document = np.array([0, 1, 2] * 50)
        >>> model = fit_ngram([document], vocabulary_size=3, order=2)
        >>> int(model.distribution(np.array([0, 1])).argmax())
        2
    """
    highest = maximum if order is None else order
    if highest < 1 or vocabulary_size < 1:
        raise OptionError(
            f"expected an order and a vocabulary of at least 1, got {highest} and {vocabulary_size}"
        )
    total = sum(np.size(document) for document in documents)
    if total == 0:
        raise OptionError("expected documents with symbols in them, got none; give training text")
    if order is None:
        order = _choose(documents, vocabulary_size, total, maximum)
    return NGram(vocabulary_size, order, _levels(documents, vocabulary_size, order))


def _choose(documents: Sequence[np.ndarray], vocabulary_size: int, total: int, maximum: int) -> int:
    """The order that is best on the tail of the documents."""
    left = total - math.ceil(total * HELD_OUT)
    fit, held_out = [], []
    for document in documents:
        kept = min(left, len(document))
        fit.append(document[:kept])
        held_out.append(document[kept:])
        left -= kept
    tail = [document for document in held_out if len(document) > 1]
    head = [document for document in fit if len(document)]
    if not tail or not head:
        return 1
    model = NGram(vocabulary_size, maximum, _levels(head, vocabulary_size, maximum))
    scored = ~_firsts(tail)
    scores = [nats(result[scored]) for result in model._by_order(tail)]
    return 1 + int(np.argmin(scores))


def _join(
    documents: Sequence[np.ndarray], vocabulary_size: int, order: int
) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """All documents in a row, each after `order` start marks; and which places are no mark.

    The mark is number `vocabulary_size`. There are as many as it takes for no gram of a document to
    reach into the one before.
    """
    mark = np.full(order, vocabulary_size, dtype=np.int64)
    pieces = []
    for document in documents:
        ids = np.asarray(document)
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise ShapeError(
                f"expected a document as whole numbers (T,), got {ids.dtype} of shape {ids.shape}; "
                "encode the text with its vocabulary"
            )
        pieces += [mark, ids.astype(np.int64, copy=False)]
    symbols = np.concatenate(pieces) if pieces else mark
    real = np.ones(symbols.size, dtype=np.bool_)
    begin = 0
    for document in documents:
        real[begin : begin + order] = False
        begin += order + len(document)
    outside = real & ((symbols < 0) | (symbols >= vocabulary_size))
    if outside.any():
        raise OptionError(
            f"expected symbol numbers 0 to {vocabulary_size - 1}, got {symbols[outside][0]}; use "
            "the vocabulary that the model was fitted with"
        )
    return symbols, real


def _firsts(documents: Sequence[np.ndarray]) -> npt.NDArray[np.bool_]:
    """Which symbols of the documents in a row are the first of theirs."""
    lengths = np.array([len(document) for document in documents if len(document)], dtype=np.int64)
    firsts = np.zeros(int(lengths.sum()), dtype=np.bool_)
    firsts[np.cumsum(lengths) - lengths] = True
    return firsts


def _levels(
    documents: Sequence[np.ndarray], vocabulary_size: int, order: int
) -> tuple[_Level, ...]:
    symbols, real = _join(documents, vocabulary_size, order)
    base = vocabulary_size + 1
    context = np.zeros(symbols.size, dtype=np.int64)
    contexts = 1
    levels: list[_Level] = []
    below: tuple[Ids, Ids, Ids] | None = None
    for length in range(1, order + 1):
        keys, place, gram = np.unique(
            context * base + symbols, return_index=True, return_inverse=True
        )
        occurrences = np.bincount(gram[real], minlength=keys.size)
        highest = _table(keys // base, occurrences, contexts)
        levels.append(_Level(keys, highest, highest))
        if below is not None:
            # each different gram that ends in a symbol, not a mark, extends one gram of the level
            # below to the left; nothing but marks comes before a mark, so there occurrences count
            lower_gram, lower_context, lower_occurrences = below
            extended = lower_gram[place[keys % base != vocabulary_size]]
            types = np.bincount(extended, minlength=lower_occurrences.size)
            marked = _starts_marked(symbols, lower_gram, types.size, length - 1, vocabulary_size)
            follows = np.where(marked, lower_occurrences, types)
            levels[-2] = _Level(
                levels[-2].keys,
                levels[-2].highest,
                _table(lower_context, follows, levels[-2].highest.left.size),
            )
        below = gram, keys // base, occurrences
        context, contexts = _shift(gram), keys.size
    return tuple(levels)


def _starts_marked(
    symbols: Ids, gram: Ids, grams: int, length: int, mark: int
) -> npt.NDArray[np.bool_]:
    """Which grams (G,) of a length begin with a start mark."""
    oldest = np.full(symbols.size, mark, dtype=np.int64)
    oldest[length - 1 :] = symbols[: symbols.size - length + 1]
    marked = np.zeros(grams, dtype=np.bool_)
    marked[gram] = oldest == mark
    return marked


def _table(context: Ids, counts: Ids, contexts: int) -> _Table:
    """Shares of grams with these counts (G,) in contexts (G,) numbered 0 to `contexts`."""
    taken = np.concatenate([[0.0], _discounts(counts)])[np.minimum(counts, 3)]
    total = np.bincount(context, weights=counts, minlength=contexts)
    # a context that nothing ever followed leaves everything to the lower orders
    left = np.ones(contexts)
    np.divide(np.bincount(context, weights=taken, minlength=contexts), total, left, where=total > 0)
    share = (counts - taken) / np.maximum(total, 1.0)[context]
    return _Table(share, left)


def _discounts(counts: Ids) -> Array:
    """What to take from counts of 1, 2 and 3 or more (3,).

    `D_i = i - (i + 1) Y n_(i+1) / n_i` with `Y = n_1 / (n_1 + 2 n_2)` and `n_i` the number of grams
    with count i (Chen and Goodman 1999). Where these are too few for that, as in a short text or a
    small alphabet, 1/2 is taken, or Y.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)
    if n[0] == 0 or n[1] == 0:
        return np.full(3, 0.5)
    y = n[0] / (n[0] + 2 * n[1])
    found = [i - (i + 1) * y * n[i] / n[i - 1] if n[i - 1] else y for i in (1, 2, 3)]
    taken: Array = np.clip(np.array(found), 0.05, np.array([1.0, 2.0, 3.0]))
    return taken


def _find(keys: Ids, context: Ids, symbols: Ids, base: int) -> Ids:
    """Names (T,) of the grams made of a context and a symbol each; -1 where training saw none."""
    wanted = context * base + symbols
    place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return np.where((context >= 0) & (keys[place] == wanted), place, -1)


def _shift(gram: Ids) -> Ids:
    """The gram that ends just before each place; before the first one are marks, as at it."""
    return np.concatenate([gram[:1], gram[:-1]])


def _mix(table: _Table, context: Ids, gram: Ids, lower: Array) -> Array:
    """Probability (T,) of each gram's last symbol after its context."""
    share = np.where(gram >= 0, table.share[gram], 0.0)
    left = np.where(context >= 0, table.left[context], 1.0)
    return share + left * lower
