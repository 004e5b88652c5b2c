"""Peers of recurrent layers under the same contract: convolution, attention, echo state.

Each by its equation, by the laws, over long runs, and by what is promised of it alone.
"""

import numpy as np
import pytest
import torch
from three_ways import assert_close, assert_three_ways_agree
from torch.utils._python_dispatch import TorchDispatchMode

import throughtime as tt
from throughtime import state as states
from throughtime.errors import OptionError, StateError
from throughtime.layers import make

CASES = [
    ("convolution", {}),
    ("convolution", {"width": 3, "dilation": 2, "depthwise": True}),
    ("attention", {"heads": 2, "window": 5}),
    ("echo_state", {}),
    ("echo_state", {"leak": 0.3, "density": 0.5}),
]
MORE = [
    ("convolution", {"width": 3, "dilation": 2}),
    ("convolution", {"width": 2, "dilation": 9}),
    ("convolution", {"depthwise": True}),
    ("attention", {"heads": 2}),
    ("attention", {"heads": 1, "window": 2}),
    ("attention", {"heads": 3, "window": 7}),
    ("attention", {"heads": 6, "window": 32}),
    ("echo_state", {"spectral_radius": 0.5, "input_scale": 0.1}),
    ("echo_state", {"leak": 0.05, "density": 1.0}),
]


def named(cases):
    return [
        "-".join([name, *(f"{key}={value}" for key, value in options.items())])
        for name, options in cases
    ]


def drawn(name, options, features=6, size=6):
    torch.manual_seed(0)
    return make(name, features, size, **options)


@pytest.mark.parametrize(("name", "options"), CASES, ids=named(CASES))
def test_the_laws_hold(name, options):
    tt.testing.check_recurrent(drawn(name, options), batch_size=2, steps=5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), MORE, ids=named(MORE))
def test_the_laws_hold_with_other_options(name, options):
    tt.testing.check_recurrent(drawn(name, options))
    if not options.get("depthwise"):
        tt.testing.check_recurrent(drawn(name, options, features=1, size=12))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES, ids=named(CASES))
def test_the_reference_obeys_them_too(name, options):
    with tt.kernels.use("reference"):
        tt.testing.check_recurrent(drawn(name, options))


def numbers(layer):
    return {name: value.double().numpy() for name, value in layer.state_dict().items()}


def convolution(p, x, width=4, dilation=1, depthwise=False):
    weight = p["taps.weight"]
    for t in range(len(x)):
        y = p["taps.bias"].copy()
        for k in range(width):
            if t - k * dilation >= 0:
                tap, past = weight[:, :, width - 1 - k], x[t - k * dilation]
                y += tap[:, 0] * past if depthwise else tap @ past
        yield y


def attention(p, x, heads=4, window=64):
    size = p["leave.weight"].shape[0] // heads
    pairs = size // 2
    speed = 10_000.0 ** (-2 * np.arange(pairs) / size)
    project = [p["enter.weight"] @ row + p["enter.bias"] for row in x]
    query, key, value = (
        [np.split(row, 3)[part].reshape(heads, size) for row in project] for part in range(3)
    )

    def paired(row):
        return row[:pairs] + 1j * row[pairs : 2 * pairs]

    for t in range(len(x)):
        seen = []
        for head in range(heads):
            scores, values = [], []
            for s in range(max(0, t - window + 1), t + 1):
                q, k = query[t][head], key[s][head]
                turn = np.exp(1j * (t - s) * speed)
                score = (paired(q) * paired(k).conj() * turn).sum().real
                scores.append((score + q[2 * pairs :] @ k[2 * pairs :]) / np.sqrt(size))
                values.append(value[s][head])
            share = np.exp(np.array(scores) - max(scores))
            seen.append(share / share.sum() @ np.array(values))
        yield p["leave.weight"] @ np.concatenate(seen) + p["leave.bias"]


def echo_state(p, x, leak=1.0, **_):
    h = np.zeros(len(p["bias_ih"]))
    for row in x:
        h = (1 - leak) * h + leak * np.tanh(
            p["weight_ih"] @ row + p["weight_hh"] @ h + p["bias_ih"]
        )
        yield h


EQUATIONS = {each.__name__: each for each in (convolution, attention, echo_state)}


@pytest.mark.parametrize(("name", "options"), CASES + MORE, ids=named(CASES + MORE))
def test_a_layer_computes_its_equation(name, options):
    layer = drawn(name, options)
    x = torch.randn(1, 90, 6)
    wanted = np.stack(list(EQUATIONS[name](numbers(layer), x[0].double().numpy(), **options)))
    with torch.no_grad():
        y, _ = layer(x)
        with tt.kernels.use("reference"):
            folded, _ = layer(x)
    for got in (y, folded):
        np.testing.assert_allclose(got[0].numpy(), wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("name", "options"), CASES, ids=named(CASES))
def test_whole_chunked_and_stepped_agree(name, options):
    assert_three_ways_agree(drawn(name, options), 2_000)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES + MORE[3:4], ids=named(CASES + MORE[3:4]))
def test_whole_chunked_and_stepped_agree_over_fifty_thousand_steps(name, options):
    assert_three_ways_agree(drawn(name, options), 50_000)


@pytest.mark.parametrize(("name", "options"), CASES + MORE[1:4], ids=named(CASES + MORE[1:4]))
def test_nothing_is_seen_across_a_reset(name, options):
    """By gradient, and by what stands before it: NaN comes neither through nor back."""
    layer, at = drawn(name, options), 11
    x, resets = torch.randn(2, 20, 6), torch.zeros(2, 20, dtype=torch.bool)
    resets[0, at] = True
    _, state = layer(torch.randn(2, 70, 6))
    state = states.tree_map(
        lambda leaf: leaf.detach().requires_grad_(leaf.is_floating_point()), state
    )
    x.requires_grad_()
    y, end = layer(x, state, resets=resets)
    floats = [leaf for leaf in states.leaves(state) if leaf.requires_grad]
    total = y[:, at:].square().sum()
    total = total + sum(leaf.sum() for leaf in states.leaves(end) if leaf.is_floating_point())
    back, *into_state = torch.autograd.grad(total, [x, *floats])
    assert not back[0, :at].any()
    assert not any(gradient[0].any() for gradient in into_state)
    assert back[0, at:].any()
    assert back[1, :at].any(), "the lane beside it looks back"

    fresh, _ = layer(x[:1, at:])
    assert_close(y[:1, at:], fresh, 1e-6)
    before = (torch.arange(20) < at)[:, None] & resets.any(dim=1)[:, None, None]
    spoilt, _ = layer(x.detach().masked_fill(before, torch.nan), state, resets=resets)
    assert_close(spoilt[:1, at:], fresh, 1e-6)
    assert spoilt[0, :at].isnan().all()


@pytest.mark.parametrize(
    ("name", "options", "sees"),
    [
        ("convolution", {"width": 3, "dilation": 2}, [0, 2, 4]),
        ("convolution", {"depthwise": True}, [0, 1, 2, 3]),
        ("attention", {"heads": 2, "window": 5}, [0, 1, 2, 3, 4]),
    ],
)
def test_a_window_is_as_long_as_it_says(name, options, sees):
    """What is not a number spoils the steps that see it, and no other, by every way."""
    layer, x = drawn(name, options), torch.randn(1, 40, 6)
    clean, _ = layer(x)
    x[0, 17] = torch.nan
    spoilt = torch.zeros(40, dtype=torch.bool)
    spoilt[[17 + lag for lag in sees]] = True
    first, state = layer(x[:, :19])
    second, _ = layer(x[:, 19:], state)
    with tt.kernels.use("reference"):
        folded, _ = layer(x)
    for y in (layer(x)[0], torch.cat([first, second], dim=1), folded):
        assert torch.equal(y[0].isnan().any(dim=1), spoilt)
        assert_close(y[0, ~spoilt], clean[0, ~spoilt], 1e-6)


@pytest.mark.parametrize("name", ["convolution", "attention"])
def test_the_reference_is_the_fold_and_the_default_is_not(name, monkeypatch):
    layer, x = drawn(name, {}, size=8), torch.randn(2, 5, 6)
    steps = []
    update = layer.update
    monkeypatch.setattr(layer, "update", lambda *given: steps.append(1) or update(*given))
    layer(x)
    assert not steps
    assert layer.backend.startswith("torch: all steps at once")
    with tt.kernels.use("reference"):
        assert layer.backend == "reference: asked for"
        layer(x)
    assert len(steps) == 5


@pytest.mark.parametrize("way", ["forward", "step"])
def test_attention_knows_no_absolute_position(way):
    layer = drawn("attention", {"window": 64}, size=8)
    window = torch.randn(1, 64, 6)
    found = []
    with torch.no_grad():
        for before in (0, 10, 5_000):
            past = torch.randn(1, before, 6)
            if way == "forward":
                y, _ = layer(torch.cat([past, window], dim=1))
                found.append(y[:, -1])
                continue
            _, state = layer(past)
            for t in range(64):
                y, state = layer.step(window[:, t], state)
            found.append(y)
        assert_close(found[1], found[0], 1e-6)
        assert_close(found[2], found[0], 1e-6)
        # It does know what comes before what.
        turned = torch.cat([window[:, :-1].flip(1), window[:, -1:]], dim=1)
        assert float((layer(turned)[0][:, -1] - found[0]).abs().max()) > 1e-3


class Largest(TorchDispatchMode):
    """Finds how many numbers the largest tensor has that any operation makes."""

    def __init__(self):
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, torch.Tensor):
                self.found = max(self.found, each.numel())
        return result


def test_attention_takes_memory_for_windows_and_not_for_all_pairs():
    layer, steps = drawn("attention", {"window": 16}, size=8), 4_000
    with Largest() as largest:
        y, _ = layer(torch.randn(1, steps, 6))
        y.sum().backward()
    assert steps * 31 <= largest.found <= 4 * steps * 31


def test_attention_counts_what_is_there():
    layer = drawn("attention", {"heads": 2, "window": 5})
    resets = torch.zeros(4, 7, dtype=torch.bool)
    resets[2, 5] = resets[3, 1] = True
    _, state = layer(torch.randn(4, 7, 6), lengths=torch.tensor([0, 3, 7, 4]), resets=resets)
    assert state.steps.tolist() == [0, 3, 2, 3]
    empty = torch.arange(4) < 4 - state.steps[:, None]
    assert torch.equal((state.keys == 0).all(dim=-1), empty)
    assert torch.equal((state.values == 0).all(dim=-1), empty)


@pytest.mark.parametrize("radius", [0.5, 0.95, 1.3])
@pytest.mark.parametrize(("size", "density"), [(1, 0.1), (7, 0.1), (200, 0.05), (60, 1.0)])
def test_a_reservoir_is_what_its_options_say(radius, size, density):
    layer = tt.layers.make(
        "echo_state", 3, size, spectral_radius=radius, density=density, input_scale=0.3
    )
    matrix = layer.weight_hh.double().numpy()
    assert abs(np.linalg.eigvals(matrix)).max() == pytest.approx(radius, rel=1e-5)
    assert ((matrix != 0).sum(axis=1) == max(1, round(density * size))).all()
    assert 0 < float(layer.weight_ih.abs().max()) <= 0.3
    assert not list(layer.parameters())


def test_a_reservoir_is_drawn_from_the_generator_and_saved():
    first, same, other = (drawn("echo_state", {}, size=40), drawn("echo_state", {}, size=40), None)
    other = make("echo_state", 6, 40)
    x = torch.randn(1, 9, 6)
    assert torch.equal(first(x)[0], same(x)[0])
    assert not torch.allclose(first(x)[0], other(x)[0])
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(x)[0], other(x)[0])


def test_a_reservoir_forgets_where_it_started():
    layer = drawn("echo_state", {"leak": 0.5}, size=100)
    x, start = torch.randn(2, 400, 6), layer.initial_state(2)
    with torch.no_grad():
        y, _ = layer(x[:1].expand(2, -1, -1), type(start)(torch.randn(2, 100)))
    assert float((y[0, 0] - y[1, 0]).abs().max()) > 0.1
    assert float((y[0, -1] - y[1, -1]).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("convolution", {"width": 1}, "width of 2 steps or more, got 1"),
        ("convolution", {"dilation": 0}, "dilation of 1 step or more, got 0"),
        ("convolution", {"depthwise": True}, "hidden_size = input_size = 3 with .*, got 6"),
        ("attention", {}, "heads that divide hidden_size = 6, got 4"),
        ("attention", {"heads": 0}, "heads that divide hidden_size = 6, got 0"),
        ("attention", {"heads": 2, "window": 1}, "window of 2 steps or more, got 1"),
        ("echo_state", {"leak": 0.0}, "leak above 0 and at most 1, got 0.0"),
        ("echo_state", {"leak": float("nan")}, "leak above 0 and at most 1, got nan"),
        ("echo_state", {"density": 1.5}, "density above 0 and at most 1, got 1.5"),
        ("echo_state", {"spectral_radius": 0.0}, "spectral_radius above 0 and finite, got 0.0"),
        ("echo_state", {"input_scale": float("inf")}, "input_scale above 0 and finite, got inf"),
        ("echo_state", {"memory": 9}, "options of echo_state among spectral_radius"),
    ],
)
def test_an_option_that_can_not_be_is_refused_in_one_line(name, options, message):
    with pytest.raises(OptionError, match=message) as caught:
        make(name, 3, 6, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "others", "message"),
    [
        ("convolution", {}, {"width": 5}, r"inputs of \(3, 6\) .* CausalConvolution, got \(4, 6\)"),
        (
            "attention",
            {"heads": 2, "window": 5},
            {"heads": 2, "window": 6},
            r"keys of \(4, 6\) .* WindowAttention, got \(5, 6\)",
        ),
    ],
)
def test_the_state_of_another_window_is_refused(name, options, others, message):
    state = drawn(name, others).initial_state(2)
    with pytest.raises(StateError, match=message) as caught:
        drawn(name, options)(torch.randn(2, 3, 6), state)
    assert "\n" not in str(caught.value)


def test_the_state_of_another_layer_is_refused():
    names = ("convolution", "attention", "echo_state", "gru")
    layers = [drawn(name, {}, size=8) for name in names]
    for layer in layers:
        for other in layers:
            if layer is not other:
                with pytest.raises(StateError, match=f"in {type(layer).__name__}, got "):
                    layer.step(torch.randn(2, 6), other.initial_state(2))
    with pytest.raises(StateError, match=r"H = 8 in EchoState, got \(2, 9\)"):
        layers[2].step(torch.randn(2, 6), drawn("echo_state", {}, size=9).initial_state(2))
