import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.errors import OptionError
from throughtime.layers import Stack, build, make, names
from throughtime.layers.gru import GRU
from throughtime.layers.lstm import LSTM
from throughtime.layers.sizes import parameter_count, size_for, state_floats


@pytest.mark.parametrize("name", names())
def test_every_layer_says_how_large_it_is(name):
    layer = make(name, 8, 16)
    trained = sum(p.numel() for p in layer.parameters())
    assert parameter_count(layer) == trained
    assert state_floats(layer) >= 1


def test_sizes_of_layers_that_anyone_can_count():
    assert parameter_count(LSTM(3, 5)) == 4 * 5 * (3 + 5 + 2)
    assert state_floats(LSTM(3, 5)) == 10
    # Frozen parameters are not trained, and a seed is no float.
    assert parameter_count(GRU(3, 5).requires_grad_(False)) == 0
    assert state_floats(Stack([GRU(3, 5), LSTM(5, 4)], dropout=0.1)) == 5 + 8
    assert state_floats(make("lru", 3, 5)) == 10
    assert state_floats(make("selective", 3, 5, states=7)) == 35


@given(
    st.sampled_from(["rnn", "lstm", "gru", "min_gru", "rg_lru", "selective"]),
    st.integers(2_000, 200_000),
    st.integers(1, 3),
)
def test_no_other_hidden_size_comes_nearer_to_the_wanted_parameters(name, wanted, depth):
    spec = size_for(name, 6, parameters=wanted, depth=depth)
    assert spec.depth == depth

    def apart(size):
        return abs(parameter_count(build(spec._replace(hidden_size=size), 6)) - wanted)

    neighbours = [size for size in (spec.hidden_size - 1, spec.hidden_size + 1) if size > 0]
    assert all(apart(spec.hidden_size) <= apart(size) for size in neighbours)


def test_state_floats_can_be_wanted_too():
    assert str(size_for("lstm", 8, floats=256)) == "lstm:128x1"
    assert str(size_for("selective", 8, floats=256, states=4)) == "selective:64x1"
    assert str(size_for("gru", 8, floats=256, depth=2)) == "gru:128x2"


def test_a_hidden_size_that_must_be_a_multiple_is_one():
    assert size_for("rg_lru", 8, parameters=30_000, groups=12).hidden_size % 12 == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "parameters or floats to be wanted, got None and None"),
        ({"parameters": 10, "floats": 10}, "parameters or floats to be wanted, got 10 and 10"),
        ({"parameters": 0}, "a size of 1 or more"),
        ({"parameters": 3}, "a size that a gru can have, got 3; the nearest is"),
        ({"floats": 10**9}, "a size that a gru can have"),
        ({"parameters": 1000, "states": 3}, "options of gru among"),
    ],
)
def test_a_size_that_can_not_be_is_refused_in_one_line(options, message):
    with pytest.raises(OptionError, match=message) as caught:
        size_for("gru", 8, **options)
    assert "\n" not in str(caught.value)
