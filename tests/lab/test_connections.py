"""The maths of the experiments on connections and pitfalls, against what is known of it."""

import math
import re
import sys
from itertools import product

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.errors import ThroughtimeError
from throughtime.lab.experiments import (
    beyond_the_training_length,
    fixed_points,
    lyapunov_predicts_gradients,
    markov_chain,
    no_clipping,
    padding,
    shapes,
    state_machine,
    train_deploy_mismatch,
    working_memory,
)
from throughtime.lab.small import Reader


class Blank(nn.Module):
    """Knows nothing: both bits are as likely."""

    def forward(self, given):
        return torch.zeros(*given.shape, 2)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_ones_of_the_even_process_come_in_pairs(generator):
    bits, free = markov_chain.even_process(300, 120, generator)
    for row in bits.tolist():
        # Runs at the ends may be cut.
        inner = re.findall(r"0(1+)(?=0)", "".join(map(str, row)))
        assert all(len(run) % 2 == 0 for run in inner)
    assert bits[~free].all()
    assert float(bits[free].double().mean()) == pytest.approx(1 / 2, abs=0.01)
    assert float(free.double().mean()) == pytest.approx(2 / 3, abs=0.01)


def test_a_chain_of_order_one_needs_the_bits_that_its_chances_say(generator):
    train, _ = markov_chain.even_process(300, 200, generator)
    test, _ = markov_chain.even_process(300, 200, generator)
    # After a 0, a coin. A 1 is as often the first of a pair as the second, so 3 in 4 follow it.
    wanted = 1 / 3 + 2 / 3 * -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert markov_chain.markov_bits(train, test, 1) == pytest.approx(wanted, abs=0.01)
    turns = torch.tensor([0, 1] * 40).expand(9, -1)
    assert markov_chain.markov_bits(turns, turns, 1) == pytest.approx(0, abs=0.01)


def test_contexts_are_the_bits_before_each(generator):
    bits = torch.randint(2, (3, 9), generator=generator)
    found = markov_chain.contexts(bits, 3)
    for row, numbers in zip(bits.tolist(), found.tolist(), strict=True):
        wanted = [sum(row[t - 3 + i] << i for i in range(3)) for t in range(3, 9)]
        assert numbers == wanted


def test_a_network_that_knows_nothing_needs_a_bit_a_bit(generator):
    bits = torch.randint(2, (4, 50), generator=generator)
    assert markov_chain.network_bits(Blank(), bits) == pytest.approx(1)


def test_what_is_asked_of_a_list_is_the_digit_at_the_cue(generator):
    symbols, answers = working_memory.lists(50, 7, generator)
    for *digits, cue, answer in torch.cat([symbols, answers[:, None]], 1).tolist():
        assert digits[cue - working_memory.DIGITS] == answer


def test_recency_is_the_last_less_the_middle():
    assert working_memory.recency([0.5, 0.1, 0.2, 0.3, 0.4, 0.9]) == pytest.approx(0.65)
    assert working_memory.recency([0.4] * 9) == pytest.approx(0)


def test_a_flip_flop_says_the_last_pulse_of_each_line(generator):
    x, bits = fixed_points.flip_flops(5, 30, 0.2, generator)
    for lane, line in product(range(5), range(2)):
        last = None
        for pulse, bit in zip(x[lane, :, line].tolist(), bits[lane, :, line].tolist(), strict=True):
            last = pulse or last
            assert bit == last


def test_two_latches_rest_at_four_points_with_saddles_between(generator):
    model = Reader(2, 2, layer="gru:2", every=True, numbers=True)
    with torch.no_grad():
        for parameter in model.layer.parameters():
            parameter.zero_()
        # Each unit is a latch of its own: n = tanh(3 h), with the reset gate open.
        model.layer.weight_hh[4:] = 3 * torch.eye(2)
        model.layer.bias_ih[:2] = 9
    stable, saddles = fixed_points.resting(model, torch.rand(60, 2) * 2 - 1, generator)
    # Where tanh(3 h) is h.
    edge = 0.99
    for _ in range(100):
        edge = math.tanh(3 * edge)
    found = sorted([round(each, 2) for each in point] for point in stable.tolist())
    wanted = round(edge, 2)
    assert found == [list(each) for each in product((-wanted, wanted), repeat=2)]
    assert len(saddles) == 5
    assert (saddles.abs().amin(1) < 1e-6).all()


JUDGES = {
    "a and b even": lambda word: word.count(0) % 2 == 0 and word.count(1) % 2 == 0,
    "a less b, mod 3": lambda word: (word.count(0) - word.count(1)) % 3 == 0,
    "never aaa": lambda word: "000" not in "".join(map(str, word)),
}


@pytest.mark.parametrize("name", state_machine.LANGUAGES)
def test_machines_of_the_languages_accept_them_and_are_the_least(name):
    machine = state_machine.LANGUAGES[name]
    words = [word for size in range(9) for word in product((0, 1), repeat=size)]
    assert all(machine.accepts(word) == JUDGES[name](word) for word in words)
    starts = range(len(machine))
    tails = {tuple(_from(machine, start, word) for word in words) for start in starts}
    assert len(tails) == len(machine)


def _from(machine, state, word):
    for letter in word:
        state = machine.transitions[state][letter]
    return machine.accepting[state]


def test_shares_of_words_are_of_those_up_to_each_length():
    said = torch.tensor([[True, True, False], [True, False, False]])
    assert state_machine.agreement(said, torch.ones(2, 3).bool()) == pytest.approx(
        [1, 3 / 4, 1 / 2]
    )


def test_without_aalpy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "aalpy.learning_algs", None)
    with pytest.raises(ThroughtimeError, match=re.escape("pip install 'throughtime[inspect]'")):
        state_machine.Judge(2).machine(300)


def test_samples_move_with_the_first_only_where_axes_are_swapped(generator):
    x, _ = shapes.sequences(5, 4, generator)
    right, swapped = (shapes.Last(batch_first=first).gru for first in (True, False))
    assert shapes.share(shapes.moved(right, x)) == 0
    assert shapes.share(shapes.moved(swapped, x)) == 1
    assert shapes.share(shapes.moved(right, x[:, 0])) == 1


def test_what_is_said_of_the_page_and_of_this_library_is_so():
    layer = nn.RNN(1, 4, batch_first=True)
    with pytest.raises(ValueError, match="dtype"):
        layer(torch.tensor([[[1], [2], [3]], [[4], [5], [6]]]))
    with pytest.raises(ValueError, match="dtype"):
        nn.RNN(3, 4, batch_first=True)(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    rows, _ = nn.RNN(3, 4, batch_first=True)(torch.rand(2, 3))
    assert rows.shape == (2, 4)
    with pytest.raises(ThroughtimeError):
        tt.RNN(3, 4)(torch.rand(2, 3))
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, math.nan])
    nn.utils.clip_grad_norm_([weight], 1.0)
    assert weight.grad.isnan().all()


def test_each_padded_sequence_has_its_one_key(generator):
    symbols, keys = padding.sequences(200, generator)
    for row, key in zip(symbols.tolist(), keys.tolist(), strict=True):
        there = [each for each in row if each != padding.PAD]
        assert row == there + [padding.PAD] * (len(row) - len(there))
        assert [each for each in there if each <= padding.KEYS] == [key + 1]


def test_additions_are_the_sums_of_the_marked(generator):
    x, sums = no_clipping.additions(2000, 6, generator)
    assert (x[:, :, 1].sum(1) == 2).all()
    torch.testing.assert_close((x[:, :, 0] * x[:, :, 1]).sum(1), sums[:, 0])
    assert float(sums.var()) == pytest.approx(no_clipping.MEAN, rel=0.1)
    assert no_clipping.bounded(math.nan) == no_clipping.bounded(math.inf) == no_clipping.MOST


def test_an_integrator_keeps_its_state():
    layer = no_clipping.integrator(2, 1.0)
    state = layer.initial_state(1)._replace(h=torch.rand(1, no_clipping.HIDDEN))
    _, after = layer(torch.zeros(1, 9, 2), state)
    torch.testing.assert_close(after.h, state.h)


class Nothing(nn.Module):
    """Expects no change."""

    def forward(self, x):
        return torch.zeros_like(x)


class Level(nn.Module):
    """Expects a change back to the middle of the scale: what a leak is worth shows in it."""

    def forward(self, x):
        return -x


@pytest.mark.parametrize("live", [True, False])
def test_saying_the_last_value_has_error_one(live, generator):
    values = train_deploy_mismatch.walks(50, 8, generator)
    for scale in (train_deploy_mismatch.by_window, train_deploy_mismatch.by_start):
        found = train_deploy_mismatch.errors(Nothing(), scale, values, live=live)
        assert found == pytest.approx([1.0] * 6)


def test_live_only_what_came_is_there_to_scale_by(generator):
    values = train_deploy_mismatch.walks(50, 8, generator)
    later = values.clone()
    later[:, 6:] += 5
    by_window = train_deploy_mismatch.by_window
    first, second = (
        train_deploy_mismatch.errors(Level(), by_window, each, live=True)[:4]
        for each in (values, later)
    )
    assert first == second
    first, second = (
        train_deploy_mismatch.errors(Level(), by_window, each, live=False)[:4]
        for each in (values, later)
    )
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_odd_and_more_are_what_they_say(generator):
    letters = beyond_the_training_length.words(20, 11, generator)
    odd, more = beyond_the_training_length.odd(letters), beyond_the_training_length.more(letters)
    for lane, t in product(range(20), range(11)):
        ones = int(letters[lane, : t + 1].sum())
        assert int(odd[lane, t]) == ones % 2
        assert int(more[lane, t]) == (ones > t + 1 - ones)


def test_the_spectral_radius_of_a_rotation_is_its_gain():
    layer = lyapunov_predicts_gradients.orthogonal(6, 2.0)
    assert lyapunov_predicts_gradients.spectral_radius(layer) == pytest.approx(math.log(2))
    lstm = tt.LSTM(4, 3)
    with torch.no_grad():
        lstm.weight_hh.zero_()
        # The third of four gates is the candidate.
        lstm.weight_hh[6:9] = torch.diag(torch.tensor([0.5, -3.0, 1.0]))
    assert lyapunov_predicts_gradients.spectral_radius(lstm) == pytest.approx(math.log(3))
