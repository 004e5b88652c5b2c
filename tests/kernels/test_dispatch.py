import asyncio
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime import kernels
from throughtime import state as states
from throughtime.errors import OptionError
from throughtime.kernels.fused import between_cuts, cuts
from throughtime.kernels.reference import fold
from throughtime.layers import GRU, LSTM, RNN


@st.composite
def batches(draw):
    """Sizes, lengths or none, and resets or none, False beyond the lengths."""
    lanes, steps = draw(st.integers(1, 4)), draw(st.integers(0, 9))
    lengths = resets = None
    if draw(st.booleans()):
        lengths = torch.tensor([draw(st.integers(0, steps)) for _ in range(lanes)])
    if draw(st.booleans()):
        share = draw(st.sampled_from([0.1, 0.5, 0.9]))
        draws = [[draw(st.floats(0, 1)) < share for _ in range(steps)] for _ in range(lanes)]
        resets = torch.tensor(draws, dtype=torch.bool).reshape(lanes, steps)
        if lengths is not None:
            resets = resets & (torch.arange(steps) < lengths[:, None])
    return lanes, steps, lengths, resets


def results(run, layer, x, state, lengths, resets):
    """Outputs, final state and all gradients of a run."""
    x = x.clone().requires_grad_()
    state = states.tree_map(lambda leaf: leaf.clone().requires_grad_(), state)
    y, end = run(layer, x, state, lengths, resets)
    total = y.square().sum() + sum(leaf.square().sum() for leaf in end)
    sources = [x, *state, *layer.parameters()]
    grads = torch.autograd.grad(total, sources, allow_unused=True, materialize_grads=True)
    return [y, *end, *grads]


@given(batches(), st.sampled_from([RNN, LSTM, GRU]))
def test_fused_between_cuts_is_the_fold(batch, kind):
    lanes, steps, lengths, resets = batch
    torch.manual_seed(0)
    layer = kind(3, 4, learned_initial_state=True).double()
    torch.nn.init.normal_(layer.initial)
    x = torch.randn(lanes, steps, 3, dtype=torch.float64)
    state = type(layer.initial_state(1))(
        *(torch.randn(lanes, 4, dtype=torch.float64) for _ in layer.initial_state(1))
    )
    expected = results(fold, layer, x, state, lengths, resets)
    for got, wanted in zip(
        results(between_cuts, layer, x, state, lengths, resets), expected, strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)


def test_cuts_are_where_lanes_end_or_restart():
    resets = torch.zeros(2, 8, dtype=torch.bool)
    resets[0, 3] = resets[1, 0] = True
    assert cuts(torch.tensor([5, 8]), resets, 8) == [0, 3, 5, 8]
    assert cuts(None, None, 8) == [0, 8]
    assert cuts(None, None, 0) == [0]


def calls_of_fused(layer, *, lengths=None, resets=None, steps=8):
    """How often the fused kernel is called for a batch of two."""
    counted, fused = [], layer.fused

    def counting(x, state):
        counted.append(x.shape)
        return fused(x, state)

    layer.fused = counting
    x = torch.randn(2, steps, 3, dtype=layer.weight_hh.dtype)
    layer(x, lengths=lengths, resets=resets)
    del layer.fused
    return len(counted)


def test_the_fastest_that_is_correct_runs():
    # In float64, which the native kernels leave to torch.
    layer, many = GRU(3, 4).double(), torch.ones(2, 8, dtype=torch.bool)
    assert calls_of_fused(layer) == 1
    assert calls_of_fused(layer, lengths=torch.tensor([8, 4])) == 2
    assert calls_of_fused(layer, resets=many) == 0
    with kernels.use("torch"):
        assert calls_of_fused(layer, resets=many) == 8
    with kernels.use("reference"):
        assert calls_of_fused(layer) == 0


def test_a_wish_holds_for_the_block_and_nests():
    layer = GRU(3, 4)
    with kernels.use("reference"):
        with kernels.use("torch"):
            assert layer.backend.startswith("torch")
        assert layer.backend == "reference: asked for"
        with pytest.raises(RuntimeError), kernels.use("torch"):
            raise RuntimeError
        assert layer.backend == "reference: asked for"
    assert not layer.backend.startswith("reference")


def test_a_wish_holds_in_its_own_thread():
    layer, seen = GRU(3, 4), []
    with kernels.use("reference"):
        thread = threading.Thread(target=lambda: seen.append(layer.backend))
        thread.start()
        thread.join()
    assert not seen[0].startswith("reference")


def test_a_wish_holds_in_its_own_task():
    layer = GRU(3, 4)

    async def ask(name, turn, other):
        with kernels.use(name):
            turn.set()
            await other.wait()
            return layer.backend

    async def both():
        turns = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(
            ask("reference", turns[0], turns[1]), ask("torch", turns[1], turns[0])
        )

    first, second = asyncio.run(both())
    assert first.startswith("reference")
    assert second.startswith("torch")


@pytest.mark.parametrize("name", ["cuda", "", "Reference"])
def test_an_unknown_backend_is_refused(name):
    with pytest.raises(OptionError, match="backend among reference, torch, native, got"):
        kernels.use(name).__enter__()
