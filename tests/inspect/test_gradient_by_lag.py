"""Gradients by lag are those of an explicit loop, for every kind of layer and place."""

import math

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.errors import OptionError
from throughtime.inspect import (
    gradient_by_lag,
    health_check,
    lyapunov_exponents,
    memory_capacity,
    state_gradients,
)
from throughtime.layers import GRU, LRU, LSTM, RNN, Stack, make


def relative(got, wanted):
    return float((got - wanted).abs().max() / wanted.abs().max())


def cell_loop(module, x):
    """Torch's cells step by step: y, and h and c of every step of every layer."""
    hs, cs = [], []
    for place in range(module.num_layers):
        kind = {nn.RNN: nn.RNNCell, nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell}[type(module)]
        cell = kind(x.shape[-1], module.hidden_size).double()
        with torch.no_grad():
            for name, value in cell.named_parameters():
                value.copy_(getattr(module, f"{name}_l{place}"))
        h = torch.zeros(len(x), module.hidden_size, dtype=torch.float64)
        c, seen_h, seen_c = torch.zeros_like(h), [], []
        for t in range(x.shape[1]):
            if kind is nn.LSTMCell:
                h, c = cell(x[:, t], (h, c))
                seen_c.append(c)
            else:
                h = cell(x[:, t], h)
            seen_h.append(h)
        hs.append(seen_h)
        cs.append(seen_c)
        x = torch.stack(seen_h, 1)
    return x, hs, cs


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_gradients_are_those_of_a_loop_of_cells_in_every_layer(kind):
    module = kind(3, 8, num_layers=2, batch_first=True).double()
    x = torch.randn(4, 12, 3, dtype=torch.float64)
    y, hs, cs = cell_loop(module, x)
    loss = (y[:, -1] ** 2).sum()
    got = state_gradients(tt.from_torch(module), x, lambda y: (y[:, -1] ** 2).sum())
    for place in (0, 1):
        for name, seen in (("h", hs[place]), ("c", cs[place])):
            if not seen:
                continue
            wanted = torch.autograd.grad(loss, seen, retain_graph=True, materialize_grads=True)
            assert relative(got[f"{place}.{name}"], torch.stack(wanted, 1)) < 1e-10


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_float32_is_within_a_millionth_of_float64(kind):
    module = kind(3, 16, num_layers=2, batch_first=True)
    x = torch.randn(4, 30, 3)
    narrow = state_gradients(tt.from_torch(module), x, lambda y: y[:, -1].sum())
    wide = state_gradients(tt.from_torch(module).double(), x.double(), lambda y: y[:, -1].sum())
    for name, each in narrow.items():
        for lag in (0, 1, 10, 29):
            assert relative(each[:, 29 - lag].double(), wide[name][:, 29 - lag]) < 2e-6


def test_a_linear_recurrence_is_its_product_of_coefficients():
    layer = make("min_gru", 2, 5).double()
    x = torch.randn(3, 9, 2, dtype=torch.float64)
    a = layer.coefficients(x)[0].detach()
    got = state_gradients(layer, x, lambda y: y[:, -1].sum())["state"]
    wanted = torch.ones(3, 9, 5, dtype=torch.float64)
    for t in reversed(range(8)):
        wanted[:, t] = wanted[:, t + 1] * a[:, t + 1]
    assert relative(got, wanted) < 1e-12


def test_what_retain_grad_shows_of_a_fused_output_is_not_the_gradient():
    module = nn.LSTM(3, 8, batch_first=True)
    x = torch.randn(4, 12, 3)
    y, _ = module(x)
    y.retain_grad()
    y[:, -1].sum().backward()
    assert not y.grad[:, :-1].any()
    found = state_gradients(tt.from_torch(module), x, lambda y: y[:, -1].sum())
    assert (found["h"][:, :-1].norm(dim=2) > 1e-4).all()


def test_lags_count_from_the_last_step_of_each_lane():
    layer, x = GRU(2, 6), torch.randn(3, 10, 2)
    lengths = torch.tensor([10, 4, 0])

    def last(y):
        at = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, 6)
        return y.gather(1, at).sum((1, 2))

    found = gradient_by_lag(layer, x, last, lengths=lengths)
    assert found.norms.shape == (10, 3)
    assert found.norms[4:, 1].isnan().all()
    assert found.norms[:, 2].isnan().all()
    alone = gradient_by_lag(layer, x[1:2, :4], lambda y: y[:, -1].sum())
    torch.testing.assert_close(found.norms[:4, 1], alone.norms[:, 0], rtol=1e-6, atol=0)


def test_nothing_reaches_past_a_reset():
    resets = torch.zeros(2, 8, dtype=torch.bool)
    resets[:, 5] = True
    found = state_gradients(
        LSTM(2, 3), torch.randn(2, 8, 2), lambda y: y[:, -1].sum(), resets=resets
    )
    assert not found["c"][:, :5].any()
    assert found["c"][:, 5:].any()


def test_what_a_reset_stops_is_not_taken_for_small():
    resets = torch.zeros(2, 30, dtype=torch.bool)
    resets[0, 25] = resets[1, 20] = True
    layer, x = GRU(2, 6), torch.randn(2, 30, 2)
    found = gradient_by_lag(layer, x, lambda y: y[:, -1].sum(), resets=resets)
    assert found.underflow is None
    assert math.isfinite(found.slope)
    assert found.norms.isnan().sum(0).tolist() == [25, 20]
    alone = gradient_by_lag(layer, x[1:, 20:], lambda y: y[:, -1].sum())
    torch.testing.assert_close(found.norms[:10, 1], alone.norms[:, 0], rtol=1e-6, atol=0)


def test_the_reach_of_a_share_is_where_the_sum_comes_to_it():
    found = gradient_by_lag(GRU(2, 6), torch.randn(3, 40, 2), lambda y: y[:, -1].sum())
    by_lag = found.norms.sum(1)
    reach = found.reach(0.9)
    assert by_lag[:reach].sum() < 0.9 * by_lag.sum() <= by_lag[: reach + 1].sum()


def test_a_frozen_layer_is_measured_as_any_other():
    layer, x = GRU(2, 6), torch.randn(3, 10, 2)
    wanted = gradient_by_lag(layer, x, lambda y: y[:, -1].sum())
    found = gradient_by_lag(layer.requires_grad_(False), x, lambda y: y[:, -1].sum())
    assert torch.equal(found.norms, wanted.norms)
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_an_underflow_is_told_from_a_gradient_that_is_gone():
    layer = RNN(1, 4)
    with torch.no_grad():
        layer.weight_hh.mul_(0.2)
    found = gradient_by_lag(layer, torch.randn(4, 100, 1), lambda y: y[:, -1].sum())
    assert found.underflow is not None
    assert 40 < found.underflow < 70
    assert math.isfinite(found.slope)
    assert found.half_life < 0.6
    assert found.doubling == math.inf


def test_what_grows_has_a_time_in_which_it_doubles():
    layer = RNN(1, 8, nonlinearity="relu")
    with torch.no_grad():
        layer.weight_hh.copy_(torch.eye(8) * 1.2)
        layer.bias_ih.fill_(1.0)
    found = gradient_by_lag(layer, torch.rand(4, 30, 1), lambda y: y[:, -1].sum())
    assert found.half_life == math.inf
    assert found.doubling == pytest.approx(math.log(2) / math.log(1.2), rel=1e-4)
    low, high = found.band()
    assert (low <= found.median).all()
    assert (found.median <= high).all()


def test_the_leaf_that_remembers_is_chosen_and_any_other_may_be():
    stack = Stack([LSTM(2, 4), LSTM(4, 3)])
    x = torch.randn(2, 6, 2)
    found = gradient_by_lag(stack, x, lambda y: y[:, -1].sum())
    assert found.leaf == "1.c"
    assert set(found.by_leaf) == {"0.h", "0.c", "1.h", "1.c"}
    assert gradient_by_lag(stack, x, lambda y: y[:, -1].sum(), leaf="0.h").leaf == "0.h"
    with pytest.raises(OptionError, match=r"expected a leaf among 0.h, 0.c, 1.h, 1.c, got 'h'"):
        gradient_by_lag(stack, x, lambda y: y[:, -1].sum(), leaf="h")


def test_a_complex_recurrence_halves_as_its_coefficient_does():
    layer, x = LRU(2, 1).double(), torch.randn(3, 20, 2, dtype=torch.float64)
    found = gradient_by_lag(layer, x, lambda y: y[:, -1].sum())
    a = float(layer.coefficients(x)[0].detach().abs().flatten()[0])
    # What it hands on after the last step has no part in the last output.
    assert not found.norms[0].any()
    assert found.half_life == pytest.approx(math.log(2) / -math.log(a), rel=1e-9)
    assert found.underflow is None


def test_a_window_of_inputs_ends_where_it_ends():
    layer = make("convolution", 2, 5, width=4)
    found = gradient_by_lag(layer, torch.randn(3, 20, 2), lambda y: y[:, -1].sum())
    assert (found.norms[1:4] > 0).all()
    assert not found.norms[4:].any()
    assert found.underflow == 4
    assert math.isfinite(found.slope)


@pytest.mark.parametrize(("name", "leaf"), [("rwkv7", "s"), ("s5", "state"), ("attention", None)])
def test_every_layer_that_remembers_has_a_trend(name, leaf):
    found = gradient_by_lag(make(name, 2, 4), torch.randn(3, 20, 2), lambda y: y[:, -1].sum())
    assert leaf in (None, found.leaf)
    assert math.isfinite(found.slope)
    assert found.underflow is None


def test_past_inputs_are_not_what_a_stack_remembers_by():
    stack = Stack([GRU(2, 4), make("convolution", 4, 4)])
    found = gradient_by_lag(stack, torch.randn(2, 6, 2), lambda y: y[:, -1].sum())
    assert (found.leaf, set(found.by_leaf)) == ("0.h", {"0.h", "1.inputs"})


@pytest.mark.parametrize("shape", [(0, 5, 2), (3, 0, 2)])
def test_nothing_to_measure_is_said(shape):
    with pytest.raises(OptionError, match="expected x with a lane and a step"):
        gradient_by_lag(GRU(2, 4), torch.zeros(shape), lambda y: y.sum())


def test_a_loss_of_nothing_is_said():
    with pytest.raises(OptionError, match="expected a loss that is computed from the output"):
        gradient_by_lag(GRU(2, 4), torch.randn(2, 5, 2), lambda y: y.detach().sum())


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_torchs_own_layers_are_measured_as_ours(kind):
    module, x = kind(1, 6, num_layers=2, batch_first=True), torch.randn(3, 40, 1)
    ours = tt.from_torch(module)

    def last(y):
        return y[:, -1].sum()

    assert torch.equal(gradient_by_lag(module, x, last).norms, gradient_by_lag(ours, x, last).norms)
    assert torch.equal(lyapunov_exponents(module, x), lyapunov_exponents(ours, x))
    assert memory_capacity(module, lags=4).total == memory_capacity(ours, lags=4).total
    assert health_check(module, x).exponents == health_check(ours, x).exponents


def test_what_is_no_recurrent_layer_is_refused():
    with pytest.raises(OptionError, match=r"expected a recurrent layer or stack.*got Linear"):
        gradient_by_lag(nn.Linear(2, 3), torch.randn(1, 5, 2), lambda y: y.sum())
