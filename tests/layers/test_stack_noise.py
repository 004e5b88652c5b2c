"""Dropout inside a stack: out of the state, in every place, on every way to run."""

import itertools

import pytest
import torch

from throughtime import state as states
from throughtime.layers import GRU, LSTM, Stack
from throughtime.layers.noise import Noise, dropout


def stack():
    return Stack([GRU(3, 6), LSTM(6, 6), GRU(6, 2)], dropout=0.5)


def test_training_is_the_fold_of_step_from_a_given_state():
    layer, x = stack(), torch.randn(3, 8, 3)
    lengths, resets = torch.tensor([8, 5, 0]), torch.rand(3, 8) < 0.25
    start = layer.initial_state(3)
    y, end = layer(x, start, lengths=lengths, resets=resets)
    for lane in range(3):
        state = states.take(start, torch.tensor([lane]))
        for t in range(int(lengths[lane])):
            one, state = layer.step(x[lane, t, None], state, reset=resets[lane, t, None])
            assert torch.allclose(one[0], y[lane, t], atol=1e-6)
        for got, wanted in zip(states.leaves(end), states.leaves(state), strict=True):
            assert torch.allclose(got[lane].double(), wanted[0].double(), atol=1e-6)
    assert not torch.allclose(y, layer(x, lengths=lengths, resets=resets)[0]), "noise is at work"


def test_evaluation_drops_nothing_but_counts():
    layer, x = stack(), torch.randn(3, 8, 3)
    start = layer.initial_state(3)
    plain = Stack(list(layer.layers))
    y, end = layer.eval()(x, start)
    assert torch.equal(y, plain(x)[0])
    assert end[-1].step.tolist() == [8, 8, 8]
    assert torch.equal(end[-1].seed, start[-1].seed)
    _, again = layer.step(x[:, 0], end, reset=torch.tensor([True, False, False]))
    assert again[-1].step.tolist() == [1, 9, 9]
    assert (again[-1].seed != end[-1].seed).tolist() == [True, False, False]


def test_a_deep_stack_has_a_mask_of_its_own_in_each_place():
    layer = Stack([GRU(3, 4)] + [GRU(4, 4) for _ in range(7)], dropout=0.5)
    y, _ = layer(torch.randn(2, 5, 3))
    assert y.isfinite().all()


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations([0, 1, 2, 3, 7, 50], 2)])
def test_masks_of_two_places_are_unrelated(one, other):
    noise = Noise(torch.randint(-(2**62), 2**62, (64,)), torch.arange(64))
    masks = [dropout(torch.ones(64, 64), noise, 0.5, salt) > 0 for salt in (one, other)]
    share = (masks[0] != masks[1]).double().mean().item()
    assert abs(share - 0.5) < 5 * 0.5 / 64, "half of the units differ, within five sigma"


def test_a_rate_next_to_one_keeps_next_to_nothing():
    noise = Noise(torch.arange(3), torch.arange(3))
    assert not dropout(torch.ones(3, 100), noise, 1 - 1e-12, 0).any()
