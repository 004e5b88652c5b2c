import pytest
import torch

from throughtime.errors import OptionError
from throughtime.layers import GRU, LSTM, RNN
from throughtime.layers.classic import chrono_bias

EACH = pytest.mark.parametrize("kind", [RNN, LSTM, GRU], ids=lambda kind: kind.__name__)


@EACH
def test_the_recurrent_weights_of_each_gate_are_orthogonal(kind):
    for block in torch.split(kind(5, 16).weight_hh, 16):
        torch.testing.assert_close(block @ block.T, torch.eye(16), atol=1e-5, rtol=0)


@EACH
def test_the_input_weights_of_each_gate_are_xavier_uniform(kind):
    bound = (6 / (50 + 70)) ** 0.5
    for block in torch.split(kind(50, 70).weight_ih, 70):
        assert 0.95 * bound < block.abs().max() <= bound
        assert block.var().item() == pytest.approx(bound**2 / 3, rel=0.1)


@EACH
def test_biases_are_zero_but_for_the_forget_gate(kind):
    layer = kind(5, 8)
    assert not layer.bias_hh.any()
    expected = torch.zeros_like(layer.bias_ih)
    if kind is LSTM:
        expected[8:16] = 1
    assert torch.equal(layer.bias_ih, expected)


def test_the_forget_bias_can_be_chosen():
    assert LSTM(5, 8, forget_bias=-2.5).bias_ih[8:16].unique().tolist() == [-2.5]


def test_chrono_biases_spread_time_constants_up_to_the_memory():
    times = 1 + chrono_bias(4000, 100).exp()
    assert times.min() >= 2
    assert times.max() <= 100
    # The time constants are uniform: each tenth of the range holds a tenth of the units.
    shares = torch.histc(times, bins=10, min=2, max=100) / 4000
    assert ((shares - 0.1).abs() < 0.03).all()


def test_memory_sets_the_gates_that_keep():
    lstm, gru = LSTM(5, 8, memory=50), GRU(5, 8, memory=50)
    enter, forget = lstm.bias_ih[:8], lstm.bias_ih[8:16]
    assert torch.equal(enter, -forget)
    assert (forget.exp() <= 49).all()
    assert not lstm.bias_ih[16:].any()
    keep = gru.bias_ih[8:16]
    assert keep.unique().numel() == 8
    assert (keep.exp() <= 49).all()
    assert not gru.bias_ih[:8].any()


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_a_longer_memory_forgets_less(kind):
    """The first input still shows after 200 steps of silence, where it had long been lost."""
    left = {}
    for memory in (4, 1000):
        torch.manual_seed(0)
        layer = kind(1, 32, memory=memory)
        x = torch.zeros(2, 200, 1)
        x[1, 0] = 3.0
        y, _ = layer(x)
        left[memory] = (y[1, -1] - y[0, -1]).norm()
    assert left[1000] > 100 * left[4]


def test_orthogonal_weights_keep_the_length_of_a_gradient():
    """In a linear regime the gradient over 50 steps is as long as at its end."""
    layer = RNN(3, 16)
    state = layer.initial_state(1)
    begin = type(state)(state.h.requires_grad_())
    _, end = layer(torch.zeros(1, 50, 3), begin)
    along = torch.randn(1, 16)
    (gradient,) = torch.autograd.grad((end.h * along).sum(), begin.h)
    torch.testing.assert_close(gradient.norm(), along.norm(), rtol=1e-4, atol=0)


@EACH
def test_a_learned_initial_state_starts_at_zero_and_is_one_for_all_lanes(kind):
    layer = kind(3, 4, learned_initial_state=True)
    assert all(not leaf.any() for leaf in layer.initial_state(2))
    torch.nn.init.normal_(layer.initial)
    for row, leaf in zip(layer.initial, layer.initial_state(3), strict=True):
        assert torch.equal(leaf, row.expand(3, 4))


@EACH
def test_parameters_are_torchs(kind):
    layer, module = kind(3, 4), getattr(torch.nn, kind.__name__)(3, 4)
    shapes = {name.removesuffix("_l0"): p.shape for name, p in module.named_parameters()}
    assert {name: p.shape for name, p in layer.named_parameters()} == shapes
    assert {name for name, _ in kind(3, 4, bias=False).named_parameters()} == {
        "weight_ih",
        "weight_hh",
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_initial_state_takes_a_dtype(dtype):
    for learned in (False, True):
        layer = GRU(3, 4, learned_initial_state=learned)
        assert layer.initial_state(2, dtype=dtype).h.dtype == dtype


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTM(3, 4, memory=9, forget_bias=1.0), "memory or forget_bias, got both"),
        (lambda: LSTM(3, 4, bias=False, memory=9), "bias=True with memory, got bias=False"),
        (lambda: LSTM(3, 4, bias=False, forget_bias=1.0), "bias=True with forget_bias"),
        (lambda: GRU(3, 4, bias=False, memory=9), "bias=True with memory"),
        (lambda: GRU(3, 4, memory=2), "memory of 3 steps or more, got 2"),
    ],
)
def test_options_that_do_not_go_together_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_the_layer_prints_its_sizes():
    assert repr(GRU(3, 4, bias=False)) == "GRU(3, 4, bias=False)"
