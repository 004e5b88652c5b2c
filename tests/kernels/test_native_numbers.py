"""What the native kernels do with numbers: how exact they are, and where NaN and inf go."""

import math

import pytest
import torch
from native_runs import (
    CELLS,
    Conditions,
    assert_agree,
    cell_layer,
    conditions_here,
    make_case,
    native,
    needs_bfloat16,
    needs_library,
    reference,
    run_with_gradients,
    sets_here,
    under,
)

pytestmark = needs_library

TINY = torch.finfo(torch.float32).tiny
ULP = 2.0**-23


def one_unit(cell, rows, features=1):
    """A layer of one unit whose input weights are `rows`, and nothing else."""
    layer = cell_layer(cell, features, 1, bias=False)
    with torch.no_grad():
        layer.weight_ih.copy_(torch.tensor(rows).view(-1, features))
        layer.weight_hh.zero_()
    return layer


def outputs(layer, x, h):
    """One step of each number of x, from the state h, on each instruction set."""
    case = make_case(layer.cell, len(x), 1, 1, 1)
    state = tuple(torch.full((len(x), 1), h) for _ in case.state)
    case = case._replace(layer=layer, x=x.view(-1, 1, 1), state=state)
    for name in sets_here():
        with under(Conditions(name)), torch.no_grad():
            yield name, native(case)[0].flatten()


def spread_out():
    """Numbers of every size, both signs, with all the places where something changes."""
    sizes = torch.logspace(-44, 2.5, 3001, dtype=torch.float64).float()
    near = [0.0, 1e-45, TINY, 0.346573, 0.35, 10.0, 10.5, 87.0, 87.34, 88.0, 88.376, 88.72, 89.0]
    edges = torch.tensor(near)
    edges = torch.cat([edges, torch.nextafter(edges, edges + 1), torch.linspace(85, 90, 999)])
    half = torch.cat([sizes, edges, torch.tensor([1e30, math.inf])])
    return torch.cat([half, -half])


def test_tanh_is_exact_to_the_last_bits_near_zero_and_far_out():
    x = spread_out()
    exact = torch.tanh(x.double())
    for name, y in outputs(one_unit("rnn_tanh", [1.0]), x, 0.0):
        error = (y.double() - exact).abs()
        # Below the least normal number, bits are lost one by one.
        assert (error <= 2 * ULP * exact.abs() + 2e-45).all(), name
        assert (y.abs() <= 1).all()
        assert torch.equal(y.sign(), x.sign())
        assert torch.equal(y[x.abs() > 10].abs(), torch.ones_like(y[x.abs() > 10]))


def test_sigmoid_is_exact_to_the_last_bits_in_both_tails():
    # A GRU of one unit whose candidate is zero: h' = z h, and z is the sigmoid of x.
    x = spread_out()
    x = x[x.isfinite()]
    exact = torch.sigmoid(x.double())
    for name, y in outputs(one_unit("gru", [0.0, 1.0, 0.0]), x, 1.0):
        error = (y.double() - exact).abs()
        # A result that is hardly above the least normal number may be zero.
        assert (error <= 2 * ULP * exact + 2 * TINY).all(), name
        assert ((y >= 0) & (y <= 1)).all()
        assert (y[x < -104] == 0).all()
        assert (y[x > 20] == 1).all()


def test_sigmoid_of_infinities_is_zero_and_one():
    layer = one_unit("gru", [0.0, 0.0, 0.0])
    with torch.no_grad():
        # Through the bias, so that no other gate meets the infinity.
        layer.bias_ih = torch.nn.Parameter(torch.tensor([0.0, 0.0, 0.0]))
        layer.bias_hh = torch.nn.Parameter(torch.zeros(3))
        for bias, wanted in ((-math.inf, 0.0), (math.inf, 1.0)):
            layer.bias_ih[1] = bias
            for name, y in outputs(layer, torch.ones(3), 1.0):
                assert torch.equal(y, torch.full((3,), wanted)), name


def test_relu_keeps_nan_and_is_exact():
    x = torch.cat([spread_out(), torch.tensor([math.nan])])
    for name, y in outputs(one_unit("rnn_relu", [1.0]), x, 0.0):
        assert torch.equal(y[:-1], x[:-1].clamp(min=0)), name
        assert y[-1].isnan(), name


def torch_nn(case):
    """The same by torch's own kernels."""
    layer = case.layer
    kernel = {
        **{"rnn_tanh": torch.rnn_tanh, "rnn_relu": torch.rnn_relu},
        **{"lstm": torch.lstm, "gru": torch.gru},
    }[layer.cell]
    state = tuple(leaf[None] for leaf in case.state)
    weights = [layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh]
    y, *end = kernel(
        case.x, state if len(state) > 1 else state[0], weights, True, 1, 0.0, True, False, True
    )
    return y, *(leaf[0] for leaf in end)


PLACES = {
    "x": lambda case: case.x[1, 2],
    "weight_ih": lambda case: case.layer.weight_ih.data[3],
    "weight_hh": lambda case: case.layer.weight_hh.data[-2],
    "bias_ih": lambda case: case.layer.bias_ih.data,
    "bias_hh": lambda case: case.layer.bias_hh.data,
    "h": lambda case: case.state[0][2],
    "c": lambda case: case.state[-1][0],
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_nan_and_inf_come_through_as_in_torch_nn(cell, value, place):
    case = make_case(cell, 5, 4, 3, 18)
    PLACES[place](case)[1] = value
    expected = dict(zip(("y", "end 0", "end 1"), torch_nn(case), strict=False))
    for conditions in conditions_here():
        with under(conditions), torch.no_grad():
            got = dict(zip(expected, native(case), strict=True))
        assert_agree(got, expected, outputs=2e-6, where=conditions)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("place", ["x", "weight_hh", "h"])
def test_gradients_are_nan_where_torch_nns_are(cell, place):
    case = make_case(cell, 5, 4, 3, 18)
    PLACES[place](case)[1] = math.nan
    expected = run_with_gradients(torch_nn, case)
    for conditions in conditions_here():
        with under(conditions):
            got = run_with_gradients(native, case)
        for name, each in expected.items():
            assert torch.equal(each.isnan(), got[name].isnan()), (name, conditions)
        assert_agree(got, expected, outputs=2e-6, gradients=2e-5, where=conditions)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bfloat16", [False, pytest.param(True, marks=needs_bfloat16)])
def test_a_nan_stays_in_its_lane_and_after_its_time(cell, bfloat16):
    clean = make_case(cell, 13, 8, 3, 18, seed=3)
    case = clean._replace(x=clean.x.clone())
    case.x[4, 5, 1] = math.nan
    others = torch.arange(13) != 4
    for conditions in conditions_here(bfloat16):
        with under(conditions):
            got = run_with_gradients(native, case, bfloat16=bfloat16)
            wanted = run_with_gradients(native, clean, bfloat16=bfloat16)
        assert torch.equal(got["y"][4, :5], wanted["y"][4, :5]), conditions
        assert got["y"][4, 5:].isnan().all()
        for name in ("y", "end 0", "d x", "d state 0"):
            assert torch.equal(got[name][others], wanted[name][others]), (name, conditions)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30], ids=str)
def test_what_is_in_the_padding_reaches_nothing(cell, value):
    clean = make_case(cell, 7, 9, 3, 18, lengths="some", resets="some")
    there = (torch.arange(9) < clean.lengths[:, None])[:, :, None]
    dirty = clean._replace(x=torch.where(there, clean.x, torch.tensor(value)))
    resets = torch.where(there[:, :, 0], clean.resets, ~clean.resets)
    dirty = dirty._replace(resets=resets)
    for conditions in conditions_here():
        with under(conditions):
            wanted = run_with_gradients(native, clean)
            got = run_with_gradients(native, dirty)
        for name, each in wanted.items():
            assert torch.equal(got[name], each), (name, conditions)


@pytest.mark.parametrize("cell", CELLS)
def test_memory_that_was_used_before_reaches_nothing(cell):
    # The kernels fill only some of their buffers; all fresh memory is NaN here.
    torch.use_deterministic_algorithms(True)
    try:
        for lengths in (None, "some", "none"):
            case = make_case(cell, 9, 7, 3, 18, lengths=lengths, resets="some")
            expected = run_with_gradients(reference, case.double())
            for conditions in conditions_here():
                with under(conditions):
                    assert_agree(run_with_gradients(native, case), expected, where=conditions)
    finally:
        torch.use_deterministic_algorithms(False)


@needs_bfloat16
def test_states_are_float32_where_products_are_bfloat16():
    # Each step adds 1e-4 to a state near 1, less than half of what bfloat16 can tell apart there.
    steps = 400
    lstm, gru = cell_layer("lstm", 1, 1), cell_layer("gru", 1, 1)
    with torch.no_grad():
        for layer in (lstm, gru):
            for parameter in layer.parameters():
                parameter.zero_()
        # Gates i, f, g, o: f open, i g = 1e-4, o open.
        lstm.bias_ih.copy_(torch.tensor([math.log(1e-4), 30.0, 30.0, 30.0]))
        # Gates r, z, n: 1 - z = 1e-4, and the candidate is 1.
        gru.bias_ih.copy_(torch.tensor([0.0, -math.log(1e-4), 30.0]))
    for layer in (lstm, gru):
        case = make_case(layer.cell, 1, steps, 1, 1)
        start = tuple(torch.full_like(leaf, 0.5) for leaf in case.state)
        case = case._replace(layer=layer, state=start)
        expected = run_with_gradients(reference, case.double())
        results = [name for name in expected if name in ("y", "end 0", "end 1")]
        for conditions in conditions_here(bfloat16=True):
            with under(conditions):
                got = run_with_gradients(native, case, bfloat16=True)
            assert abs(float(got["y"][0, -1, 0] - got["y"][0, 0, 0])) > 0.01
            assert_agree(
                {name: got[name] for name in results},
                {name: expected[name] for name in results},
                outputs=1e-5,
                where=conditions,
            )
