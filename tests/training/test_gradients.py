"""From a window to a gradient: what truncated, full and recomputed BPTT are, by other means."""

import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from trials import forecast, language, model_for

from throughtime import state as states
from throughtime.data.windows import Lanes
from throughtime.tasks.task import tensors
from throughtime.training.gradients import clip, finite_lanes, window_loss

CPU = torch.device("cpu")
KINDS = [("gru:6", 0.0), ("lstm:6", 0.0), ("rnn:6", 0.0), ("gru:6x2", 0.4), ("lstm:6x3", 0.3)]


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters()]


def close(got, wanted, tolerance):
    return all(
        torch.allclose(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))
        for a, b in zip(got, wanted, strict=True)
    )


def whole_lanes(task, data, lanes=4):
    """All lanes as one window, ragged, with resets inside."""
    plan = Lanes(task.examples(data, "train"), lanes, 10_000, 0)
    assert len(plan) == 1
    window = tensors(plan.window(0, 0), CPU)
    assert window[3][:, 1:].any(), "a reset inside"
    assert len(set(window[2].tolist())) > 1, "ragged"
    return window


def stepped_loss(task, model, window, state):
    """The summed loss of a window, lane by lane and step by step."""
    inputs, targets, lengths, resets = window
    total, count, ends = 0.0, 0, []
    for lane in range(len(inputs)):
        own = states.take(state, torch.tensor([lane]))
        for t in range(int(lengths[lane])):
            y, own = model.step(inputs[lane, t][None], own, reset=resets[lane, t][None])
            loss, valid = task.loss(y[:, None], inputs[lane, t][None, None],
                                    targets[lane, t][None, None])  # fmt: skip
            total, count = total + loss, count + int(valid)
        ends.append(own)
    return total, count, states.cat(ends)


@pytest.mark.parametrize(("layer", "dropout"), KINDS)
@pytest.mark.parametrize("make", [forecast, language])
def test_full_bptt_is_one_pass_over_whole_lanes(layer, dropout, make):
    options = {"rows": 47, "series": 2, "missing": 0.2} if make is forecast else {"length": 111}
    task, data = make(**options)
    model = model_for(task, layer, dropout=dropout).train()
    window = (
        whole_lanes(task, data)
        if make is forecast
        else tensors(Lanes(task.examples(data, "train"), 4, 10_000, 0).window(0, 0), CPU)
    )
    start = model.initial_state(4)
    total, count, end = stepped_loss(task, model, window, start)
    got = window_loss(task, model, window, start)
    assert int(got.targets) == count
    assert float(got.total.detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    for a, b in zip(states.leaves(got.state), states.leaves(end), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert close(gradient(model, got.total), gradient(model, total), 2e-5)


@pytest.mark.parametrize(("layer", "dropout"), KINDS)
@pytest.mark.parametrize("chunks", [2, 7, 1000])
def test_recomputed_pieces_give_the_same_gradient(layer, dropout, chunks):
    task, data = forecast(rows=47, series=2, missing=0.2)
    model = model_for(task, layer, dropout=dropout).train()
    window = whole_lanes(task, data)
    state = model.initial_state(4)
    whole = window_loss(task, model, window, state)
    wanted = gradient(model, whole.total)
    pieces = window_loss(task, model, window, state, chunks=chunks)
    assert int(pieces.targets) == int(whole.targets)
    assert torch.allclose(pieces.total, whole.total, rtol=1e-6)
    assert close(gradient(model, pieces.total), wanted, 1e-6)
    for a, b in zip(states.leaves(pieces.state), states.leaves(whole.state), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_gradient_flows_through_pieces_to_a_learned_initial_state():
    task, data = language(length=111)
    model = model_for(task)
    model.layers.initial = torch.nn.Parameter(torch.zeros(1, 6))
    window = tensors(Lanes(task.examples(data, "train"), 2, 10_000, 0).window(0, 0), CPU)
    wanted = gradient(model, window_loss(task, model, window, None).total)
    assert close(gradient(model, window_loss(task, model, window, None, chunks=5).total),
                 wanted, 1e-6)  # fmt: skip
    assert model.layers.initial.grad.abs().max() > 0


class _Live(TorchDispatchMode):
    """Counts the bytes that are alive of all that was computed inside."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage):
        pointer, size = storage.data_ptr(), storage.nbytes()
        if pointer in self.known or not size:
            return
        self.known.add(pointer)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, pointer, size)

    def _remove(self, pointer, size):
        self.known.discard(pointer)
        self.live -= size


@pytest.mark.parametrize(("layer", "dropout"), [("gru:8", 0.0), ("lstm:8x2", 0.3)])
def test_recomputed_pieces_take_less_memory(layer, dropout):
    task, data = language(length=1200)
    model = model_for(task, layer, dropout=dropout).train()
    window = tensors(Lanes(task.examples(data, "train"), 1, 10_000, 0).window(0, 0), CPU)
    peaks = {}
    for chunks in (1, 10):
        with _Live() as live:
            window_loss(task, model, window, None, chunks=chunks).total.backward()
        peaks[chunks] = live.peak
        model.zero_grad()
    assert peaks[10] < peaks[1] / 3


def test_clipping_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        a.grad = torch.randn_like(a)
        b.grad = a.grad.clone()
    norm, culprit = clip(ours.named_parameters(), 0.5)
    assert culprit is None
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    after = torch.cat([p.grad.flatten() for p in ours.parameters()]).norm()
    assert float(after) == pytest.approx(0.5, rel=1e-5)
    kept = [p.grad.clone() for p in ours.parameters()]
    assert clip(ours.named_parameters(), 2.0) == (pytest.approx(0.5, rel=1e-5), None)
    assert all(torch.equal(p.grad, k) for p, k in zip(ours.parameters(), kept, strict=True))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_named_and_left_alone(value):
    layer = torch.nn.Linear(3, 4)
    layer.weight.grad, layer.bias.grad = torch.ones(4, 3), torch.ones(4)
    layer.bias.grad[2] = value
    norm, culprit = clip(layer.named_parameters(), 0.5)
    assert culprit == "bias"
    assert not np.isfinite(norm)
    assert torch.equal(layer.weight.grad, torch.ones(4, 3))


def test_a_norm_too_large_for_a_number_names_the_largest_part():
    layer = torch.nn.Linear(3, 4)
    layer.weight.grad, layer.bias.grad = torch.full((4, 3), 2e38), torch.ones(4)
    assert clip(layer.named_parameters(), 0.5)[1] == "weight"


def test_parameters_without_gradient_are_no_matter():
    layer = torch.nn.Linear(3, 4)
    layer.bias.grad = torch.full((4,), 3.0)
    assert clip(layer.named_parameters(), 1.0) == (6.0, None)
    assert clip(torch.nn.Linear(3, 4).named_parameters(), 1.0) == (0.0, None)


def test_finite_lanes_looks_at_every_leaf():
    state = model_for(*_stack()).initial_state(5)
    state[0].h[1, 2] = np.nan
    state[1].c[3, 0] = np.inf
    assert finite_lanes(state).tolist() == [True, False, True, False, True]


def _stack():
    return forecast(rows=40)[0], "lstm:4x2"
