"""torch.nn's modules as the oracle, and weights that move between the libraries unchanged."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.errors import OptionError
from throughtime.layers import GRU, LSTM, RNN, Bidirectional, Stack, from_torch, to_torch
from throughtime.recurrent import Recurrent

KINDS = {
    "rnn_tanh": (nn.RNN, {}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
}
OURS = {"rnn_tanh": RNN, "rnn_relu": RNN, "lstm": LSTM, "gru": GRU}
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def module(kind, layers=1, *, both=False, bias=True, dtype=torch.float64, **options):
    cls, more = KINDS[kind]
    return cls(
        3,
        4,
        layers,
        bias=bias,
        bidirectional=both,
        batch_first=True,
        dtype=dtype,
        **more,
        **options,
    )


def stacked(state, layers, field):
    """Give our state in torch's layout, (layers * directions, B, H)."""
    parts = state if layers > 1 else (state,)
    leaves = []
    for part in parts:
        directions = (part.forward, part.backward) if hasattr(part, "backward") else (part,)
        leaves += [getattr(direction, field) for direction in directions]
    return torch.stack(leaves)


def ours(h, c, layers):
    """Give torch's (h_0, c_0) of a module of one direction as our state."""
    rows = [(h[i],) if c is None else (h[i], c[i]) for i in range(layers)]
    kinds = {1: lambda h: type(GRU(1, 1).initial_state(1))(h), 2: type(LSTM(1, 1).initial_state(1))}
    states = tuple(kinds[len(row)](*row) for row in rows)
    return states if layers > 1 else states[0]


def close(got, wanted, dtype=torch.float64, factor=1):
    assert got.dtype == wanted.dtype == dtype
    assert got.shape == wanted.shape
    assert ((got - wanted).abs() <= factor * TOLERANCE[dtype] * (1 + wanted.abs())).all()


def ends_of(result):
    """Return (h_n, c_n or None) of torch's result."""
    end = result[1]
    return end if isinstance(end, tuple) else (end, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_computes_what_its_module_computes(kind, layers, both, bias, dtype):
    theirs = module(kind, layers, both=both, bias=bias, dtype=dtype)
    layer = from_torch(theirs)
    x = torch.randn(2, 6, 3, dtype=dtype)
    wanted = theirs(x)
    y, state = layer(x)
    close(y, wanted[0], dtype)
    for field, end in zip("hc", ends_of(wanted), strict=True):
        if end is not None:
            close(stacked(state, layers, field), end, dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_go_there_and_back_bit_for_bit(kind, layers, both, bias):
    theirs = module(kind, layers, both=both, bias=bias, dtype=torch.float32)
    layer = from_torch(theirs)
    back = to_torch(layer)
    assert type(back) is type(theirs)
    assert back.batch_first
    assert getattr(back, "nonlinearity", None) == getattr(theirs, "nonlinearity", None)
    wanted, got = theirs.state_dict(), back.state_dict()
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        assert torch.equal(got[name], value)
    addresses = {p.data_ptr() for p in (*theirs.parameters(), *back.parameters())}
    assert not addresses & {p.data_ptr() for p in layer.parameters()}, "weights are copies"
    parts = list(layer.layers) if layers > 1 else [layer]
    singles = [p.forward_layer if both else p for p in parts]
    assert [type(single) for single in singles] == [OURS[kind]] * layers


def test_dropout_and_mode_move_too():
    for training in (True, False):
        theirs = module("lstm", 2, dropout=0.25).train(training)
        layer = from_torch(theirs)
        assert isinstance(layer, Stack)
        assert layer.dropout == 0.25
        assert all(part.training == training for part in layer.modules())
        back = to_torch(layer)
        assert back.dropout == 0.25
        assert back.training == training


def test_batch_first_does_not_matter():
    theirs = nn.GRU(3, 4)
    x = torch.randn(2, 6, 3)
    y, _ = from_torch(theirs)(x)
    close(y, theirs(x.transpose(0, 1))[0].transpose(0, 1), torch.float32)


def run_packed(theirs, x, lengths):
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, end = theirs(packed)
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return y, end


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_what_packing_is(kind, layers, both):
    theirs = module(kind, layers, both=both)
    layer = from_torch(theirs)
    lengths = torch.tensor([4, 6, 1, 3])
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    wanted_y, wanted_end = run_packed(theirs, one, lengths)
    y, state = layer(two, lengths=lengths)
    close(y, wanted_y)
    ends = [end for end in ends_of((wanted_y, wanted_end)) if end is not None]
    got = [stacked(state, layers, field) for field in "hc"[: len(ends)]]
    for end, wanted in zip(got, ends, strict=True):
        close(end, wanted)

    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view_as(y)
    (weights * wanted_y).sum().add(sum((end**2).sum() for end in ends)).backward()
    (weights * y).sum().add(sum((end**2).sum() for end in got)).backward()
    close(two.grad, one.grad, factor=100)
    # `to_torch` is what knows which parameter is which.
    for parameter in layer.parameters():
        parameter.data = parameter.grad
    for (name, got), wanted in zip(
        to_torch(layer).named_parameters(), theirs.parameters(), strict=True
    ):
        assert wanted.grad.abs().max() > 0, name
        close(got.detach(), wanted.grad, factor=100)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_state_carried_in_is_what_h_0_is(kind, layers):
    theirs = module(kind, layers)
    layer = from_torch(theirs)
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    h, c = (torch.randn(layers, 2, 4, dtype=torch.float64) for _ in range(2))
    wanted_y, wanted_end = theirs(x, (h, c) if kind == "lstm" else h)
    state = ours(h, c if kind == "lstm" else None, layers)
    y, state = layer(x, state)
    close(y, wanted_y)
    close(stacked(state, layers, "h"), ends_of((None, wanted_end))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_cut_and_carried_is_the_whole(kind):
    theirs = module(kind, 2)
    layer = from_torch(theirs)
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    state, parts = None, []
    for start, stop in itertools.pairwise([0, 1, 5, 7]):
        y, state = layer(x[:, start:stop], state)
        parts.append(y)
    wanted = theirs(x)
    close(torch.cat(parts, dim=1), wanted[0])
    close(stacked(state, 2, "h"), ends_of(wanted)[0])


def test_other_modules_are_refused():
    for other in (nn.Linear(3, 4), nn.LSTMCell(3, 4)):
        with pytest.raises(OptionError, match=f"nn.LSTM or nn.GRU, got {type(other).__name__}"):
            from_torch(other)


def test_projections_are_refused():
    with pytest.raises(OptionError, match=r"without projection, got proj_size=2; train it without"):
        from_torch(nn.LSTM(3, 4, proj_size=2))


class Other(Recurrent):
    pass


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Stack([GRU(4, 4), GRU(4, 4)], residual=True), "without residual and norm"),
        (Stack([GRU(4, 4), GRU(4, 4)], norm=True), "without residual and norm"),
        (Stack([GRU(3, 4), GRU(4, 5)]), "of one kind, size and direction"),
        (Stack([GRU(3, 4), LSTM(4, 4)]), "of one kind, size and direction"),
        (Stack([GRU(3, 4), GRU(4, 4, bias=False)]), "of one kind, size and direction"),
        (Stack([RNN(3, 4), RNN(4, 4, nonlinearity="relu")]), "of one kind"),
        (Stack([Bidirectional(GRU(3, 2), GRU(3, 2)), GRU(4, 2)]), "of one kind, size and direct"),
        (Bidirectional(GRU(3, 4), LSTM(3, 4)), "of one kind, size and direction"),
        (Bidirectional(GRU(3, 4), GRU(3, 5)), "of one kind, size and direction"),
        (GRU(3, 4, learned_initial_state=True), "zeros as initial state.*got a learned one"),
        (Other(3, 4), "expected RNN, LSTM or GRU, got Other"),
        (Stack([Stack([GRU(3, 4)])]), "expected RNN, LSTM or GRU, got Stack"),
    ],
)
def test_what_torch_nn_has_no_equal_for_is_refused(layer, message):
    with pytest.raises(OptionError, match=message):
        to_torch(layer)
