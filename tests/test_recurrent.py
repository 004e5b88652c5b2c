import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime import state as states
from throughtime.errors import NotStreamableError, ShapeError, StateError
from throughtime.layers import GRU, LSTM, RNN, Bidirectional, Stack, make, names
from throughtime.layers.gru import GRUState
from throughtime.layers.lstm import LSTMState
from throughtime.recurrent import LinearRecurrent, Recurrent

LAYERS = [RNN(3, 4), LSTM(3, 4), GRU(3, 4), Stack([GRU(3, 2), LSTM(2, 4)], dropout=0.5)]
EACH = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)


@EACH
@pytest.mark.parametrize(("lanes", "steps"), [(1, 1), (1, 5), (4, 1), (3, 0), (1, 0)])
def test_shapes(layer, lanes, steps):
    state = layer.initial_state(lanes)
    y, end = layer(torch.randn(lanes, steps, 3), state)
    assert y.shape == (lanes, steps, 4)
    assert states.spec(end) == states.spec(state)
    y, end = layer.step(torch.randn(lanes, 3), state)
    assert y.shape == (lanes, 4)
    assert states.spec(end) == states.spec(state)


@EACH
def test_no_steps_give_the_state_back(layer):
    _, state = layer(torch.randn(2, 3, 3))
    for lengths in (None, torch.zeros(2, dtype=torch.int64)):
        _, end = layer(torch.empty(2, 0, 3), state, lengths=lengths)
        for before, after in zip(states.leaves(state), states.leaves(end), strict=True):
            assert torch.equal(before, after)


def test_no_lanes_are_fine():
    y, end = GRU(3, 4)(torch.empty(0, 5, 3), lengths=torch.empty(0, dtype=torch.int64))
    assert y.shape == (0, 5, 4)
    assert end.h.shape == (0, 4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 3), r"x as \(B, T, F\) with F = 3 in forward, got \(5, 3\); for \(B, F\) call step"),
        ((3,), r"x as \(B, T, F\) with F = 3 in forward, got \(3,\)"),
        ((2, 5, 4), r"F = 3 in forward, got \(2, 5, 4\)"),
        ((2, 3, 5), r"got \(2, 3, 5\); time goes before features, as in x.transpose\(1, 2\)"),
        ((1, 2, 5, 3), r"got \(1, 2, 5, 3\)"),
    ],
)
def test_forward_names_what_is_wrong_with_x(shape, message):
    with pytest.raises(ShapeError, match=message):
        GRU(3, 4)(torch.randn(shape))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 3), r"x as \(B, F\) with F = 3 in step, got \(2, 5, 3\); for \(B, T, F\) call for"),
        ((2, 4), r"F = 3 in step, got \(2, 4\)"),
        ((3,), r"got \(3,\)"),
    ],
)
def test_step_names_what_is_wrong_with_x(shape, message):
    with pytest.raises(ShapeError, match=message):
        GRU(3, 4).step(torch.randn(shape), GRU(3, 4).initial_state(2))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([5, 2], dtype=torch.int32), r"\(B,\) int64 with B = 2, got .*int32"),
        (torch.tensor([0.5, 1.0]), r"got \(2,\) torch.float32; lengths count steps"),
        (torch.tensor([5]), r"B = 2, got \(1,\)"),
        (torch.tensor([[5], [2]]), r"got \(2, 1\)"),
        (torch.tensor([2, 6]), r"between 0 and T = 5, got 2 to 6"),
        (torch.tensor([-1, 5]), r"between 0 and T = 5, got -1 to 5"),
    ],
)
def test_lengths_are_whole_and_within_the_sequence(lengths, message):
    with pytest.raises(ShapeError, match=message):
        GRU(3, 4)(torch.randn(2, 5, 3), lengths=lengths)


@pytest.mark.parametrize(
    ("resets", "message"),
    [
        (torch.zeros(2, 5), r"\(B, T\) bool = \(2, 5\), got \(2, 5\) torch.float32"),
        (torch.zeros(5, 2, dtype=torch.bool), r"= \(2, 5\), got \(5, 2\)"),
        (torch.zeros(2, dtype=torch.bool), r"= \(2, 5\), got \(2,\)"),
    ],
)
@pytest.mark.parametrize("lengths", [None, torch.tensor([5, 2])], ids=["whole", "lengths"])
def test_resets_are_flags_of_each_step(resets, message, lengths):
    with pytest.raises(ShapeError, match=message):
        GRU(3, 4)(torch.randn(2, 5, 3), lengths=lengths, resets=resets)


@pytest.mark.parametrize("reset", [torch.zeros(2), torch.zeros(3, dtype=torch.bool)])
def test_the_reset_of_a_step_is_a_flag_of_each_lane(reset):
    layer = GRU(3, 4)
    with pytest.raises(ShapeError, match=r"reset as \(B,\) bool with B = 2, got"):
        layer.step(torch.randn(2, 3), layer.initial_state(2), reset=reset)


@pytest.mark.parametrize(
    ("layer", "state", "message"),
    [
        (GRU(3, 4), GRU(3, 4).initial_state(3), r"B = 2 lanes, got \[3\]; keep the lanes"),
        (GRU(3, 4), LSTM(3, 4).initial_state(2), r"expected a GRUState in GRU, got LSTMState"),
        (LSTM(3, 4), (torch.zeros(2, 4),) * 2, r"expected a LSTMState in LSTM, got tuple"),
        (LSTM(3, 4), LSTMState(torch.zeros(1, 4), torch.zeros(2, 4)), r"B = 2 lanes, got \[1, 2\]"),
        (
            GRU(3, 4),
            GRUState(0.0),
            r"made by GRU.initial_state, got GRUState with leaves \['float'",
        ),
        (GRU(3, 4), GRUState(torch.tensor(0.0)), r"made by GRU.initial_state"),
        (GRU(3, 4), GRUState(torch.zeros(2, 5)), r"H = 4.*got \(2, 5\)"),
        (GRU(3, 4), GRUState(torch.zeros(2, 1, 4)), r"H = 4.*got \(2, 1, 4\)"),
        (Stack([GRU(3, 4)]), GRUState(torch.zeros(2, 4)), r"GRUState"),
        (Stack([GRU(3, 4), GRU(4, 4)]), LSTM(3, 4).initial_state(2), r"expected a GRUState"),
        (Stack([GRU(3, 4), GRU(4, 4)]), (GRU(3, 4).initial_state(2),), r"tuple"),
    ],
)
def test_a_state_that_is_not_the_layers_own_is_refused(layer, state, message):
    with pytest.raises(StateError, match=message):
        layer(torch.randn(2, 5, 3), state)
    with pytest.raises(StateError, match=message):
        layer.step(torch.randn(2, 3), state)


def test_a_layer_that_needs_the_future_says_so():
    layer = Bidirectional(GRU(3, 4), GRU(3, 4))
    with pytest.raises(NotStreamableError, match=r"got Bidirectional: .* call forward on whole"):
        layer.step(torch.randn(2, 3), layer.initial_state(2))
    _, end = layer(torch.randn(2, 5, 3))
    with pytest.raises(StateError, match="carried one: the backward layer would have to know"):
        layer(torch.randn(2, 5, 3), end)


@pytest.mark.parametrize("sizes", [(0, 4), (3, 0), (-1, 4), (3, 4.5), ("3", 4), (None, 4)])
def test_sizes_are_positive_integers(sizes):
    with pytest.raises(ShapeError, match="as an integer of 1 or more, got"):
        GRU(*sizes)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bfloat16])
def test_numbers_of_another_kind_are_refused(name, dtype):
    """As NumPy's are by default, and quietly another result where a layer would take them."""
    layer = make(name, 3, 8)
    x = torch.ones(2, 5, 3, dtype=dtype)
    with pytest.raises(ShapeError, match=rf"x of torch.float32 in \w+, got {dtype}; give x.to"):
        layer(x)
    with pytest.raises(ShapeError, match=rf"x of torch.float32 in \w+, got {dtype}; give x.to"):
        layer.step(x[:, 0], layer.initial_state(2))
    wide = make(name, 3, 8).double()
    with pytest.raises(ShapeError, match=r"x of torch.float64 in \w+, got torch.float32"):
        wide(torch.ones(2, 5, 3))


def test_what_is_no_tensor_is_refused():
    layer, x = GRU(3, 4), torch.ones(2, 5, 3)
    with pytest.raises(ShapeError, match=r"expected x as a tensor, got list; give torch.as_tensor"):
        layer(x.tolist())
    with pytest.raises(ShapeError, match="expected lengths as a tensor, got list"):
        layer(x, lengths=[5, 3])
    with pytest.raises(ShapeError, match="expected resets as a tensor, got list"):
        layer(x, resets=[[True] * 5] * 2)
    with pytest.raises(ShapeError, match="expected reset as a tensor, got bool"):
        layer.step(x[:, 0], layer.initial_state(2), reset=True)


def test_an_unfinished_layer_says_what_it_lacks():
    class Unfinished(Recurrent):
        pass

    with pytest.raises(TypeError, match=r"Unfinished must define initial_state\(batch_size\)"):
        Unfinished(3, 4)(torch.randn(2, 5, 3))
    with pytest.raises(TypeError, match=r"Unfinished must define update"):
        Unfinished(3, 4).step(torch.randn(2, 3), ())
    linear = LinearRecurrent(3, 4, 5)
    with pytest.raises(TypeError, match=r"must define coefficients\(x\)"):
        linear(torch.randn(2, 5, 3))
    with pytest.raises(TypeError, match=r"must define read_out"):
        linear.read_out(torch.randn(2, 5), torch.randn(2, 3))
    with pytest.raises(ShapeError, match="state_size as an integer of 1 or more"):
        LinearRecurrent(3, 4, 0)


class Pointwise(Recurrent):
    """A layer without any state."""

    def __init__(self):
        super().__init__(3, 2)
        self.linear = nn.Linear(3, 2)

    def initial_state(self, batch_size, *, device=None, dtype=None):
        return ()

    def update(self, x, state):
        return self.linear(x), state


def test_a_layer_may_have_no_state():
    layer = Pointwise()
    x, resets = torch.randn(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)
    y, end = layer(x, lengths=torch.tensor([5, 2]), resets=resets)
    assert end == ()
    assert torch.allclose(y[0], layer.linear(x[0]))
    assert not y[1, 2:].any()


def test_a_reset_goes_to_the_learned_state_and_teaches_it():
    layer = GRU(3, 4, learned_initial_state=True)
    nn.init.normal_(layer.initial)
    resets = torch.tensor([[False, True], [False, False]])
    y, _ = layer(torch.randn(2, 2, 3), GRUState(torch.randn(2, 4)), resets=resets)
    y[0, 1].sum().backward()
    assert layer.initial.grad.abs().sum() > 0


def test_a_linear_recurrence_keeps_its_state_in_float32_at_least():
    layer = LinearRecurrent(3, 4, 5)
    for given, kept in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        assert layer.initial_state(2, dtype=given).dtype == kept


def test_backend_says_what_runs():
    layer = Stack([GRU(3, 4), LSTM(4, 4)])
    asked = "torch: fused kernel, cut where a lane ends or restarts; asked for"
    with tt.kernels.use("torch"):
        assert layer.backend == asked
    with tt.kernels.use("native"):
        assert layer.double().backend == (
            "torch: fused kernel, cut where a lane ends or restarts; "
            "native kernels compute in float32, and this is float64"
        )
    assert Pointwise().backend == "reference: there is no native kernel for Pointwise"
    with tt.kernels.use("reference"):
        assert layer.backend == "reference: asked for"
    assert Bidirectional(GRU(3, 4), GRU(3, 4)).backend == GRU(3, 4).backend
