"""The kernels of varied cells compute what the fold does, on all instruction sets and threads."""

import copy
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_runs import Conditions, assert_agree, assert_same, conditions_here, needs_library, under

from throughtime import kernels
from throughtime import state as states
from throughtime.errors import ShapeError, ThroughtimeError
from throughtime.kernels import variant_operators as operators
from throughtime.layers import Regularised, make
from throughtime.layers.noise import Noise
from throughtime.layers.slstm import SLSTMState

pytestmark = needs_library

NOISELESS = ("slstm",)
NAMES = ("layer_norm_lstm", "layer_norm_gru", "peephole_lstm", "coupled_lstm", "projected_lstm")
CLASSIC = ("rnn", "lstm", "gru")
NOISY = {
    "dropped": {"recurrent_dropout": 0.4},
    "dropped for a span": {"recurrent_dropout": 0.4, "span": 3},
    "zoned": {"zoneout": 0.3},
    "weights": {"weight_drop": 0.5, "span": 2},
    "all": {"recurrent_dropout": 0.2, "zoneout": 0.2, "weight_drop": 0.2, "span": 4},
}
SIZES = st.fixed_dictionaries(
    {
        "lanes": st.sampled_from([1, 2, 3, 5, 9, 0, 33]),
        "steps": st.sampled_from([1, 2, 5, 0, 11]),
        "units": st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 65]),
        "lengths": st.booleans(),
        "resets": st.sampled_from([0.0, 0.3, 1.0]),
        "seed": st.integers(0, 9999),
    }
)


class Case:
    """A layer and a call of it, in float32 and in float64."""

    def __init__(self, layer, lanes, steps, lengths, resets, seed):
        draw = torch.Generator().manual_seed(seed)
        for parameter in layer.parameters():
            size = 0.8 * parameter.shape[1] ** -0.5 if parameter.dim() == 2 else 0.3
            with torch.no_grad():
                parameter.copy_(size * torch.randn(parameter.shape, generator=draw))
                if parameter.dim() == 1:
                    parameter.add_(0.5)
        self.layer = layer
        self.x = torch.randn(lanes, steps, layer.input_size, generator=draw)

        def drawn(leaf):
            if leaf.is_floating_point():
                return torch.randn(leaf.shape, generator=draw)
            return torch.randint(0, 9, leaf.shape, generator=draw)

        self.state = states.tree_map(drawn, layer.initial_state(lanes))
        if isinstance(self.state, SLSTMState):
            # What a cell is divided by is a sum of positive numbers, or zero where it is empty.
            n = self.state.n.abs() + 0.1
            self.state = self.state._replace(
                n=torch.where(torch.arange(lanes)[:, None] % 3 == 2, 0, n)
            )
        self.lengths = torch.randint(0, steps + 1, (lanes,), generator=draw) if lengths else None
        flags = torch.rand(lanes, steps, generator=draw) < resets
        self.resets = flags if resets else None

    def results(self, backend, dtype=torch.float32):
        layer = copy.deepcopy(self.layer).to(dtype)
        x = self.x.to(dtype).requires_grad_()
        state = states.tree_map(
            lambda leaf: leaf.to(dtype).requires_grad_() if leaf.is_floating_point() else leaf,
            self.state,
        )
        with kernels.use(backend):
            y, end = layer(x, state, lengths=self.lengths, resets=self.resets)
        named = {"y": y} | {f"end {place}": leaf for place, leaf in enumerate(states.leaves(end))}
        loss = sum(
            (each * torch.cos(torch.arange(each.numel()).to(dtype)).view(each.shape)).sum()
            for each in named.values()
            if each.is_floating_point()
        )
        sources = {"d x": x} | {f"d {n}": p for n, p in layer.named_parameters()}
        for place, leaf in enumerate(states.leaves(state)):
            if leaf.is_floating_point():
                sources[f"d state {place}"] = leaf
        gradients = torch.autograd.grad(
            loss, list(sources.values()), allow_unused=True, materialize_grads=True
        )
        return {n: each.detach() for n, each in named.items()} | dict(
            zip(sources, gradients, strict=True)
        )


def layer_of(name, units, features=3, **options):
    if name in NOISELESS:
        return make(name, features, units, heads=2 - units % 2)
    made = make(name, features, units, learned_initial_state=True)
    return Regularised(made, **options) if options else made


def assert_native_is_the_fold(case, **tolerances):
    expected = case.results("reference", torch.float64)
    for conditions in conditions_here():
        with under(conditions):
            assert case.layer.backend.startswith("native")
            assert_agree(case.results("native"), expected, where=conditions, **tolerances)


@pytest.mark.parametrize("name", [*NAMES, *NOISELESS])
def test_a_variant_is_the_fold(name):
    # Normalising divides by a deviation, which may be small: what is rounded before grows with it.
    loose = {"outputs": 1e-5, "gradients": 1e-4} if "norm" in name else {}

    @settings(max_examples=12)
    @given(SIZES)
    def check(sizes):
        units = sizes.pop("units")
        if "norm" in name:
            units = max(units, 7)
        assert_native_is_the_fold(Case(layer_of(name, units), **sizes), **loose)

    check()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", NOISY.values(), ids=NOISY)
@pytest.mark.parametrize("name", CLASSIC)
def test_a_noisy_layer_is_the_fold(name, options, training):
    @settings(max_examples=3)
    @given(SIZES)
    def check(sizes):
        units = sizes.pop("units")
        layer = layer_of(name, units, **options).train(training)
        assert_native_is_the_fold(Case(layer, **sizes))

    check()


@pytest.mark.parametrize("name", NAMES)
def test_a_noisy_variant_is_the_fold(name):
    for units, lengths, resets in ((17, True, 0.3), (33, False, 0.0)):
        layer = layer_of(name, units, **NOISY["all"])
        case = Case(layer, 4, 6, lengths, resets, seed=1)
        assert_native_is_the_fold(case, outputs=1e-5, gradients=1e-4)


@pytest.mark.parametrize("name", [*NAMES, *NOISELESS, *CLASSIC])
def test_long_runs_of_many_lanes_are_the_fold(name):
    options = NOISY["zoned"] if name in CLASSIC else {}
    case = Case(layer_of(name, 40, **options), 21, 150, True, 0.02, seed=2)
    # Gradients of weights are sums over three thousand rows here.
    assert_native_is_the_fold(case, outputs=1e-5, gradients=3e-4)


@pytest.mark.parametrize("name", [*NAMES, *NOISELESS])
def test_threads_change_no_bit_but_those_of_sums_over_lanes(name):
    case = Case(layer_of(name, 48), 9, 40, True, 0.1, seed=3)
    runs = []
    for conditions in (
        Conditions(conditions_here()[-1].instruction_set, 1),
        *conditions_here()[-2:],
    ):
        with under(conditions):
            found = case.results("native")
        runs.append({n: v for n, v in found.items() if n[0] != "d" or "state" in n or n == "d x"})
    for run in runs[1:]:
        assert_same(run, runs[0])


@pytest.mark.parametrize("name", [*NAMES, *NOISELESS, "noisy"])
def test_nothing_is_kept_without_gradients_and_nothing_else_changes(name):
    noisy = {"recurrent_dropout": 0.3, "zoneout": 0.2}
    layer = layer_of("lstm", 18, **noisy) if name == "noisy" else layer_of(name, 18)
    case = Case(layer, 7, 9, True, 0.3, seed=4)
    call = {"lengths": case.lengths, "resets": case.resets}
    y, end = layer(case.x, case.state, **call)
    with torch.no_grad():
        free, free_end = layer(case.x, case.state, **call)
    assert torch.equal(y, free)
    assert all(map(torch.equal, states.leaves(end), states.leaves(free_end)))


@pytest.mark.parametrize("name", [*NAMES, *NOISELESS, "noisy"])
def test_nan_stays_in_its_lane_and_goes_through_it_as_in_torch(name):
    layer = layer_of("gru", 9, zoneout=0.3) if name == "noisy" else layer_of(name, 9)
    case = Case(layer, 3, 6, False, 0.0, seed=5)
    case.x[1, 3] = torch.nan
    case.x[2, 2, 0] = torch.inf
    with torch.no_grad():
        ways = []
        for backend in ("native", "reference"):
            with kernels.use(backend):
                ways.append(layer(case.x, case.state)[0])
    assert torch.equal(ways[0].isnan(), ways[1].isnan())
    assert ways[0][1].isnan().any()
    assert ways[0][0].isfinite().all()


def test_lanes_that_began_together_share_the_weights_that_are_left(monkeypatch):
    layer = Regularised(make("lstm", 3, 5), weight_drop=0.5)
    calls = []
    run = kernels.run_variant
    monkeypatch.setattr(kernels, "run_variant", lambda *a: (calls.append(a), run(*a))[1])
    layer(torch.randn(4, 6, 3))
    assert len(calls) == 1
    resets = torch.zeros(4, 6, dtype=torch.bool)
    resets[1:3, 2] = True
    layer(torch.randn(4, 6, 3), resets=resets)
    assert len(calls) == 1 + 1 + 2


def test_masks_are_the_ones_of_the_noise_module():
    layer = Regularised(make("rnn", 1, 64), recurrent_dropout=0.5)
    with torch.no_grad():
        layer.layer.weight_ih.zero_()
        layer.layer.weight_hh.copy_(torch.eye(64))
    state = layer.initial_state(200)
    one = state._replace(layer=type(state.layer)(torch.ones(200, 64)))
    y, _ = layer(torch.zeros(200, 1, 1), one)
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 2.0]).tanh())
    assert abs((y == 0).double().mean() - 0.5) < 0.02
    again, _ = layer(torch.zeros(200, 1, 1), one)
    assert torch.equal(y, again)
    other = one._replace(noise=Noise(one.noise.seed + 1, one.noise.step))
    assert not torch.equal(y, layer(torch.zeros(200, 1, 1), other)[0])


def test_a_second_derivative_is_refused_in_one_line():
    layer = layer_of("peephole_lstm", 5)
    x = torch.randn(2, 3, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="expected one backward pass"):
        slope.sum().backward()


def arguments(**changed):
    """Arguments of the operator for a peephole LSTM of B = 2, T = 3, H = 4."""
    named = {
        "enter": torch.zeros(2, 3, 16),
        "h": torch.zeros(2, 4),
        "c": torch.zeros(2, 4),
        "weight": torch.zeros(16, 4),
        **dict.fromkeys(operators._WEIGHTS[1:]),
        **dict.fromkeys(operators._CONDITIONS),
    }
    return [*(named | changed).values(), 0, 1.0, 0, 0.0, "lstm", True]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weight": torch.zeros(16, 3)}, "expected h as"),
        ({"enter": torch.zeros(2, 3, 12)}, "expected enter as"),
        ({"bias": torch.zeros(12)}, "expected bias as"),
        ({"c": None}, "expected the state of a lstm"),
        ({"peepholes": torch.zeros(4, 4)}, "expected peepholes as"),
        ({"lengths": torch.tensor([1, 4])}, "expected lengths between 0 and T = 3"),
        ({"lengths": torch.tensor([1.0, 2.0])}, "expected lengths as"),
        ({"resets": torch.zeros(2, 3, dtype=torch.bool)}, "expected the state that resets go to"),
        ({"drop": torch.zeros(2, 3, dtype=torch.int64)}, "expected drop as"),
        ({"h": torch.zeros(2, 4).double()}, "expected h as"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_kernel(changed, message):
    torch.ops.throughtime.variant(*arguments())
    with pytest.raises((ShapeError, ThroughtimeError), match=re.escape(message)):
        torch.ops.throughtime.variant(*arguments(**changed))
