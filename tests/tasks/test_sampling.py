"""Drawing symbols: supports, frequencies, seeds, and the state that is carried."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from throughtime.data.findings import Findings
from throughtime.data.text import Text
from throughtime.errors import OptionError
from throughtime.model import SequenceModel
from throughtime.tasks.language import LanguageOptions, LanguageTask
from throughtime.tasks.sampling import draw, generate


@pytest.fixture(scope="module")
def trained():
    task = LanguageTask.fit(
        Text("words", ("the wheel barrow and the rain\n" * 9,), False, Findings()),
        LanguageOptions(),
    )
    torch.manual_seed(0)
    model = SequenceModel(task.model_config("lstm:9x2", embedding=5, dropout=0.3))
    with torch.no_grad():
        model.head.weight *= 9
    return task, model


def said(trained, prompt="the", **options):
    return "".join(generate(*trained, prompt, **{"length": 40} | options))


def draws(logits, count=4000, *, temperature=1.0, top_k=None, top_p=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = [draw(logits, temperature, top_k, top_p, generator) for _ in range(count)]
    return np.bincount(found, minlength=len(logits))


LOGITS = torch.tensor([0.3, 2.0, -1.0, 1.2, 0.9])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_frequencies_are_those_of_softmax(temperature):
    expected = torch.softmax(LOGITS.double() / temperature, 0).numpy()
    assert chisquare(draws(LOGITS, temperature=temperature), 4000 * expected).pvalue > 1e-3
    other = torch.softmax(LOGITS.double() / (temperature * 2), 0).numpy()
    assert chisquare(draws(LOGITS, temperature=temperature), 4000 * other).pvalue < 1e-3


@pytest.mark.parametrize("k", [1, 2, 4, 5, 99])
def test_top_k_draws_among_the_k_most_likely(k):
    counts = draws(LOGITS, 2000, top_k=k)
    likely = torch.softmax(LOGITS.double(), 0)
    kept = torch.zeros(5, dtype=torch.bool)
    kept[LOGITS.argsort(descending=True)[:k]] = True
    assert ((counts > 0) == kept.numpy()).all()
    wanted = (likely * kept / (likely * kept).sum())[kept].numpy()
    if k > 1:
        assert chisquare(counts[kept.numpy()], 2000 * wanted).pvalue > 1e-3


# The shares in order: .46 .21 .15 .08 ..., so they add up to .48, .70, .86, .94, 1.
@pytest.mark.parametrize(("p", "kept"), [(0.01, 1), (0.4, 1), (0.6, 2), (0.8, 3), (1.0, 5)])
def test_top_p_draws_among_the_fewest_that_have_the_share(p, kept):
    ordered = torch.softmax(LOGITS.double(), 0).sort(descending=True)
    assert int((ordered.values.cumsum(0) < p).sum()) + 1 == kept or p == 1.0
    counts = draws(LOGITS, 3000, top_p=p)
    assert sorted(np.flatnonzero(counts)) == sorted(ordered.indices[:kept].tolist())


def test_both_at_once_keep_what_both_keep():
    assert np.flatnonzero(draws(LOGITS, 1000, top_k=3, top_p=0.6)).tolist() == [1, 3]
    assert np.flatnonzero(draws(LOGITS, 1000, top_k=1, top_p=0.99)).tolist() == [1]


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=9),
    st.sampled_from([0.0, 1e-300, 1e-30, 1e-3, 1.0, 1e300]),
    st.one_of(st.none(), st.integers(1, 12)),
    st.one_of(st.none(), st.floats(1e-9, 1.0)),
)
def test_any_logits_and_temperature_give_a_symbol(logits, temperature, top_k, top_p):
    found = draw(torch.tensor(logits), temperature, top_k, top_p, torch.Generator())
    assert 0 <= found < len(logits)
    if temperature <= 1e-30 or top_k == 1:
        assert torch.tensor(logits)[found] == max(torch.tensor(logits))


def test_temperature_zero_takes_the_most_likely_symbol(trained):
    task, model = trained
    prompt = "the"
    for symbol in generate(task, model, "the", length=15, temperature=0.0):
        with torch.no_grad():
            logits = model(torch.from_numpy(task.vocabulary.encode(prompt))[None])[0][0, -1]
        logits[0] = -torch.inf
        assert symbol == task.vocabulary.symbols[int(logits.argmax())]
        prompt += symbol
    assert said(trained, temperature=0.0) == said(trained, temperature=0.0, seed=9)


def test_the_carried_state_is_that_of_the_whole_text(trained):
    """Each symbol is drawn as if the model had read everything before it anew."""
    task, model = trained
    generator = torch.Generator().manual_seed(3)
    prompt = "and the"
    for symbol in generate(task, model, prompt, length=25, seed=3, temperature=0.8, top_p=0.9):
        with torch.no_grad():
            logits = model(torch.from_numpy(task.vocabulary.encode(prompt))[None])[0][0, -1]
        logits[0] = -torch.inf
        assert symbol == task.vocabulary.symbols[draw(logits, 0.8, None, 0.9, generator)]
        prompt += symbol


def test_seeds_decide_and_nothing_else(trained):
    first = said(trained, seed=1)
    before = torch.get_rng_state()
    torch.rand(3)
    state = torch.get_rng_state()
    assert said(trained, seed=1) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(before, state)
    assert said(trained, seed=2) != first
    assert len(first) == 40
    assert said(trained, length=0) == ""


def test_the_unknown_symbol_is_read_but_never_drawn(trained):
    task, model = trained
    with torch.no_grad():
        kept = model.head.bias.clone()
        model.head.bias[0] = 1e4
        found = said(trained, "né", length=200, temperature=3.0)
        model.head.bias.copy_(kept)
    assert "\ufffd" not in found
    assert set(found) <= set(task.vocabulary.symbols)


def test_gradients_of_the_reader_are_as_they_were(trained):
    """Between two symbols the caller's own gradients work."""
    assert torch.is_grad_enabled()
    for _ in generate(*trained, "the", length=3):
        assert torch.is_grad_enabled()
    left = generate(*trained, "the", length=3)
    next(left)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": ""}, "a prompt of one symbol or more"),
        ({"length": -1}, "a length of 0 or more, got -1"),
        ({"temperature": -0.1}, "a temperature of 0 or more"),
        ({"temperature": float("inf")}, "a temperature of 0 or more"),
        ({"temperature": float("nan")}, "a temperature of 0 or more"),
        ({"top_k": 0}, "top-k of 1 or more"),
        ({"top_p": 0.0}, "top-p above 0"),
        ({"top_p": 1.1}, "top-p above 0"),
    ],
)
def test_impossible_options_are_refused_at_once(trained, options, message):
    with pytest.raises(OptionError, match=message):
        generate(*trained, **{"prompt": "the"} | options)
