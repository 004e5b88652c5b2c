import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime import state as states
from throughtime.layers import noise as noises
from throughtime.layers.noise import Noise


def masks(rate, lanes, steps, units, salt=0):
    """Which units are dropped, (B, T, H), for fresh lanes over some steps."""
    begin = noises.initial_noise(lanes, None, fresh=True)
    each, _ = noises.unroll(begin, steps, None, None)
    return noises.dropout(torch.ones(lanes, steps, units), each, rate, salt) == 0


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_dropped_is_the_rate(rate):
    dropped = masks(rate, 40, 50, 60).double()
    deviation = math.sqrt(rate * (1 - rate) / dropped.numel())
    assert abs(dropped.mean() - rate) < 4 * deviation
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        count = dropped.numel() / dropped.shape[axis]
        spread = (dropped.mean(dim=others) - rate) / math.sqrt(rate * (1 - rate) / count)
        assert spread.abs().max() < 4.5
        assert 0.6 < spread.std() < 1.5


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("apart", [1, 2, 8])
def test_neighbours_in_lanes_steps_and_units_are_independent(axis, apart):
    dropped = masks(0.5, 64, 64, 64).double() - 0.5
    ahead = dropped.narrow(axis, apart, 64 - apart)
    behind = dropped.narrow(axis, 0, 64 - apart)
    correlation = 4 * (ahead * behind).mean()
    assert abs(correlation) < 4.5 / math.sqrt(ahead.numel())


def test_two_places_with_one_noise_are_independent():
    begin = noises.initial_noise(64, None, fresh=True)
    each, _ = noises.unroll(begin, 64, None, None)
    first, second = (
        noises.dropout(torch.ones(64, 64, 64), each, 0.5, salt) - 1.0 for salt in (0, 1)
    )
    assert abs((first * second).mean()) < 4.5 / math.sqrt(first.numel())


def test_a_reset_gives_masks_of_its_own():
    begin = noises.initial_noise(64, None, fresh=True)
    first, second = (
        noises.dropout(torch.ones(64, 64), noise, 0.5, 0) - 1.0
        for noise in (begin, noises.restart(begin))
    )
    assert abs((first * second).mean()) < 4.5 / math.sqrt(first.numel())


def test_the_expectation_is_kept():
    begin = noises.initial_noise(50, None, fresh=True)
    each, _ = noises.unroll(begin, 50, None, None)
    kept = noises.dropout(torch.ones(50, 50, 50), each, 0.25, 0)
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 4 / 3]))
    assert abs(kept.mean() - 1) < 0.01


def test_a_mask_is_a_function_of_seed_step_and_unit_alone():
    noise = Noise(torch.tensor([7, -9, 7]), torch.tensor([3, 3, 4]))
    mask = noises.dropout(torch.ones(3, 16), noise, 0.5, 0)
    alone = noises.dropout(torch.ones(1, 16), Noise(noise.seed[:1], noise.step[:1]), 0.5, 0)
    wider = noises.dropout(torch.ones(3, 32), noise, 0.5, 0)
    assert torch.equal(mask[:1], alone)
    assert torch.equal(mask, wider[:, :16])
    assert not torch.equal(mask[0], mask[1])
    assert not torch.equal(mask[0], mask[2])


def test_no_rate_drops_nothing_and_the_highest_keeps_something():
    each, _ = noises.unroll(noises.initial_noise(8, None, fresh=True), 100, None, None)
    x = torch.randn(8, 100, 100)
    assert torch.equal(noises.dropout(x, each, 0.0, 0), x)
    assert noises.dropout(x, each, 1 - 2**-40, 0).isfinite().all()


def test_a_mask_keeps_the_dtype_and_lets_gradients_through():
    noise = noises.initial_noise(2, None, fresh=True)
    for dtype in (torch.float64, torch.bfloat16):
        x = torch.ones(2, 8, dtype=dtype, requires_grad=True)
        y = noises.dropout(x, noise, 0.5, 0)
        assert y.dtype == dtype
        y.sum().backward()
        assert torch.equal(x.grad, y.detach())


def test_fresh_noise_follows_the_global_generator():
    torch.manual_seed(3)
    first = noises.initial_noise(4, None, fresh=True)
    torch.manual_seed(3)
    second = noises.initial_noise(4, None, fresh=True)
    assert torch.equal(first.seed, second.seed)
    assert len(set(first.seed.tolist())) == 4
    assert not noises.initial_noise(4, None, fresh=False).seed.any()


@st.composite
def histories(draw):
    """A begin, lengths or none, and resets or none, of a few lanes."""
    lanes, steps = draw(st.integers(1, 4)), draw(st.integers(0, 7))
    seeds = st.integers(-(2**62), 2**62)
    begin = Noise(
        torch.tensor([draw(seeds) for _ in range(lanes)]),
        torch.tensor([draw(st.integers(0, 9)) for _ in range(lanes)]),
    )
    lengths = resets = None
    if draw(st.booleans()):
        lengths = torch.tensor([draw(st.integers(0, steps)) for _ in range(lanes)])
    if draw(st.booleans()):
        flags = [[draw(st.booleans()) for _ in range(steps)] for _ in range(lanes)]
        resets = torch.tensor(flags, dtype=torch.bool).reshape(lanes, steps)
        if lengths is not None:
            resets = resets & (torch.arange(steps) < lengths[:, None])
    return begin, steps, lengths, resets


@given(histories())
def test_unroll_is_the_loop_of_restart_and_advance(history):
    begin, steps, lengths, resets = history
    each, end = noises.unroll(begin, steps, lengths, resets)
    now = begin
    for t in range(steps):
        alive = torch.ones_like(begin.step, dtype=torch.bool) if lengths is None else lengths > t
        if resets is not None:
            now = states.where(resets[:, t], noises.restart(now), now)
        assert torch.equal(each.seed[alive, t], now.seed[alive])
        assert torch.equal(each.step[alive, t], now.step[alive])
        now = states.where(alive, noises.advance(now), now)
    assert torch.equal(end.seed, now.seed)
    assert torch.equal(end.step, now.step)


def symbols_kept(noise, span=10, rate=0.3, symbols=200):
    """Which of all symbols are there, (..., V), at each of some steps."""
    every = torch.arange(symbols).expand(*noise.seed.shape, symbols)
    wide = states.tree_map(lambda leaf: leaf[..., None].expand_as(every), noise)
    return noises.drop_symbols(torch.ones(*every.shape, 1), every, wide, rate, span)[..., 0]


def test_a_symbol_is_dropped_whole_wherever_it_stands_for_a_span_of_steps():
    begin = noises.initial_noise(20, None, fresh=True)
    each, _ = noises.unroll(begin, 35, None, None)
    kept = symbols_kept(each)
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 1 / 0.7]))
    for first in (0, 10, 20, 30):
        assert (kept[:, first : first + 10] == kept[:, first, None]).all()
    x = torch.randn(20, 35, 6)
    spoken = torch.randint(200, (20, 35))
    dropped = noises.drop_symbols(x, spoken, each, 0.3, 10)
    wanted = x * kept.gather(2, spoken[:, :, None])
    torch.testing.assert_close(dropped, wanted)


def test_masks_of_symbols_are_fair_and_independent():
    """Over symbols, spans, lanes and resets, within five sigma."""
    begin = noises.initial_noise(64, None, fresh=True)
    each, _ = noises.unroll(begin, 64, None, None)
    kept = symbols_kept(each, span=1, rate=0.5, symbols=64) - 1
    sigma = 1 / math.sqrt(kept.numel())
    assert abs(kept.mean()) < 5 * sigma
    for axis in range(3):
        ahead, behind = kept.narrow(axis, 1, 63), kept.narrow(axis, 0, 63)
        assert abs((ahead * behind).mean()) < 5 * sigma
    again = symbols_kept(noises.unroll(noises.restart(begin), 64, None, None)[0], 1, 0.5, 64) - 1
    assert abs((kept * again).mean()) < 5 * sigma
    units = noises.dropout(torch.ones(64, 64, 64), each, 0.5, 0) - 1
    assert abs((kept * units).mean()) < 5 * sigma
