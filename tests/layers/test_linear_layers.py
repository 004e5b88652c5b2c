"""Layers with a linear recurrence: each by its equation, by the laws, and over long runs."""

import numpy as np
import pytest
import torch
from three_ways import assert_three_ways_agree

import throughtime as tt
from throughtime.errors import OptionError
from throughtime.layers import make

NAMES = ("min_gru", "min_lstm", "lru", "s5", "selective", "rg_lru", "hgrn")
SIGNED = tuple(name for name in NAMES if name not in ("lru", "s5"))
OPTIONS = {"s5": {"states": 4}, "selective": {"states": 3}, "rg_lru": {"groups": 3}}
PLAIN = [(name, OPTIONS.get(name, {})) for name in NAMES]
SIGNED_CASES = [(name, {**OPTIONS.get(name, {}), "negative_eigenvalues": True}) for name in SIGNED]
CASES = PLAIN + SIGNED_CASES
IDS = [*NAMES, *(f"{name}-signed" for name in SIGNED)]


def drawn(name, options, features=3, size=6):
    torch.manual_seed(0)
    return make(name, features, size, **options)


@pytest.mark.parametrize(("name", "options"), PLAIN, ids=NAMES)
def test_the_laws_hold(name, options):
    tt.testing.check_recurrent(drawn(name, options), batch_size=2, steps=5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), SIGNED_CASES, ids=SIGNED)
def test_the_laws_hold_with_eigenvalues_below_zero(name, options):
    tt.testing.check_recurrent(drawn(name, options))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_the_reference_obeys_them_too(name, options):
    with tt.kernels.use("reference"):
        tt.testing.check_recurrent(drawn(name, options))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def parameters(layer):
    return {name: value.detach().double().numpy() for name, value in layer.named_parameters()}


def linear(p, name, x):
    return p[f"{name}.weight"] @ x + p.get(f"{name}.bias", 0)


def sign(a, negative):
    return 2 * a - 1 if negative else a


def min_gru(p, h, x, negative=False):
    z = sigmoid(linear(p, "update_gate", x))
    h = sign(1 - z, negative) * h + z * linear(p, "candidate", x)
    return h, h


def min_lstm(p, h, x, negative=False):
    f, i = sigmoid(linear(p, "forget_gate", x)), sigmoid(linear(p, "input_gate", x))
    h = sign(f / (f + i), negative) * h + i / (f + i) * linear(p, "candidate", x)
    return h, h


def lru(p, h, x):
    a = np.exp(-np.exp(p["log_decay"]) + 1j * np.exp(p["log_angle"]))
    enter = p["enter"][0] + 1j * p["enter"][1]
    h = a * h + np.sqrt(1 - np.abs(a) ** 2) * (enter @ x)
    leave = p["leave"][0] + 1j * p["leave"][1]
    return h, (h @ leave).real + p["skip"] @ x


def s5(p, h, x, states):
    eigenvalue = -np.exp(p["log_decay"]) + 1j * p["frequency"]
    a = np.exp(eigenvalue * np.exp(p["log_step"]))
    enter, leave = (p[name][0] + 1j * p[name][1] for name in ("enter", "leave"))
    h = a * h + (a - 1) / eigenvalue * (enter @ x)
    return h, 2 * (h @ leave).real + p["skip"] @ x


def selective(p, h, x, states, negative=False):
    u = linear(p, "enter", x)
    length = np.log1p(np.exp(linear(p, "step_length", linear(p, "narrow", u))))
    a = sign(np.exp(-length[:, None] * np.exp(p["log_rate"])), negative)
    h = a * h.reshape(len(u), states) + np.outer(length * u, linear(p, "write", u))
    return h.ravel(), h @ linear(p, "read", u) + p["skip"] * u


def rg_lru(p, h, x, groups, negative=False):
    u = linear(p, "enter", x)
    blocks = u.reshape(groups, 1, -1)
    r, i = (
        sigmoid((blocks @ weights).ravel() + bias)
        for weights, bias in zip(p["gate_weights"], p["gate_biases"], strict=True)
    )
    a = sigmoid(p["rate"]) ** (8 * r)
    h = sign(a, negative) * h + np.sqrt(1 - a**2) * (i * u)
    return h, h


def hgrn(p, h, x, negative=False):
    f = sigmoid(linear(p, "forget_gate", x))
    h = sign(f, negative) * h + (1 - f) * silu(linear(p, "candidate", x))
    norm = p["norm.weight"] * h / np.sqrt((h**2).mean() + 1e-6)
    return h, linear(p, "leave", silu(linear(p, "output_gate", x)) * norm)


EQUATIONS = {each.__name__: each for each in (min_gru, min_lstm, lru, s5, selective, rg_lru, hgrn)}


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_a_layer_computes_its_equation(name, options):
    layer = drawn(name, options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    x = torch.randn(1, 30, 3)
    y, end = layer(x)
    options = dict(options)
    if "negative_eigenvalues" in options:
        options["negative"] = options.pop("negative_eigenvalues")
    h, p = 0 * layer.initial_state(1).double().numpy()[0], parameters(layer)
    if name in ("lru", "s5"):
        h = h[::2] + 0j
    for t in range(30):
        h, out = EQUATIONS[name](p, h, x[0, t].double().numpy(), **options)
        np.testing.assert_allclose(y[0, t].detach().numpy(), out, rtol=2e-5, atol=2e-5)
    if name in ("lru", "s5"):
        h = np.stack([h.real, h.imag], axis=-1).ravel()
    np.testing.assert_allclose(end[0].detach().numpy(), h, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("name", "options"), PLAIN, ids=NAMES)
def test_whole_chunked_and_stepped_agree(name, options):
    assert_three_ways_agree(drawn(name, options), 2_000)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_whole_chunked_and_stepped_agree_over_fifty_thousand_steps(name, options):
    assert_three_ways_agree(drawn(name, options), 50_000)


@pytest.mark.parametrize("name", ["min_gru", "min_lstm"])
def test_memory_sets_how_long_a_state_is_kept(name):
    torch.manual_seed(0)
    with torch.no_grad():
        keep, _ = make(name, 3, 500, memory=1000).coefficients(torch.zeros(1, 3))
        plain, _ = make(name, 3, 500).coefficients(torch.zeros(1, 3))
    steps = 1 / (1 - keep)
    assert float(steps.min()) >= 1.0
    assert 500 < float(steps.max()) < 2000
    assert float(plain.max()) < 0.8


@pytest.mark.parametrize("name", SIGNED)
def test_eigenvalues_reach_below_zero_when_asked(name):
    x = 30 * torch.randn(200, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        a, _ = drawn(name, OPTIONS.get(name, {}), size=66).coefficients(x)
    assert 0 <= float(a.min()) <= float(a.max()) <= 1
    signed = {**OPTIONS.get(name, {}), "negative_eigenvalues": True}
    with torch.no_grad():
        a, _ = drawn(name, signed, size=66).coefficients(x)
    assert -1 <= float(a.min()) < -0.3
    assert float(a.max()) <= 1


def test_a_gate_that_is_shut_leaves_finite_gradients():
    for name in ("rg_lru", "min_lstm"):
        layer = drawn(name, OPTIONS.get(name, {}))
        x = torch.full((1, 4, 3), 1e4, requires_grad=True)
        layer(x)[0].sum().backward()
        assert x.grad.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_autocast_keeps_long_memory():
    # In bfloat16 itself 0.999 would be 1, and a thousand steps would be no decay at all.
    layer = make("rg_lru", 3, 64)
    x = torch.randn(2, 1000, 3)
    with torch.no_grad():
        exact, _ = layer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded, end = layer(x)
    assert end.dtype == torch.float32
    assert float((rounded - exact).abs().max() / exact.abs().max()) < 2e-2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lru", {"least_radius": 0.9, "most_radius": 0.8}, "least_radius < most_radius < 1"),
        ("lru", {"most_angle": 0.0}, "0 < most_angle"),
        ("s5", {"states": 0}, "1 state or more, got 0"),
        ("s5", {"least_step": 0.2}, "0 < least_step < most_step, got 0.2 and 0.1"),
        ("selective", {"states": 0}, "1 state or more, got 0"),
        ("selective", {"most_step": 0.0}, "0 < least_step < most_step"),
        ("rg_lru", {"groups": 4}, "groups that divide hidden_size = 6, got 4"),
        ("rg_lru", {"most_keep": 1.0}, "0 < least_keep < most_keep < 1"),
        ("hgrn", {"lower_bound": 1.0}, "at least 0 and below 1, got 1.0"),
        ("min_gru", {"memory": 2}, "memory of 3 steps or more, got 2"),
        ("min_gru", {"forget_bias": 1.0}, "options of min_gru among memory"),
    ],
)
def test_an_option_that_can_not_be_is_refused_in_one_line(name, options, message):
    with pytest.raises(OptionError, match=message) as caught:
        make(name, 3, 6, **options)
    assert "\n" not in str(caught.value)
