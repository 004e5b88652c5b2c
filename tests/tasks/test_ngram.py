import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.errors import OptionError, ShapeError
from throughtime.tasks.ngram import NGram, fit_ngram

SHAKESPEARE = Path(__file__).parents[2].parent / "shared" / "data" / "tinyshakespeare.txt"

V = 4
document = st.lists(st.integers(0, V - 1), max_size=30).map(
    lambda ids: np.array(ids, dtype=np.int64)
)
corpus = st.lists(document, min_size=1, max_size=4).filter(lambda d: any(map(len, d)))


def markov(length: int, seed: int) -> np.ndarray:
    """Symbols of a second-order Markov chain."""
    rng = np.random.default_rng(seed)
    rows = np.random.default_rng(99).dirichlet(np.full(V, 0.3), size=(V, V))
    ids = [0, 0]
    for draw in rng.random(length):
        row = rows[ids[-2], ids[-1]].cumsum()
        ids.append(min(int(np.searchsorted(row, draw)), V - 1))
    return np.array(ids[2:])


class Plain:
    """The same model by dictionaries, one symbol at a time, from the published formulas."""

    def __init__(self, documents: list[np.ndarray], order: int) -> None:
        self.order = order
        occurrences: Counter[tuple[int, ...]] = Counter()
        for ids in documents:
            row = [-1] * order + ids.tolist()
            for end in range(order + 1, len(row) + 1):
                occurrences.update(tuple(row[end - n : end]) for n in range(1, order + 1))
        types = Counter(gram[1:] for gram in occurrences)
        self.followers: dict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
        self.by_length: dict[int, list[int]] = defaultdict(list)
        for gram, count in occurrences.items():
            if len(gram) < order and gram[0] != -1:
                count = types[gram]
            self.followers[gram[:-1]][gram[-1]] = count
            self.by_length[len(gram)].append(count)

    def discount(self, length: int, count: int) -> float:
        n = {i: self.by_length[length].count(i) for i in (1, 2, 3, 4)}
        if not n[1] or not n[2]:
            return 0.5
        y = n[1] / (n[1] + 2 * n[2])
        i = min(count, 3)
        found = i - (i + 1) * y * n[i + 1] / n[i] if n[i] else y
        return min(max(found, 0.05), float(i))

    def probability(self, context: tuple[int, ...], symbol: int, length: int) -> float:
        lower = self.probability(context[1:], symbol, length - 1) if length > 1 else 1 / V
        followers = self.followers.get(context)
        if not followers:
            return lower
        total = sum(followers.values())
        own = followers.get(symbol, 0)
        share = own - self.discount(length, own) if own else 0.0
        left = sum(self.discount(length, count) for count in followers.values())
        return (share + left * lower) / total

    def log_probabilities(self, ids: np.ndarray) -> list[float]:
        row = (-1,) * self.order + tuple(ids.tolist())
        return [
            math.log(self.probability(row[end - self.order + 1 : end], row[end], self.order))
            for end in range(self.order, len(row))
        ]


@settings(deadline=None)
@given(documents=corpus, new=document, order=st.integers(1, 4))
def test_agrees_with_the_plain_model(
    documents: list[np.ndarray], new: np.ndarray, order: int
) -> None:
    found = fit_ngram(documents, V, order=order).log_probabilities(new)
    np.testing.assert_allclose(found, Plain(documents, order).log_probabilities(new), rtol=1e-9)


def test_agrees_with_the_plain_model_where_all_discounts_are_estimated() -> None:
    documents, new = [markov(700, 0), markov(40, 1)], markov(300, 2)
    plain = Plain(documents, 5)
    assert len({plain.discount(5, count) for count in (1, 2, 3)}) == 3
    found = fit_ngram(documents, V, order=5).log_probabilities(new)
    np.testing.assert_allclose(found, plain.log_probabilities(new), rtol=1e-9)


@settings(deadline=None)
@given(documents=corpus, context=document, order=st.integers(1, 6))
def test_probabilities_sum_to_one(
    documents: list[np.ndarray], context: np.ndarray, order: int
) -> None:
    model = fit_ngram(documents, V, order=order)
    found = model.distribution(context)
    assert found.shape == (V,)
    assert (found > 0).all()
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    symbol = int(found.argmax())
    scored = model.log_probabilities(np.append(context, symbol))[-1]
    assert scored == pytest.approx(math.log(found[symbol]), abs=1e-12)


def test_comes_near_the_entropy_of_a_markov_chain_and_finds_its_order() -> None:
    train, new = markov(20_000, 0), markov(5_000, 1)
    rows = np.random.default_rng(99).dirichlet(np.full(V, 0.3), size=(V, V))
    best = -np.log(rows[new[:-2], new[1:-1], new[2:]]).mean()
    model = fit_ngram([train], V)
    assert model.order == 3
    assert model.nats([new]) == pytest.approx(best, abs=0.01)
    assert fit_ngram([train], V, order=1).nats([new]) > best + 0.1


def test_documents_do_not_know_each_other() -> None:
    documents = [markov(n, n) for n in (40, 1, 17)]
    model = fit_ngram([markov(500, 5), markov(60, 6)], V, order=4)
    apart = [model.log_probabilities(ids) for ids in documents]
    together = np.concatenate([scores[1:] for scores in apart])
    assert model.nats(documents) == pytest.approx(-together.mean())
    again = fit_ngram([markov(60, 6), np.zeros(0, dtype=np.int64), markov(500, 5)], V, order=4)
    assert again.nats(documents) == pytest.approx(model.nats(documents))


def test_the_start_of_a_document_is_a_context() -> None:
    # every document begins 0 1, and nowhere else does 1 follow 0
    documents = [np.array([0, 1, 2, 0, 2, 0, 2]) for _ in range(50)]
    model = fit_ngram(documents, V, order=3)
    assert model.distribution(np.zeros(0, dtype=np.int64))[0] > 0.95
    assert model.distribution(np.array([0]))[1] > 0.95
    assert model.distribution(np.array([0, 1, 2, 0]))[2] > 0.95


def test_unigram_is_the_frequency_of_symbols() -> None:
    model = fit_ngram([np.array([0] * 600 + [1] * 300 + [2] * 100)], V, order=1)
    np.testing.assert_allclose(model.distribution(np.array([3])), [0.6, 0.3, 0.1, 0.0], atol=1e-3)


@pytest.mark.parametrize("ids", [[0], [0, 1], [0, 1, 2]])
def test_short_training_parts_do_not_fail(ids: list[int]) -> None:
    model = fit_ngram([np.array(ids)], V)
    assert isinstance(model, NGram)
    assert math.isfinite(model.nats([np.array([0, 3, 1])]))


def test_wrong_use_is_refused() -> None:
    with pytest.raises(OptionError, match="got none"):
        fit_ngram([], V)
    with pytest.raises(OptionError, match="at least 1"):
        fit_ngram([np.array([0])], V, order=0)
    for ids in ([0, V], [-1]):
        with pytest.raises(OptionError, match="expected symbol numbers 0 to 3"):
            fit_ngram([np.array(ids)], V, order=2)
    model = fit_ngram([np.array([0, 1])], V, order=2)
    with pytest.raises(OptionError, match="got 9"):
        model.log_probabilities(np.array([9]))
    with pytest.raises(ShapeError, match="float64"):
        model.nats([np.zeros(3)])


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="needs ../shared/data/tinyshakespeare.txt")
def test_shakespeare_to_order_four() -> None:
    ids = np.frombuffer(SHAKESPEARE.read_bytes(), dtype=np.uint8).astype(np.int64)
    cut = int(0.9 * ids.size)
    model = fit_ngram([ids[:cut]], 256, order=4)
    # an upper bound far below the unigram's 3.35 nats; order 4 reaches 1.72
    assert model.nats([ids[cut:]]) < 1.75
