import pytest

from throughtime.errors import OptionError, ShapeError
from throughtime.layers import (
    GRU,
    LSTM,
    RNN,
    LayerSpec,
    Stack,
    StackSpec,
    build,
    make,
    names,
    parse,
)


def test_every_name_makes_a_layer_that_can_be_written_down_again():
    for name in names():
        layer = make(name, 3, 4)
        assert (layer.input_size, layer.output_size) == (3, 4)
        assert parse(f"{name}:4") == StackSpec((LayerSpec(name, 4),))
    assert [type(make(name, 1, 1)) for name in ("rnn", "lstm", "gru")] == [RNN, LSTM, GRU]


def test_options_reach_the_layer():
    assert make("lstm", 3, 4, bias=False).bias_ih is None
    assert make("gru", 3, 4, memory=9).memory == 9


def test_depth_builds_a_stack():
    stack = build(parse("gru:8x3"), 5, dropout=0.2)
    assert isinstance(stack, Stack)
    assert [(layer.input_size, layer.output_size) for layer in stack.layers] == [
        (5, 8),
        (8, 8),
        (8, 8),
    ]
    assert stack.dropout == 0.2


def test_a_single_layer_is_no_stack_and_has_no_dropout():
    assert isinstance(build(parse("gru:8"), 5, dropout=0.2), GRU)


def test_an_unknown_name_is_refused():
    with pytest.raises(OptionError, match=r"among rnn, lstm, gru.*, got 'transformer'$"):
        make("transformer", 3, 4)


def test_an_unknown_option_is_refused():
    with pytest.raises(OptionError, match=r"options of gru among .*, got forget_bias; leave it"):
        make("gru", 3, 4, forget_bias=1.0)
    with pytest.raises(OptionError, match=r"got memroy; did you mean 'memory'\?"):
        make("gru", 3, 4, memroy=100)


def test_a_size_that_can_not_be_is_refused():
    with pytest.raises(ShapeError, match="output_size as an integer of 1 or more, got 0"):
        make("gru", 3, 0)
