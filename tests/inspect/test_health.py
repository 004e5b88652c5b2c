"""What is said before training of how long a layer remembers is what its gradients then do."""

import math

import pytest
import torch

from throughtime.errors import OptionError
from throughtime.inspect import gradient_by_lag, health_check
from throughtime.layers import GRU, LRU, LSTM, RNN, Regularised, Stack, make


def measured(layer, x):
    """The half-life of gradients of the last step, once directions have settled."""
    found = gradient_by_lag(layer, x, lambda y: y[:, -1].sum())
    norms = found.norms.log().mean(1)
    lags = torch.arange(20, len(norms) - 1, dtype=torch.float64)
    slope = torch.linalg.lstsq(
        torch.stack([lags, torch.ones_like(lags)], 1), norms[20:-1, None]
    ).solution[0]
    return math.log(2) / -float(slope)


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_the_start_that_is_found_gives_the_memory_asked_for(kind):
    torch.manual_seed(0)
    layer, x = kind(1, 16), torch.randn(4, 160, 1)
    found = health_check(layer, x, memory=30)
    assert measured(layer, x) < 20
    assert found.half_life == pytest.approx(measured(layer, x), rel=0.1)
    start = found.initialisation
    assert start.option == ("gain" if kind is RNN else "memory")
    assert 30 <= start.half_life < 33
    assert measured(start.layer, x) == pytest.approx(30, rel=0.25)


def test_the_layer_is_left_as_it_was_and_random_numbers_too():
    torch.manual_seed(0)
    layer, x = LSTM(1, 8), torch.randn(2, 60, 1)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    state = torch.get_rng_state()
    health_check(layer, x, memory=10)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert layer.memory is None


def test_every_layer_of_a_stack_is_set_and_one_within_noise():
    x = torch.randn(2, 80, 1)
    found = health_check(Stack([GRU(1, 6), LSTM(6, 6)]), x, memory=20).initialisation
    assert [part.memory for part in found.layer.layers] == [found.value, found.value]
    inner = health_check(Regularised(GRU(1, 6), zoneout=0.1).eval(), x, memory=20).initialisation
    assert inner.layer.layer.memory == inner.value


def test_what_explodes_is_said_and_what_has_nothing_to_set():
    layer, x = RNN(1, 32), torch.randn(2, 120, 1) * 0.1
    with torch.no_grad():
        layer.weight_hh.mul_(4)
    found = health_check(layer, x)
    assert found.half_life == math.inf
    assert found.initialisation is None
    assert "explode" in found.lines()[0]
    found = health_check(LRU(1, 8), x, memory=50)
    assert found.initialisation is None
    assert found.lines()[1] == "nothing in the layer's start is to be set for 50 steps"


def test_three_exponents_come_in_order():
    first, second, third = health_check(RNN(1, 8), torch.randn(2, 150, 1)).exponents
    # Over few steps, two that are close may change places.
    assert first > second - 0.02
    assert second > third - 0.02
    assert first > third


def test_a_memory_of_no_step_is_refused():
    with pytest.raises(OptionError, match=r"expected a memory of 2 steps or more, got 1"):
        health_check(GRU(1, 4), torch.randn(2, 60, 1), memory=1)


def test_a_window_of_inputs_ends_at_once_and_a_small_state_has_few_exponents():
    found = health_check(make("convolution", 2, 3), torch.randn(2, 60, 2))
    assert "gradients end at once" in found.lines()[0]
    assert len(health_check(RNN(2, 2), torch.randn(2, 60, 2)).exponents) == 2
