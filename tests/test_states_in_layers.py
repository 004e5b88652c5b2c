"""What layers make of states: whose they take, when nothing happens, and in which dtypes."""

import re

import pytest
import torch
from honest import Smoother, TenLines
from torch import nn

from throughtime import state as states
from throughtime.errors import BundleError, ShapeError, StateError
from throughtime.layers import GRU, LSTM, RNN, Bidirectional, Stack
from throughtime.recurrent import LinearRecurrent, Recurrent

LANES, STEPS = 2, 5


class TenLinesAbove(TenLines):
    """`TenLines` with F = D, to lie on top of another layer."""

    def __init__(self):
        super().__init__()
        self.input_size = 4
        self.mix = nn.Linear(8, 4)


LAYERS = {
    "ten_lines": TenLines,
    "linear": Smoother,
    "rnn": lambda: RNN(3, 4),
    "lstm": lambda: LSTM(3, 4),
    "gru": lambda: GRU(3, 4),
    "stack": lambda: Stack([GRU(3, 4), LSTM(4, 4), TenLinesAbove()], dropout=0.2),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]()


def batch():
    return torch.randn(LANES, STEPS, 3)


def equal(got, wanted):
    return all(
        torch.equal(a, b) for a, b in zip(states.leaves(got), states.leaves(wanted), strict=True)
    )


def refused(layer, state, *parts, calls=("forward", "step")):
    """Check that both calls raise one line that has all the parts, in their order."""
    pattern = ".*".join(re.escape(part) for part in ("expected", *parts))
    for call in calls:
        with pytest.raises(StateError) as caught:
            layer(batch(), state) if call == "forward" else layer.step(batch()[:, 0], state)
        assert "\n" not in str(caught.value)
        assert re.search(pattern, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("thing", ["h", 3, {"h": None}])
def test_what_is_no_state_is_refused(layer, thing):
    refused(layer, thing, f"made by {type(layer).__name__}", f"got {type(thing).__name__}")


def test_step_needs_a_state(layer):
    refused(layer, None, "a state made by", "got NoneType", calls=("step",))


@pytest.mark.parametrize(
    ("layer", "other", "parts"),
    [
        (LSTM(3, 4), LSTM(3, 1), ("H = 4 in LSTM", "got (2, 1)")),
        (RNN(3, 4), Smoother(), ("a RNNState in RNN", "got Tensor")),
        (Smoother(), GRU(3, 5), ("a Tensor in Smoother", "got GRUState")),
        (Smoother(), TenLines(), ("N = 5 in Smoother", "got (2, 4)", "initial_state(B)")),
        (Stack([RNN(3, 4)]), TenLines(), ("a tuple of 1 in Stack", "got Tensor;")),
        (Stack([RNN(3, 4)]), Stack([RNN(3, 4), RNN(4, 4)]), ("tuple of 1", "got tuple of 2")),
        (Stack([GRU(3, 4)]), Stack([GRU(3, 5)]), ("H = 4 in GRU", "got (2, 5)")),
        (
            Stack([GRU(3, 4), RNN(4, 4)]),
            Stack([RNN(3, 4), GRU(4, 4)]),
            ("a GRUState in GRU", "got RNNState"),
        ),
        (
            Stack([GRU(3, 4), RNN(4, 4)], dropout=0.1),
            Stack([GRU(3, 4), RNN(4, 4)]),
            ("a tuple of 3", "noise of its dropout", "got tuple of 2"),
        ),
        (
            Stack([GRU(3, 4), RNN(4, 4)], dropout=0.1),
            Stack([GRU(3, 4), RNN(4, 4), RNN(4, 4)]),
            ("a Noise", "got RNNState"),
        ),
    ],
)
def test_the_state_of_another_layer_is_refused(layer, other, parts):
    refused(layer, other.initial_state(LANES), *parts)


@pytest.mark.parametrize(
    "other", [Bidirectional(GRU(3, 4), LSTM(3, 4)), Bidirectional(LSTM(3, 4), GRU(3, 4))]
)
def test_the_state_of_another_bidirectional_is_refused(other):
    layer, state = Bidirectional(GRU(3, 4), GRU(3, 4)), other.initial_state(LANES)
    refused(layer, state, "a GRUState in GRU", "got LSTMState", calls=("forward",))


def test_the_message_on_lengths_and_resets_says_what_they_are(layer):
    with pytest.raises(ShapeError, match=r"between 0 and T = 5, got 2 to 6; lengths count the"):
        layer(batch(), lengths=torch.tensor([6, 2]))
    with pytest.raises(ShapeError, match=r"\(B, T\) bool = \(2, 5\), got .*True at t starts step"):
        layer(batch(), resets=torch.zeros(LANES, STEPS))


def test_lengths_of_zero_change_nothing(layer):
    _, state = layer(batch())
    resets = torch.ones(LANES, STEPS, dtype=torch.bool)
    y, end = layer(batch(), state, lengths=torch.tensor([0, 0]), resets=resets)
    assert y.shape == (LANES, STEPS, layer.output_size)
    assert not y.any()
    assert equal(end, state)


def test_a_single_lane_is_what_it_is_in_a_batch(layer):
    x, resets = batch(), torch.rand(LANES, STEPS) < 0.4
    state = layer.initial_state(LANES)
    y, _ = layer(x, state, resets=resets)
    alone, end = layer(x[:1], states.take(state, torch.tensor([0])), resets=resets[:1])
    assert torch.allclose(alone, y[:1], atol=1e-6)
    assert states.lanes(end) == 1


class Decay(Recurrent):
    def __init__(self, size):
        super().__init__(size, size)
        self.rate = nn.Parameter(torch.full((size,), 0.5))

    def initial_state(self, batch_size, *, device=None, dtype=None):
        return self.rate.new_zeros(batch_size, self.output_size)

    def update(self, x, state):
        state = self.rate * state + x
        return state, state


def test_ten_lines_are_a_layer():
    """Numbers worked out by hand: halve and add one; lane 0 restarts, lane 1 is two steps long."""
    layer = Decay(1)
    resets = torch.tensor([[False, False, True, False], [False] * 4])
    y, state = layer(torch.ones(2, 4, 1), lengths=torch.tensor([4, 2]), resets=resets)
    assert y[..., 0].tolist() == [[1, 1.5, 1, 1.5], [1, 1.5, 0, 0]]
    assert state[:, 0].tolist() == [1.5, 1.5]
    y, state = layer.step(torch.ones(2, 1), state, reset=torch.tensor([True, False]))
    assert y[:, 0].tolist() == state[:, 0].tolist() == [1, 1.75]


def test_a_module_keeps_nothing_between_calls(layer):
    before = {name: set(vars(module)) for name, module in layer.named_modules()}
    layer(batch())
    assert {name: set(vars(module)) for name, module in layer.named_modules()} == before
    assert not dict(layer.named_buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_keep_their_dtypes_under_autocast(layer, dtype):
    layer, x = layer.to(dtype), batch().to(dtype)
    wanted = states.spec(layer.initial_state(1))
    lengths, resets = torch.tensor([5, 2]), torch.rand(LANES, STEPS) < 0.3
    with torch.autocast("cpu", torch.bfloat16):
        _, after = layer.step(x[:, 0], layer.initial_state(LANES))
        ends = [layer(x)[1], layer(x, lengths=lengths, resets=resets)[1], layer(x[:, :0])[1]]
    for state in (after, *ends):
        assert states.spec(state) == wanted


def test_keep_types_mends_what_autocast_narrows_and_nothing_else():
    before = (torch.ones(2, 3), torch.ones(2, dtype=torch.int64))
    narrow = states.to(before, dtype=torch.bfloat16)
    kept = states.keep_types(narrow, before)
    assert states.spec(kept) == states.spec(narrow), "a layer's own fault is not hidden"
    with torch.autocast("cpu", torch.bfloat16):
        assert states.spec(states.keep_types(narrow, before)) == states.spec(before)
        assert states.keep_types((), ()) == ()


def test_a_linear_recurrence_of_a_bfloat16_module_sums_in_float32():
    """In bfloat16 a sum stays at 256, where adding 1 is lost; in float32 it goes on."""

    class Sum(LinearRecurrent):
        def __init__(self):
            super().__init__(1, 1, 1)
            self.scale = nn.Parameter(torch.ones(1))

        def coefficients(self, x):
            return torch.ones_like(x), self.scale * x

        def read_out(self, h, x):
            return h.to(x.dtype)

    y, state = Sum().bfloat16()(torch.ones(1, 300, 1, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    assert state.item() == 300


def test_a_linear_recurrence_follows_its_equation():
    layer, x = Smoother().double(), batch().double()
    y, end = layer(x)
    a, b = layer.coefficients(x)
    h = torch.zeros(LANES, 5, dtype=torch.float64)
    for t in range(STEPS):
        h = a[:, t] * h + b[:, t]
        assert torch.allclose(y[:, t], layer.read_out(h, x[:, t]), atol=1e-12)
    assert torch.allclose(end, h, atol=1e-12)


@pytest.mark.parametrize("other", [torch.ones(3, 1), torch.tensor(1.0)])
def test_a_file_whose_leaves_disagree_on_the_lanes_is_refused(tmp_path, other):
    states.save((torch.ones(2, 1), other), tmp_path / "s", fingerprint="a")
    like = (torch.ones(1, 1), torch.ones(1, *other.shape[1:]))
    with pytest.raises(BundleError, match=r"with one B, got .*/s\)"):
        states.load(tmp_path / "s", like=like, fingerprint="a")


def test_a_folder_in_the_place_of_a_state_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"^expected a file at .*, got a folder, pipe or device$"):
        states.load(tmp_path, like=(), fingerprint="a")
