import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime.errors import OptionError
from throughtime.layers import LayerSpec, Stack, StackSpec, build, make, names, parse
from throughtime.layers.gru import GRU
from throughtime.layers.lstm import LSTM
from throughtime.layers.sizes import nearest_possible, parameter_count, size_for, state_floats


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
    assert len(spec.layers) == depth
    found = spec.layers[0].hidden_size

    def apart(size):
        layers = StackSpec((LayerSpec(name, size),) * depth)
        return abs(parameter_count(build(layers, 6)) - wanted)

    assert apart(found) <= min(apart(size) for size in (found - 1, found + 1) if size > 0)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("rg_lru:192x4:conv:block", (1, 1, 1, 1)),
        ("gru:256,128,64", (4, 2, 1)),
        ("gru:64x2+attention:32:block", (2, 2, 1)),
    ],
)
@pytest.mark.parametrize("measure", [parameter_count, state_floats])
def test_a_whole_stack_is_scaled_in_proportion(text, shares, measure):
    wanted = 50_000
    spec = size_for(text, 6, **{"parameters" if measure is parameter_count else "floats": wanted})
    sizes = [layer.hidden_size for layer in spec.layers]
    unit = sizes[-1]
    assert sizes == [unit * share for share in shares]
    assert [layer._replace(hidden_size=0) for layer in spec.layers] == [
        layer._replace(hidden_size=0) for layer in parse(text).layers
    ]
    step = 4 if "attention" in text else 1
    assert unit % step == 0

    def apart(unit):
        pairs = zip(spec.layers, shares, strict=True)
        scaled = tuple(layer._replace(hidden_size=unit * share) for layer, share in pairs)
        with torch.device("meta"):
            return abs(measure(build(StackSpec(scaled), 6)) - wanted)

    assert apart(unit) <= min(apart(unit - step), apart(unit + step))


def test_what_can_not_be_built_has_a_neighbour_that_can():
    assert nearest_possible(parse("gru:7x2")) == parse("gru:7x2")
    assert nearest_possible(parse("mlstm:30x2:block+gru:7")) == parse("mlstm:32x2:block+gru:7")
    assert nearest_possible(parse("mlstm:29")) == parse("mlstm:28")
    with pytest.raises(OptionError, match="memory of 3 steps or more"):
        nearest_possible(parse("gru:7"), memory=1)


def test_state_floats_can_be_wanted_too():
    assert str(size_for("lstm", 8, floats=256)) == "lstm:128x1"
    assert str(size_for("selective", 8, floats=256, states=4)) == "selective:64x1"
    assert str(size_for("gru", 8, floats=256, depth=2)) == "gru:128x2"


def test_a_hidden_size_that_must_be_a_multiple_is_one():
    assert size_for("rg_lru", 8, parameters=30_000, groups=12).layers[0].hidden_size % 12 == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "parameters or floats to be wanted, got None and None"),
        ({"parameters": 10, "floats": 10}, "parameters or floats to be wanted, got 10 and 10"),
        ({"parameters": 0}, "a size of 1 or more"),
        ({"parameters": 3}, "a size that gru can have, got 3; the nearest is 33, of gru:1x1"),
        ({"floats": 10**9}, "a size that gru can have"),
        ({"parameters": 1000, "states": 3}, "options of gru among"),
        ({"parameters": 1000, "depth": 0}, "depths from 1 to 99"),
    ],
)
def test_a_size_that_can_not_be_is_refused_in_one_line(options, message):
    with pytest.raises(OptionError, match=message) as caught:
        size_for("gru", 8, **options)
    assert "\n" not in str(caught.value)


def test_a_depth_is_said_once():
    with pytest.raises(OptionError, match="depth beside a name alone, got 2 beside 'gru:8x3'"):
        size_for("gru:8x3", 8, parameters=1000, depth=2)
