"""Lyapunov exponents: known maps, and the slope of gradients that they foretell."""

import math

import pytest
import torch
from torch import nn

from throughtime.errors import OptionError
from throughtime.inspect import gradient_by_lag, lyapunov_exponents
from throughtime.layers import GRU, LSTM, RNN, Stack, make


def test_a_linear_map_has_the_logarithms_of_its_eigenvalues():
    layer = make("lru", 1, 4)
    found = lyapunov_exponents(layer, torch.randn(1, 400, 1), count=8)
    a, _ = layer.coefficients(torch.zeros(1, 1, 1))
    sizes = a.detach().abs().flatten()
    wanted = sizes.double().log().repeat_interleave(2).sort(descending=True).values
    torch.testing.assert_close(found[0], wanted, rtol=0.02, atol=1e-3)


def test_a_relu_that_doubles_has_ln_two():
    layer = RNN(1, 3, nonlinearity="relu")
    with torch.no_grad():
        layer.weight_hh.copy_(2 * torch.eye(3))
        layer.bias_ih.fill_(1.0)
    found = lyapunov_exponents(layer, torch.rand(2, 60, 1), count=3)
    torch.testing.assert_close(found, torch.full((2, 3), math.log(2), dtype=torch.float64))


def orthogonal(gain):
    layer = RNN(4, 64)
    with torch.no_grad():
        nn.init.orthogonal_(layer.weight_hh, gain)
    return layer


CASES = {
    "rnn": lambda: RNN(4, 64),
    "rnn gain 0.9": lambda: orthogonal(0.9),
    "gru": lambda: GRU(4, 64),
    "gru memory": lambda: GRU(4, 64, memory=20),
    "lstm": lambda: LSTM(4, 64, forget_bias=0.0),
    "lstm forget bias 1": lambda: LSTM(4, 64, forget_bias=1.0),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_exponent_foretells_the_slope_of_gradients(name):
    layer = CASES[name]().double()
    x = torch.randn(16, 260, 4, dtype=torch.float64)
    exponent = float(lyapunov_exponents(layer, x, settling=60).mean())
    found = gradient_by_lag(layer, x, lambda y: y[:, -1].sum())
    lags = torch.arange(40, 200, dtype=torch.float64)
    logarithms = found.median[40:200].log()
    lags = lags - lags.mean()
    slope = float((lags * logarithms).sum() / (lags * lags).sum())
    assert exponent == pytest.approx(slope, rel=0.05)


def test_a_stack_has_the_exponents_of_its_slowest_layer_first():
    stack = Stack([RNN(1, 8), GRU(8, 8, memory=50)])
    found = lyapunov_exponents(stack, torch.randn(2, 120, 1), count=4)
    assert (found[:, :-1] >= found[:, 1:] - 0.05).all()


def test_impossible_counts_and_lengths_are_refused():
    with pytest.raises(OptionError, match="a count of 1 to the 4 numbers of the state, got 5"):
        lyapunov_exponents(RNN(1, 4), torch.randn(1, 30, 1), count=5)
    with pytest.raises(OptionError, match="more than 20 steps to measure, got 20"):
        lyapunov_exponents(RNN(1, 4), torch.randn(1, 20, 1))
