import pytest
import torch

import throughtime as tt
from throughtime.errors import OptionError, ShapeError, StateError
from throughtime.layers import GRU, LSTM, RGLRU, Bidirectional, Block, MinGRU, Stack, make


@pytest.mark.parametrize(
    "made",
    [
        lambda: Block(LSTM(4, 4)),
        lambda: Block(GRU(4, 4), input_size=3),
        pytest.param(
            lambda: Stack([MinGRU(3, 4), Block(RGLRU(4, 4)), Block(GRU(4, 4), expansion=0.5)]),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["lstm", "lifted", "stack"],
)
def test_the_laws_hold(made):
    torch.manual_seed(0)
    tt.testing.check_recurrent(made(), batch_size=2, steps=5)


def test_a_block_computes_its_equation():
    torch.manual_seed(0)
    block, x = Block(GRU(4, 4), expansion=1.5).double(), torch.randn(2, 7, 4).double()
    with torch.no_grad():
        for norm in block.norms:
            norm.weight.uniform_(0.5, 2.0)
    y, end = block(x)

    def norm(place, value):
        scale = (value.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return block.norms[place].weight * value / scale

    inner, inner_end = block.layer(norm(0, x))
    u = x + inner
    read = norm(1, u)
    gate, wide = read @ block.gate.weight.T, read @ block.wide.weight.T
    expected = u + (gate * gate.sigmoid() * wide) @ block.narrow.weight.T
    assert block.gate.weight.shape == (6, 4)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(end.h, inner_end.h)


def test_an_input_of_another_size_is_lifted_and_keeps_its_magnitude():
    block = Block(GRU(4, 4), input_size=1)
    x = torch.tensor([[[0.5], [1.0], [2.0]]])
    lifted = x * block.lift.weight[:, 0] + block.lift.bias
    plain = Block(block.layer)
    plain.load_state_dict({k: v for k, v in block.state_dict().items() if "lift" not in k})
    torch.testing.assert_close(block(x)[0], plain(lifted)[0])
    # What the layer reads is normalised; without a bias each of these would read the same.
    read = block.norms[0](lifted)
    assert (read[0, 0] - read[0, 1]).abs().max() > 0.01
    assert (read[0, 1] - read[0, 2]).abs().max() > 0.01


def test_padding_stays_zero_though_the_network_has_an_answer_for_zeros():
    block = Block(LSTM(4, 4))
    y, _ = block(torch.randn(2, 5, 4), lengths=torch.tensor([2, 0]))
    assert (y[0, 2:] == 0).all()
    assert (y[1] == 0).all()


def test_a_deep_stack_of_blocks_passes_gradients_through():
    torch.manual_seed(0)
    stack = Stack([Block(make("min_gru", 8, 8)) for _ in range(24)])
    x = torch.randn(2, 20, 8, requires_grad=True)
    stack(x)[0].square().mean().backward()
    slope = float(x.grad.norm())
    assert 1e-3 < slope < 10


def test_what_a_layer_can_not_do_its_block_can_not_do():
    assert not Block(Bidirectional(GRU(4, 2), GRU(4, 2))).streamable
    block = Block(GRU(4, 4))
    assert block.backend == block.layer.backend
    with pytest.raises(StateError, match="GRUState"):
        block(torch.zeros(2, 3, 4), LSTM(4, 4).initial_state(2))
    with pytest.raises(ShapeError, match=r"F = D in a Block.*got F = 3 and D = 4"):
        Block(GRU(3, 4))
    with pytest.raises(OptionError, match="expansion above 0, got 0"):
        Block(GRU(4, 4), expansion=0.0)
