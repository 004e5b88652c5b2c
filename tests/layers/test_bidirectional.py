"""Both directions: torch.nn on each segment is the oracle."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from throughtime import state as states
from throughtime.errors import NotStreamableError, ShapeError, StateError
from throughtime.layers import GRU, LSTM, Bidirectional, Stack, from_torch
from throughtime.layers.bidirectional import mirrored_positions


@st.composite
def borders(draw):
    """Draw B, T, lengths or None, resets or None."""
    lanes, steps = draw(st.integers(1, 4)), draw(st.integers(0, 8))
    lengths = draw(st.none() | st.lists(st.integers(0, steps), min_size=lanes, max_size=lanes))
    row = st.lists(st.booleans(), min_size=steps, max_size=steps)
    resets = draw(st.none() | st.lists(row, min_size=lanes, max_size=lanes))
    return (
        lanes,
        steps,
        None if lengths is None else torch.tensor(lengths),
        None if resets is None else torch.tensor(resets, dtype=torch.bool).view(lanes, steps),
    )


def segments(lane, steps, lengths, resets):
    """Return the (start, stop) of each segment of a lane, by a plain loop."""
    stop = steps if lengths is None else int(lengths[lane])
    begins = [t for t in range(1, stop) if resets is not None and resets[lane, t]]
    return list(pairwise([0, *begins, stop])) if stop else []


@given(borders())
def test_mirroring_reverses_each_segment_in_place(case):
    lanes, steps, lengths, resets = case
    positions = mirrored_positions(lanes, steps, lengths, resets, torch.device("cpu"))
    for lane in range(lanes):
        wanted = list(range(steps))
        for start, stop in segments(lane, steps, lengths, resets):
            wanted[start:stop] = reversed(wanted[start:stop])
        assert positions[lane].tolist() == wanted


@given(borders())
def test_mirroring_twice_is_the_identity(case):
    lanes, steps, lengths, resets = case
    positions = mirrored_positions(lanes, steps, lengths, resets, torch.device("cpu"))
    time = torch.arange(steps).expand(lanes, steps)
    assert torch.equal(positions.gather(1, positions), time)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@given(case=borders(), seed=st.integers(0, 99))
def test_each_segment_is_what_torch_nn_makes_of_it_alone(kind, case, seed):
    lanes, steps, lengths, resets = case
    torch.manual_seed(seed)
    theirs = kind(3, 2, bidirectional=True, batch_first=True, dtype=torch.float64)
    layer = from_torch(theirs)
    x = torch.randn(lanes, steps, 3, dtype=torch.float64)
    given_x = x.clone().requires_grad_()
    y, _ = layer(given_x, lengths=lengths, resets=resets)
    plain_x = x.clone().requires_grad_()
    wanted = torch.zeros(lanes, steps, 4, dtype=torch.float64)
    for lane in range(lanes):
        for start, stop in segments(lane, steps, lengths, resets):
            wanted[lane, start:stop] = theirs(plain_x[lane, None, start:stop])[0][0]
    assert torch.allclose(y, wanted, atol=1e-13)
    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view_as(y)
    if wanted.requires_grad:
        (slope,) = torch.autograd.grad((weights * y).sum(), given_x)
        (wanted_slope,) = torch.autograd.grad((weights * wanted).sum(), plain_x)
        assert torch.allclose(slope, wanted_slope, atol=1e-12)


def test_a_reset_goes_to_the_learned_state():
    layer = Bidirectional(
        GRU(3, 2, learned_initial_state=True), GRU(3, 2, learned_initial_state=True)
    )
    for part in (layer.forward_layer, layer.backward_layer):
        nn.init.normal_(part.initial)
    x = torch.randn(1, 6, 3)
    resets = torch.tensor([[False, False, True, False, False, False]])
    y, _ = layer(x, resets=resets)
    wanted = torch.cat([layer(x[:, :2])[0], layer(x[:, 2:])[0]], dim=1)
    assert torch.allclose(y, wanted, atol=1e-6)


def test_the_first_step_sees_the_last():
    layer, x = Bidirectional(GRU(3, 2), GRU(3, 2)), torch.randn(1, 6, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x)[0][0, 0].sum(), x)
    assert slope[0, -1].abs().max() > 0


def test_step_is_refused():
    layer = Bidirectional(GRU(3, 2), GRU(3, 2))
    assert not layer.streamable
    with pytest.raises(NotStreamableError, match=r"got Bidirectional: .*later steps; call forward"):
        layer.step(torch.ones(1, 3), layer.initial_state(1))


def test_a_carried_state_is_refused():
    layer = Bidirectional(GRU(3, 2), LSTM(3, 2))
    _, state = layer(torch.randn(2, 4, 3))
    with pytest.raises(StateError, match="the initial state in Bidirectional, got a carried one"):
        layer(torch.randn(2, 4, 3), state)
    fresh = layer.initial_state(2)
    for half in ("forward", "backward"):
        mixed = fresh._replace(**{half: getattr(state, half)})
        with pytest.raises(StateError, match="pass whole sequences, without state"):
            layer(torch.randn(2, 4, 3), mixed)


def test_the_initial_state_may_be_given():
    layer, x = Bidirectional(GRU(3, 2), LSTM(3, 2)), torch.randn(2, 4, 3)
    assert torch.equal(layer(x, layer.initial_state(2))[0], layer(x)[0])


def test_the_seeds_of_a_stack_inside_may_be_given():
    layer = Bidirectional(Stack([GRU(3, 2), GRU(2, 2)], dropout=0.5), GRU(3, 2))
    x, state = torch.randn(2, 4, 3), layer.initial_state(2)
    assert torch.equal(layer(x, state)[0], layer(x, state)[0])


def test_layers_of_other_input_sizes_are_refused():
    with pytest.raises(ShapeError, match="one input size, got 3 and 4"):
        Bidirectional(GRU(3, 2), GRU(4, 2))


def test_sizes_and_state():
    layer = Bidirectional(GRU(3, 2), LSTM(3, 5))
    assert (layer.input_size, layer.output_size) == (3, 7)
    assert states.names(layer.initial_state(1)) == ["forward.h", "backward.h", "backward.c"]
    assert layer.backend == GRU(3, 2).backend
