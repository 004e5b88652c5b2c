"""Linear memory capacity of layers whose memory is known."""

import pytest
import torch
from torch import nn

from throughtime.errors import OptionError
from throughtime.inspect import memory_capacity
from throughtime.inspect.bootstrap import interval_of
from throughtime.layers import LSTM, RNN, make


@pytest.mark.parametrize("width", [2, 7])
def test_a_convolution_remembers_what_it_sees_and_no_more(width):
    found = memory_capacity(make("convolution", 1, 12, width=width))
    assert found.total == pytest.approx(width, abs=1e-3)
    assert found.reach == width - 1
    assert not found.explained[width:].any()
    assert found.interval.low <= found.total <= found.interval.high + 1e-9


def test_orthogonal_weights_remember_more_and_never_above_the_bound():
    plain, orthogonal = RNN(1, 50), RNN(1, 50)
    with torch.no_grad():
        for parameter in plain.parameters():
            nn.init.uniform_(parameter, -(50**-0.5), 50**-0.5)
        nn.init.orthogonal_(orthogonal.weight_hh, 0.95)
        orthogonal.weight_ih.mul_(0.1)
    few, many = memory_capacity(plain), memory_capacity(orthogonal)
    assert few.total < 20 < 40 < many.total < many.bound == 50
    assert few.interval.high < many.interval.low


def test_it_is_the_same_from_one_seed_and_changes_nothing():
    layer = LSTM(3, 8).train()
    found = memory_capacity(layer, lags=20, seed=4)
    assert torch.equal(found.explained, memory_capacity(layer, lags=20, seed=4).explained)
    assert len(found.explained) == 20
    assert layer.training


@pytest.mark.parametrize("options", [{"lags": 0}, {"scale": 0.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(OptionError, match="expected lags of 1 or more and a scale above 0"):
        memory_capacity(RNN(1, 4), **options)


def test_an_interval_of_a_mean_is_as_wide_as_theory_has_it():
    numbers = torch.randn(400, dtype=torch.float64)
    found = interval_of(lambda chosen: numbers[chosen].mean(), 400)
    error = float(numbers.std() / 20)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert found.low < float(numbers.mean()) < found.high
    # Neighbours that are alike say less than so many numbers would.
    repeated = numbers[:40].repeat_interleave(10)
    apart = interval_of(lambda chosen: repeated[chosen].mean(), 400)
    together = interval_of(lambda chosen: repeated[chosen].mean(), 400, block=10)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_a_layer_without_parameters_is_measured_too():
    assert 1 < memory_capacity(make("echo_state", 1, 20)).total <= 20
