"""The helpers of the first experiments, against what can be counted or worked out."""

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.lab import small
from throughtime.lab.experiments import (
    alternatives,
    any_length,
    bptt_by_hand,
    find,
    fixed_window_against_recurrence,
    fused_loop,
    shared_weights,
    truncated_bptt_window,
    vanishing_and_exploding,
)


def generator():
    return torch.Generator().manual_seed(0)


def test_gradient_by_hand_is_the_slope_of_the_loss():
    torch.manual_seed(0)
    layer = tt.RNN(3, 4).double()
    x, wanted = torch.randn(2, 5, 3).double(), torch.rand(2, 4).double()

    @torch.no_grad()
    def loss():
        return ((bptt_by_hand.run_forward(layer, x)[-1] - wanted) ** 2).sum()

    with torch.no_grad():
        states = bptt_by_hand.run_forward(layer, x)
        found = bptt_by_hand.run_backward(layer, x, states, 2 * (states[-1] - wanted))[-1]
        slopes = []
        for weight in layer.parameters():
            for place in range(weight.numel()):
                flat = weight.data.view(-1)
                flat[place] += 1e-6
                above = loss()
                flat[place] -= 2e-6
                slopes.append((above - loss()) / 2e-6)
                flat[place] += 1e-6
    torch.testing.assert_close(found, torch.stack(slopes), rtol=1e-6, atol=1e-7)


def test_gradient_cut_at_one_step_is_autograds_with_a_detached_state():
    torch.manual_seed(0)
    layer = tt.RNN(3, 4).double()
    x = torch.randn(2, 5, 3).double()
    states = [state.detach() for state in bptt_by_hand.run_forward(layer, x)]
    last, _ = layer.step(x[:, -1], layer.initial_state(2)._replace(h=states[-2]))
    wanted = torch.autograd.grad((last**2).sum(), list(layer.parameters()))
    with torch.no_grad():
        cut = bptt_by_hand.run_backward(layer, x, states, 2 * states[-1])[0]
    torch.testing.assert_close(cut, torch.cat([each.flatten() for each in wanted]))


def test_without_tanh_orthogonal_weights_keep_a_gradient():
    torch.manual_seed(0)
    layer = vanishing_and_exploding.Unsquashed(2, 8)
    found = tt.inspect.gradient_by_lag(layer, torch.randn(3, 40, 2), lambda y: y[:, -1].sum())
    torch.testing.assert_close(found.norms, torch.full((40, 3), 8**0.5).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("way", fused_loop.ways_to_run(4))
def test_every_loop_is_a_gru(way):
    torch.manual_seed(0)
    ways, x = fused_loop.ways_to_run(4), torch.randn(2, 6, 4)
    torch.manual_seed(0)
    reference, _ = nn.GRU(4, 4, batch_first=True).double()(x.double())
    torch.testing.assert_close(ways[way](x).double(), reference, rtol=1e-5, atol=1e-6)


def test_threads_are_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fused_loop.run(0, steps=8, units=4, rounds=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_pairs_are_where_they_are_said_to_be():
    places = torch.arange(20)
    symbols, answers = fixed_window_against_recurrence.sequences(places, generator())
    assert 0 < answers.sum() < 20
    for row, place, answer in zip(symbols.tolist(), range(20), answers.tolist(), strict=True):
        assert row[place : place + 2] == ([0, 1] if answer else [1, 0])
        assert min(row[:place] + row[place + 2 :]) > 1


def test_pair_is_told_by_what_comes_first():
    symbols, answers = shared_weights.sequences(50, generator())
    for row, answer in zip(symbols.tolist(), answers.tolist(), strict=True):
        first, second = row.index(0), row.index(1)
        assert abs(first - second) == 1
        assert (first < second) == bool(answer)


def test_steps_share_weights_or_do_not():
    def count(model):
        return sum(each.numel() for each in model.cells.parameters())

    own, shared = shared_weights.Steps(shared=False), shared_weights.Steps(shared=True)
    assert count(own) == shared_weights.LENGTH * count(shared)
    for cell in own.cells:
        cell.load_state_dict(shared.cells[0].state_dict())
    own.head.load_state_dict(shared.head.state_dict())
    symbols, _ = shared_weights.sequences(3, generator())
    torch.testing.assert_close(own(symbols), shared(symbols))


def test_walks_go_round():
    symbols, places = any_length.walks(3, 30, generator())
    for moves, row in zip(symbols.tolist(), places.tolist(), strict=True):
        at = 0
        for move, place in zip(moves, row, strict=True):
            at = (at + (-1, 0, 1)[move]) % 3
            assert place == at


def test_echo_is_the_symbol_so_many_steps_before():
    symbols, answers = truncated_bptt_window.echoes(3, 4, generator())
    assert (answers[:, :4] == -1).all()
    assert torch.equal(answers[:, 4:], symbols[:, :-4])


def test_windows_change_gradients_and_not_scores():
    torch.manual_seed(0)
    reader = small.Reader(8, 8, layer="rnn:6", every=True)
    symbols, _ = truncated_bptt_window.echoes(2, 4, generator())
    scores = truncated_bptt_window.Truncated(reader, 7)(symbols)
    torch.testing.assert_close(scores, reader(symbols))
    reached = reader.encoder.weight
    seen = []
    for window in (7, truncated_bptt_window.STEPS):
        model = truncated_bptt_window.Truncated(reader, window)
        # Symbols of the first window alone; the loss is of a step in the third.
        own = torch.full_like(symbols, 1)
        own[:, :7] = 0
        (gradient,) = torch.autograd.grad(model(own)[:, 16].sum(), reached)
        seen.append(bool(gradient[0].any()))
    assert seen == [False, True]


def test_parity_and_recall_by_hand():
    bits, odd = alternatives.parities(4, 9, generator())
    for row, answers in zip(bits.tolist(), odd.tolist(), strict=True):
        assert answers == [sum(row[: t + 1]) % 2 for t in range(9)]
    given, wanted = alternatives.recalls(4, 5, generator())
    keys, values = given.split(alternatives.KEYS, 2)
    for lane in range(4):
        told = {int(keys[lane, t].argmax()): int(values[lane, t].argmax()) for t in range(5)}
        assert len(told) == 5
        assert not values[lane, 5:].any()
        asked = [int(keys[lane, t].argmax()) for t in range(5, 10)]
        assert wanted[lane].tolist() == [-1] * 5 + [told[key] for key in asked]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("bptt-by-hand", "vanishing-and-exploding", "what-the-hidden-state-holds", "any-length"),
        *("fixed-window-against-recurrence", "shared-weights"),
    ],
)
def test_claims_hold_for_a_seed_that_is_not_shown(name):
    experiment = find(name)
    assert experiment.holds([experiment.run(7, **experiment.settings({}))])
