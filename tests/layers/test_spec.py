"""Stacks by a line of text: what is read, what is built, what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime.errors import OptionError
from throughtime.layer_text import WORDS
from throughtime.layers import (
    GRU,
    LSTM,
    Block,
    CausalConvolution,
    LayerSpec,
    Stack,
    StackSpec,
    WindowAttention,
    build,
    names,
    parse,
)

SPECS = st.lists(
    st.builds(
        LayerSpec,
        st.sampled_from(names()),
        st.integers(1, 999_999) | st.sampled_from([4, 8]),
        st.sampled_from([(), ("conv",), ("block",), WORDS]),
    ),
    min_size=1,
    max_size=6,
).map(lambda layers: StackSpec(tuple(layers)))


@given(SPECS)
def test_a_spec_printed_is_read_again(spec):
    assert parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    [
        "gru:64x2",
        "lstm:256x1",
        "gru:256,128,64",
        "gru:256x2,128",
        "gru:64x2+attention:64x1",
        "rg_lru:192x4:conv:block",
        "gru:8x1:conv+gru:8x1+gru:8x1:block",
    ],
)
def test_a_spec_prints_as_it_is_read(text):
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("gru:64", "gru:64x1"),
        ("gru:64,64", "gru:64x2"),
        ("gru:64+gru:64", "gru:64x2"),
        ("gru:64,32+gru:32x2", "gru:64,32x3"),
        ("gru:8:block:conv", "gru:8x1:conv:block"),
    ],
)
def test_what_says_the_same_is_the_same(text, printed):
    assert parse(text) == parse(printed)
    assert str(parse(text)) == printed


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("gru:8", ["weight_ih (24, 3)", "weight_hh (24, 8)", "bias_ih (24,)", "bias_hh (24,)"]),
        (
            "gru:8x2",
            [
                f"layers.{place}.{name}"
                for place, size in ((0, 3), (1, 8))
                for name in (
                    f"weight_ih (24, {size})",
                    "weight_hh (24, 8)",
                    "bias_ih (24,)",
                    "bias_hh (24,)",
                )
            ],
        ),
    ],
)
def test_name_size_and_depth_alone_add_nothing(text, parameters):
    """Weights that were saved for such a string fit the model that it builds today."""
    layer = build(parse(text), 3)
    assert [f"{name} {tuple(p.shape)}" for name, p in layer.named_parameters()] == parameters


def test_sizes_go_from_the_input_up():
    stack = build(parse("gru:6,5+lstm:4"), 3, dropout=0.2)
    assert [type(layer) for layer in stack.layers] == [GRU, GRU, LSTM]
    assert [layer.input_size for layer in stack.layers] == [3, 6, 5]
    assert (stack.output_size, stack.dropout) == (4, 0.2)


def test_a_convolution_is_a_short_one_for_each_feature_before_each_layer():
    stack = build(parse("gru:8x2:conv"), 3)
    assert [type(layer) for layer in stack.layers] == [Stack, Stack]
    for pair, features in zip(stack.layers, (3, 8), strict=True):
        convolution, layer = pair.layers
        assert isinstance(convolution, CausalConvolution)
        assert isinstance(layer, GRU)
        assert (convolution.input_size, convolution.output_size) == (features, features)
        assert tuple(convolution.taps.weight.shape) == (features, 1, 4)


def test_a_block_is_around_the_convolution_and_lifts_what_is_of_another_size():
    stack = build(parse("gru:8x2:conv:block"), 3)
    assert all(isinstance(block, Block) for block in stack.layers)
    assert [(block.input_size, block.output_size) for block in stack.layers] == [(3, 8), (8, 8)]
    assert tuple(stack.layers[0].lift.weight.shape) == (8, 3)
    assert stack.layers[1].lift is None
    assert [type(layer) for layer in stack.layers[1].layer.layers] == [CausalConvolution, GRU]
    assert build(parse("gru:8:block"), 8).lift is None


@pytest.mark.parametrize(
    "text",
    [
        "rnn:4:conv",
        pytest.param("gru:4:block", marks=pytest.mark.slow),
        pytest.param("rg_lru:4x2:conv:block", marks=pytest.mark.slow),
        pytest.param("gru:5,4+attention:4:conv:block", marks=pytest.mark.slow),
        pytest.param("slstm:4,8:block+min_gru:4", marks=pytest.mark.slow),
    ],
)
def test_the_laws_hold(text):
    spec = parse(text)
    tt.testing.check_recurrent(build(spec, 3))


@pytest.mark.slow
@pytest.mark.parametrize("text", ["gru:4x2:conv:block", "rg_lru:5,4:conv+gru:4"])
def test_the_laws_hold_with_dropout_and_a_learned_beginning(text):
    layer = build(parse(text), 3, dropout=0.4, learned_initial_state=True)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith("initial"):
                parameter.normal_()
    tt.testing.check_recurrent(layer)


def test_an_option_goes_to_the_layers_that_take_it():
    stack = build(parse("gru:4+attention:4:block"), 3, memory=9, window=5)
    assert stack.layers[0].memory == 9
    assert isinstance(stack.layers[1].layer, WindowAttention)
    assert stack.layers[1].layer.window == 5
    with pytest.raises(OptionError, match=r"options of gru among .*memory.*, got windw"):
        build(parse("gru:4+attention:4:block"), 3, memory=9, windw=5)
    with pytest.raises(OptionError, match=r"options of attention among heads, window, got memory"):
        build(parse("attention:4x2"), 3, memory=9)


@pytest.mark.parametrize("text", ["gru", "", ":4", "GRU:4", "gru+gru:4", "gru:4+", " gru:4"])
def test_another_form_is_refused(text):
    with pytest.raises(OptionError, match=r"layer such as gru:64 or lstm:256x2, or .*, got"):
        parse(text)


@pytest.mark.parametrize(
    "size",
    ["", "0", "-4", "4x0", "4x", "4 x2", "4.0", "x2", "8,", ",8", "8,,8", "1000000", "4x100", "٤"],
)
def test_another_size_is_refused(size):
    with pytest.raises(OptionError, match=r"sizes from 1 to 999999 .*, such as gru:64, .*, got"):
        parse(f"gru:{size}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gruu:4", r"got 'gruu'; did you mean 'gru'\?"),
        ("gru:4+atention:8", r"got 'atention'; did you mean 'attention'\?"),
        ("gru:4:blok", r"among conv, block after the size of gru, got 'blok'; did you mean 'block"),
        ("gru:4:2", r"among conv, block after the size of gru, got '2'$"),
        ("gru:4:", r"among conv, block after the size of gru, got ''$"),
        ("gru:4+rnn:4:cnv", r"got 'cnv' in 'gru:4\+rnn:4:cnv'; did you mean 'conv'\?"),
        ("gru:4:conv:conv", r"each word once, got 'conv' twice in 'gru:4:conv:conv'"),
        ("gru:4x99,4", r"99 layers at most, got 100 in 'gru:4x99,4'"),
        ("gru:" + "4," * 2000 + "4", r"4000 characters at most, got 4005"),
    ],
)
def test_a_slip_of_the_pen_is_answered_in_one_line(text, message):
    with pytest.raises(OptionError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
