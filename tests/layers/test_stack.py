import pytest
import torch
from torch import nn

from throughtime import state as states
from throughtime.errors import OptionError, ShapeError
from throughtime.layers import GRU, LSTM, Bidirectional, Stack


def test_residual_and_norm_by_hand():
    first, second = GRU(4, 4), LSTM(4, 5)
    stack = Stack([first, second], residual=True, norm=True)
    for norm in stack.norms:
        nn.init.normal_(norm.weight)
    x = torch.randn(2, 6, 4)
    middle = x + first(stack.norms[0](x))[0]
    expected = second(stack.norms[1](middle))[0]
    torch.testing.assert_close(stack(x)[0], expected)


def test_dropout_drops_between_layers_and_not_after_the_last():
    stack = Stack([GRU(3, 64), GRU(64, 4)], dropout=0.5)
    seen = {}
    run = stack.layers[1].run
    stack.layers[1].run = lambda x, *rest: seen.update(x=x) or run(x, *rest)
    y, _ = stack(torch.randn(8, 10, 3))
    assert (seen["x"] == 0).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (y != 0).all()


def test_the_state_means_the_same_in_both_modes():
    stack = Stack([GRU(3, 4), GRU(4, 4)], dropout=0.5)
    kinds = states.spec(stack.initial_state(2))
    _, trained = stack(torch.randn(2, 5, 3))
    stack.eval()
    assert states.spec(stack.initial_state(2)) == kinds
    _, end = stack(torch.randn(2, 5, 3), trained)
    assert end[-1].step.tolist() == [10, 10]


def test_a_run_in_training_can_be_repeated_from_its_state():
    stack = Stack([GRU(3, 4), GRU(4, 4)], dropout=0.5)
    x, state = torch.randn(2, 5, 3), stack.initial_state(2)
    assert torch.equal(stack(x, state)[0], stack(x, state)[0])
    assert not torch.equal(stack(x)[0], stack(x)[0])


def test_it_is_streamable_when_all_its_layers_are():
    assert Stack([GRU(3, 4), GRU(4, 4)]).streamable
    assert not Stack([Bidirectional(GRU(3, 4), GRU(3, 4)), GRU(8, 4)]).streamable


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Stack([]), OptionError, "at least one layer"),
        (lambda: Stack([GRU(3, 4), GRU(4, 4)], dropout=1.0), OptionError, "below 1, got 1.0"),
        (lambda: Stack([GRU(3, 4), GRU(4, 4)], dropout=-0.1), OptionError, "at least 0"),
        (lambda: Stack([GRU(3, 4)], dropout=0.5), OptionError, "got 1 layer and dropout 0.5"),
        (lambda: Stack([GRU(3, 4), GRU(5, 4)]), ShapeError, "D = 4 below F = 5"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
