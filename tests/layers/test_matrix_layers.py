"""Layers with a matrix for a memory, and the sLSTM: equations, laws, chunks and their borders."""

import numpy as np
import pytest
import torch
from three_ways import assert_close, assert_three_ways_agree

import throughtime as tt
from throughtime import state as states
from throughtime.errors import OptionError, StateError
from throughtime.layers import MLSTM, RWKV7, SLSTM, GatedDeltaNet, make
from throughtime.layers.heads import log_between

CASES = [
    ("slstm", {"heads": 2}),
    ("mlstm", {"heads": 2}),
    ("gated_delta", {"heads": 2, "negative_eigenvalues": True}),
    ("rwkv7", {"heads": 2}),
]
MORE = [
    ("slstm", {}),
    ("mlstm", {"heads": 1}),
    ("mlstm", {"heads": 6}),
    ("gated_delta", {"heads": 2}),
    ("gated_delta", {"heads": 1}),
    ("rwkv7", {"heads": 3}),
]
IN_CHUNKS = CASES[1:]
# Where n q nearly vanishes, the mLSTM divides by it: with heads of three units that happens, y is
# then 50, and the fold itself is 3e-5 away from float64. With six it stays away from it.
LONG = [(name, {**options, "heads": 1} if name == "mlstm" else options) for name, options in CASES]
CHUNK = MLSTM.chunk


def named(cases):
    return [f"{name}-{'-'.join(map(str, options.values()))}" for name, options in cases]


def drawn(name, options, features=3, size=6):
    """A layer with no parameter where its maths would be simpler than it is."""
    torch.manual_seed(0)
    layer = make(name, features, size, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return layer


@pytest.mark.parametrize(("name", "options"), CASES, ids=named(CASES))
def test_the_laws_hold(name, options):
    torch.manual_seed(0)
    tt.testing.check_recurrent(make(name, 3, 6, **options), batch_size=2, steps=5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), MORE, ids=named(MORE))
def test_the_laws_hold_with_other_options(name, options):
    torch.manual_seed(0)
    tt.testing.check_recurrent(make(name, 3, 6, **options))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), IN_CHUNKS, ids=named(IN_CHUNKS))
def test_the_reference_obeys_them_too(name, options):
    torch.manual_seed(0)
    with tt.kernels.use("reference"):
        tt.testing.check_recurrent(make(name, 3, 6, **options))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def unit(x):
    return x / np.sqrt(x @ x + 1e-6)


def norm(x):
    return x / np.sqrt((x**2).mean() + 1e-5)


def linear(p, name, x):
    return p[f"{name}.weight"] @ x + p.get(f"{name}.bias", 0)


def slstm(p, xs, heads=1):
    size = len(p["enter.bias"]) // 4
    h, c, n = np.zeros((3, size))
    for x in xs:
        blocks = h.reshape(heads, 1, -1) @ p["recurrent_weights"]
        z, i, f, o = linear(p, "enter", x).reshape(4, size) + blocks.reshape(4, size)
        c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
        n = sigmoid(f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        yield h, {"h": h, "c": c, "n": n}


def mlstm(p, xs, heads):
    size = len(p["query.weight"]) // heads
    c, n = np.zeros((heads, size, size)), np.zeros((heads, size))
    for x in xs:
        q, k, v = (linear(p, each, x).reshape(heads, size) for each in ("query", "key", "value"))
        k = k / np.sqrt(size)
        i, f = np.exp(linear(p, "input_gate", x)), sigmoid(linear(p, "forget_gate", x))
        h = np.zeros((heads, size))
        for head in range(heads):
            c[head] = f[head] * c[head] + i[head] * np.outer(v[head], k[head])
            n[head] = f[head] * n[head] + i[head] * k[head]
            h[head] = c[head] @ q[head] / max(abs(n[head] @ q[head]), 1)
        # Keys are the columns in the equations, and the rows in the state.
        yield sigmoid(linear(p, "output_gate", x)) * h.ravel(), {"c": c.swapaxes(1, 2), "n": n}


def gated_delta(p, xs, heads, negative_eigenvalues=False):
    size = len(p["scale"]) // heads
    s = np.zeros((heads, size, size))
    for x in xs:
        q, k, v = (
            silu(linear(p, each, x)).reshape(heads, size) for each in ("query", "key", "value")
        )
        alpha = np.exp(-np.exp(p["log_rate"]) * np.log1p(np.exp(linear(p, "forget_gate", x))))
        beta = sigmoid(linear(p, "write_gate", x)) * (2 if negative_eigenvalues else 1)
        read = np.zeros((heads, size))
        for head in range(heads):
            key = unit(k[head])
            erased = s[head] @ (np.eye(size) - beta[head] * np.outer(key, key))
            s[head] = alpha[head] * erased + beta[head] * np.outer(v[head], key)
            read[head] = norm(s[head] @ unit(q[head]))
        gated = silu(linear(p, "output_gate", x)) * p["scale"] * read.ravel()
        yield linear(p, "leave", gated), {"s": s.swapaxes(1, 2)}


def rwkv7(p, xs, heads):
    size = len(p["scale"]) // heads
    s, last = np.zeros((heads, size, size)), np.zeros(xs.shape[1])
    for x in xs:
        at = x + p["mix"] * (last - x)
        r, k, v = (
            linear(p, each, at[place]) for place, each in enumerate(("receptance", "key", "value"))
        )
        w = np.exp(-np.exp(-0.5) * sigmoid(linear(p, "decay", at[3])))
        a, g = sigmoid(linear(p, "rate", at[4])), sigmoid(linear(p, "output_gate", at[5]))
        removed, k = p["removal"] * k, k * (1 + p["replacement"] * (a - 1))
        read = np.zeros((heads, size))
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            kappa = unit(removed[own])
            transition = np.diag(w[own]) - np.outer(kappa, a[own] * kappa)
            s[head] = s[head] @ transition + np.outer(v[own], k[own])
            read[head] = p["scale"][own] * norm(s[head] @ r[own])
            read[head] += r[own] @ (p["bonus"][own] * k[own]) * v[own]
        last = x
        yield linear(p, "leave", g * read.ravel()), {"s": s.swapaxes(1, 2), "previous": x}


EQUATIONS = {each.__name__: each for each in (slstm, mlstm, gated_delta, rwkv7)}


@pytest.mark.parametrize(("name", "options"), CASES + MORE, ids=named(CASES + MORE))
def test_a_layer_computes_its_equation(name, options):
    layer = drawn(name, options).double()
    x = torch.randn(1, 70, 3, dtype=torch.float64)
    with torch.no_grad():
        y, end = layer(x)
    p = {key: value.detach().numpy() for key, value in layer.named_parameters()}
    outputs, ends = zip(*EQUATIONS[name](p, x[0].numpy(), **options), strict=True)
    wanted = ends[-1]
    for t, out in enumerate(outputs):
        np.testing.assert_allclose(y[0, t].numpy(), out, rtol=1e-9, atol=1e-9)
    got = {key: leaf[0].numpy() for key, leaf in end._asdict().items()}
    if "m" in got:
        # The equations know no stabiliser: what is stored is what they say times exp(-m).
        scale = np.exp(got.pop("m"))
        for key in ("c", "n"):
            got[key] = got[key] * scale.reshape(scale.shape + (1,) * (got[key].ndim - scale.ndim))
    assert got.keys() == wanted.keys()
    for key in got:
        np.testing.assert_allclose(got[key], wanted[key], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "options"), LONG, ids=named(LONG))
def test_whole_chunked_and_stepped_agree(name, options):
    torch.manual_seed(0)
    assert_three_ways_agree(make(name, 3, 6, **options), 2_000)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), LONG, ids=named(LONG))
def test_whole_chunked_and_stepped_agree_over_fifty_thousand_steps(name, options):
    torch.manual_seed(0)
    assert_three_ways_agree(make(name, 3, 6, **options), 50_000)


def reached(layer, lanes):
    """A state after a few steps, with room for gradients."""
    with torch.no_grad():
        _, state = layer(torch.randn(lanes, 5, layer.input_size, dtype=torch.float64))
    return states.tree_map(lambda leaf: leaf.requires_grad_(), state)


def assert_fold_agrees(layer, x, lengths=None, resets=None):
    """Outputs, state and all gradients are those of the fold, in float64."""
    state, results = reached(layer, len(x)), []
    targets = [x.requires_grad_(), *states.leaves(state), *layer.parameters()]
    for backend in ("reference", "torch"):
        with tt.kernels.use(backend):
            y, end = layer(x, state, lengths=lengths, resets=resets)
        total = (torch.cos(torch.arange(y.numel()).view_as(y) * 1.3) * y).sum()
        for leaf in states.leaves(end):
            total = total + (torch.cos(torch.arange(leaf.numel()).view_as(leaf) * 1.7) * leaf).sum()
        results.append([y, *states.leaves(end), *torch.autograd.grad(total, targets)])
    for got, wanted in zip(results[1], results[0], strict=True):
        assert_close(got, wanted, 1e-9)


@pytest.mark.parametrize(("name", "options"), IN_CHUNKS, ids=named(IN_CHUNKS))
@pytest.mark.parametrize("steps", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_the_border_of_a_chunk_does_not_show(name, options, steps):
    layer = drawn(name, options).double()
    assert_fold_agrees(layer, torch.randn(2, steps, 3, dtype=torch.float64))


@pytest.mark.parametrize(("name", "options"), IN_CHUNKS, ids=named(IN_CHUNKS))
def test_resets_and_lengths_at_borders_are_those_of_the_fold(name, options):
    layer = drawn(name, options).double()
    steps = 2 * CHUNK + 6
    resets = torch.zeros(6, steps, dtype=torch.bool)
    for lane, places in enumerate(
        ([0], [CHUNK - 1], [CHUNK], [CHUNK + 1, 2 * CHUNK], [3, 4, CHUNK - 1, CHUNK], [steps - 1])
    ):
        resets[lane, places] = True
    x = torch.randn(6, steps, 3, dtype=torch.float64)
    assert_fold_agrees(layer, x, resets=resets)
    lengths = torch.tensor([0, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, steps])
    assert_fold_agrees(layer, x, lengths=lengths, resets=resets)


@pytest.mark.parametrize(("name", "options"), CASES, ids=named(CASES))
def test_no_steps_and_empty_lanes_leave_the_state_as_it_is(name, options):
    layer = drawn(name, options).double()
    state = states.detach(reached(layer, 2))
    y, end = layer(torch.randn(2, 0, 3, dtype=torch.float64), state)
    assert y.shape == (2, 0, 6)
    lengths = torch.tensor([0, 0])
    _, held = layer(torch.randn(2, 40, 3, dtype=torch.float64), state, lengths=lengths)
    for leaf, a, b in zip(*map(states.leaves, (state, end, held)), strict=True):
        assert torch.equal(leaf, a)
        assert torch.equal(leaf, b)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize(("name", "options"), IN_CHUNKS, ids=named(IN_CHUNKS))
def test_what_is_lost_is_lost_up_to_the_next_reset(name, options, bad):
    layer = drawn(name, options)
    x, resets = torch.randn(4, 50, 3), torch.zeros(4, 50, dtype=torch.bool)
    clean, kept = layer(x, resets=resets.index_fill(1, torch.tensor([20]), True))
    x[0, 5], x[1, 20], x[2, 19] = bad, bad, bad
    resets[:3, 20] = True
    state = layer.initial_state(4)
    state[0][3] = torch.nan
    y, end = layer(x, state, resets=resets)
    lost = torch.zeros(4, 50, dtype=torch.bool)
    lost[0, 5:20], lost[1, 20:], lost[2, 19], lost[3] = True, True, True, True
    assert torch.equal(y.isnan().any(-1), lost)
    assert_close(y[0, 20:], clean[0, 20:])
    assert_close(y[2, 20:], clean[2, 20:])
    for leaf, right in zip(states.leaves(end), states.leaves(kept), strict=True):
        assert_close(leaf[[0, 2]], right[[0, 2]])
    assert end[0][1].isnan().all()
    assert end[0][3].isnan().all()


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("name", "options"), CASES, ids=named(CASES))
def test_gates_far_open_and_far_shut_stay_finite(name, options, sign, backend):
    layer = drawn(name, options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter *= 10
    x = torch.randn(2, 70, 3).sign() * 1e3
    # One input for all steps as well, and none at all after a large one: 0 / 0 for a normaliser.
    x[1] = sign * 1e3
    x[1, 40:] = 0
    x.requires_grad_()
    with tt.kernels.use(backend):
        y, end = layer(x)
    total = y.sum() + sum(leaf.sum() for leaf in states.leaves(end))
    assert y.isfinite().all()
    gradients = torch.autograd.grad(total, [x, *layer.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_small_decays_after_a_large_one_keep_their_digits():
    log = torch.tensor([-0.1, -3e7, -0.2, -0.3])
    assert log_between(log)[3, 1].item() == pytest.approx(-0.5, rel=1e-6)
    assert log_between(log)[2, 0].item() == pytest.approx(-3e7, rel=1e-6)


def test_a_step_that_is_not_there_does_not_raise_the_scale():
    layer = drawn("mlstm", {"heads": 2})
    with torch.no_grad():
        layer.input_gate.bias.fill_(5)
    _, end = layer(torch.randn(2, 40, 3), lengths=torch.tensor([0, 40]))
    assert torch.equal(end.m[0], torch.zeros(2))
    assert (end.m[1] > 1).all()


def test_the_slstm_starts_with_its_first_input_however_small_its_gate():
    layer = drawn("slstm", {})
    with torch.no_grad():
        layer.enter.bias[6:12] = -1e3
    _, state = layer.step(torch.randn(2, 3), layer.initial_state(2))
    assert torch.equal(state.n, torch.ones(2, 6))


def test_a_doubled_write_gate_turns_what_is_under_a_key_around():
    torch.manual_seed(0)
    for negative, sign in ((False, 1), (True, -1)):
        layer = GatedDeltaNet(1, 4, heads=1, negative_eigenvalues=negative)
        with torch.no_grad():
            layer.write_gate.weight.fill_(3)
            layer.value.weight.zero_()
            layer.log_rate.fill_(-20)
            s = torch.randn(1, 1, 4, 4)
            key = layer.inputs(torch.full((1, 1), 5.0))[3][0, 0]
            _, end = layer.step(torch.full((1, 1), 5.0), type(layer.initial_state(1))(s))
        # With beta near 1 what is under the key is gone, with beta near 2 it is turned around.
        held, left = key @ s[0, 0], key @ end.s[0, 0]
        assert_close(left, 0 * held if sign > 0 else -held, 1e-3)


@pytest.mark.parametrize(("name", "options"), CASES, ids=named(CASES))
def test_autocast_keeps_the_memory_in_float32(name, options):
    layer = drawn(name, options)
    x = torch.randn(2, 70, 3)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for _, end in (layer(x), layer.step(x[:, 0], layer.initial_state(2))):
            memory = states.leaves(end)[0]
            assert memory.dtype == torch.float32
            assert not torch.equal(memory, memory.bfloat16().float())


def test_a_layer_says_how_it_runs():
    for kind in (MLSTM, GatedDeltaNet, RWKV7):
        assert kind(3, 8).backend == "torch: matrix products over chunks of 32 steps"
        with tt.kernels.use("reference"):
            assert kind(3, 8).backend == "reference: asked for"
    with tt.kernels.use("reference"):
        assert SLSTM(3, 8).backend == "reference: asked for"
    assert SLSTM(3, 8).double().backend.startswith("reference: native kernels compute in float32")


@pytest.mark.parametrize(("name", "options"), CASES, ids=named(CASES))
def test_a_state_of_another_layer_is_refused_in_one_line(name, options):
    layer, x = drawn(name, options), torch.randn(2, 4, 3)
    for state in (
        make("gru", 3, 6).initial_state(2),
        make(name, 3, 12, **options).initial_state(2),
        tuple(layer.initial_state(2)),
    ):
        with pytest.raises(StateError, match=r"make states with initial_state\(B\)") as caught:
            layer(x, state)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["slstm", "mlstm", "gated_delta", "rwkv7"])
@pytest.mark.parametrize("heads", [4, 0, -2, 12])
def test_heads_that_can_not_be_are_refused_in_one_line(name, heads):
    nearest = {4: 3, 12: 6}.get(heads, 1)
    wanted = f"heads that divide hidden_size = 6, got {heads}; the nearest is {nearest}$"
    with pytest.raises(OptionError, match=wanted) as caught:
        make(name, 3, 6, heads=heads)
    assert "\n" not in str(caught.value)


def test_a_cell_that_barely_forgets_passes_the_gradient_of_its_scale_on():
    # log f + m is below log i by less than float32 tells from 1 in exp(log f + m - log i).
    layer = make("slstm", 1, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.enter.bias.copy_(torch.tensor([1.0, 0.0, 20.0, 0.0]))

    def gradients(dtype, backend):
        state = [torch.tensor([[each]], dtype=dtype) for each in (0.0, 0.5, 1.0, 0.0)]
        start = type(layer.initial_state(1))(*(leaf.requires_grad_() for leaf in state))
        with tt.kernels.use(backend):
            y, _ = layer.to(dtype)(torch.zeros(1, 3, 1, dtype=dtype), start)
        return torch.autograd.grad(y.sum(), start)

    expected = gradients(torch.float64, "reference")
    assert abs(float(expected[3])) > 0.05
    for got, wanted in zip(gradients(torch.float32, "native"), expected, strict=True):
        assert_close(got.double(), wanted)
