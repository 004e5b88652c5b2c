"""A linear map of the native library: the product, and that no row knows what is beside it."""

import ctypes

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from native_runs import Conditions, needs_library, sets_here, under
from torch import nn

from throughtime.errors import ShapeError
from throughtime.kernels.stepper import LinearMap

pytestmark = needs_library

ROWS = (0, 1, 5, 48, 49, 97)
"""Below, at and above what is computed together."""


def linear_of(inputs, outputs, *, bias=True, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


def rows_of(count, inputs, seed=1):
    return np.random.default_rng(seed).normal(size=(count, inputs)).astype(np.float32)


def exact(linear, x):
    y = x.astype(np.float64) @ linear.weight.detach().double().numpy().T
    return y if linear.bias is None else y + linear.bias.detach().double().numpy()


@pytest.mark.parametrize("isa", sets_here())
@pytest.mark.parametrize("bias", [True, False])
@given(
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 70),
    rows=st.sampled_from(ROWS),
)
def test_a_map_is_the_product_in_float64(isa, bias, inputs, outputs, rows):
    linear = linear_of(inputs, outputs, bias=bias)
    x = rows_of(rows, inputs)
    with under(Conditions(isa)):
        y = LinearMap(linear).apply(x)
    assert y.shape == (rows, outputs)
    wanted = exact(linear, x)
    assert (np.abs(y - wanted) <= 1e-6 * inputs * (1 + np.abs(wanted))).all()


@pytest.mark.parametrize("isa", sets_here())
def test_a_row_is_the_same_bit_for_bit_whatever_is_beside_it(isa):
    linear, x = linear_of(33, 19), rows_of(97, 33)
    with under(Conditions(isa)):
        a_map = LinearMap(linear)
        together = a_map.apply(x)
        alone = np.concatenate([a_map.apply(row[None]) for row in x])
        back = a_map.apply(x[::-1].copy())[::-1]
    assert np.array_equal(together, alone)
    assert np.array_equal(together, back)


def test_nothing_beyond_the_rows_is_written_and_none_is_altered():
    linear, x = linear_of(7, 21), rows_of(50, 7)
    before, a_map = x.copy(), LinearMap(linear)
    whole = np.full((52, 21), np.nan, dtype=np.float32)
    place = whole.ctypes.data + whole.strides[0]
    a_map._library.tt_map_apply(a_map._handle, 50, x.ctypes.data, ctypes.c_void_p(place))
    assert np.isnan(whole[[0, -1]]).all()
    assert np.isfinite(whole[1:-1]).all()
    assert np.array_equal(x, before)


def test_weights_are_taken_when_it_is_made():
    linear, x = linear_of(5, 3), rows_of(2, 5)
    wanted, a_map = exact(linear, x), LinearMap(linear)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.fill_(9.0)
    np.testing.assert_allclose(a_map.apply(x), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "x",
    [
        np.ones((2, 4), np.float32),
        np.ones((2, 5), np.float64),
        np.ones(5, np.float32),
        np.ones((5, 2), np.float32).T,
    ],
    ids=["another width", "another dtype", "one row", "not dense"],
)
def test_other_rows_are_refused_in_a_line(x):
    with pytest.raises(ShapeError, match=r"expected x as dense float32 \(n, I\) with I = 5"):
        LinearMap(linear_of(5, 3)).apply(x)
