"""The peers compute what they should, and a wrong result gives no figure."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from throughtime import kernels
from throughtime.bench import linear, memory, onnx_peer, pairs, ragged, step, threads, train
from throughtime.bench.case import Case
from throughtime.bench.child import answers
from throughtime.bench.figure import Figure
from throughtime.bench.measure import FULL, QUICK, Effort, Unavailable
from throughtime.bench.memory import peak_of
from throughtime.layers import GRU, to_torch

ONCE = Effort(0.0, (1, 1), steps=step.BLOCK)
SMALL = (3, 7, 2, 4)


def small(case: Case) -> list[Figure]:
    """Run a case on a few numbers."""
    plan = tuple(replace(planned, size=SMALL) for planned in case.plan)
    return replace(case, plan=plan).run(ONCE)


def fold(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    """The recurrence as it is written down."""
    steps = []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        steps.append(h)
    return torch.stack(steps, dim=1)


def with_a_weight_off_by(amount: float) -> Callable[[Any], nn.RNNBase]:
    """What makes torch.nn's equal of a layer, but for one weight."""

    def make(layer: Any) -> nn.RNNBase:
        module = to_torch(layer)
        with torch.no_grad():
            module.weight_hh_l0[0, 0] += amount
        return module

    return make


TRAINING = [
    *(case for case in train.cases(quick=False) if case.plan[0].size == train.SIZES[-1]),
    threads.cases(quick=True)[0],
    ragged.cases(quick=False)[1],
]


@pytest.mark.parametrize("case", TRAINING, ids=lambda case: case.title)
def test_ours_and_the_peer_agree_and_are_both_timed(case: Case):
    for found in small(case):
        assert not found.wrong, found.note
        assert found.ours is not None
        assert found.theirs is not None
        assert found.ours > 0
        assert found.ratio == pytest.approx(
            found.theirs / found.ours if found.reads == "speedup" else found.ours / found.theirs
        )
        assert found.backend


@pytest.mark.parametrize("case", TRAINING, ids=lambda case: case.title)
def test_a_wrong_weight_of_the_peer_gives_no_figure(case: Case, monkeypatch):
    amount = 3.0 if "bf16" in case.title else 0.01
    monkeypatch.setattr(pairs, "to_torch", with_a_weight_off_by(amount))
    for found in small(case):
        assert found.wrong
        assert found.ours is None
        assert found.ratio is None
        assert "differs by" in found.note


def test_gradients_are_held_against_each_other_too(monkeypatch):
    def with_another_gradient(layer: Any) -> nn.RNNBase:
        module = to_torch(layer)
        module.bias_hh_l0.register_hook(lambda gradient: 1.1 * gradient)
        return module

    monkeypatch.setattr(pairs, "to_torch", with_another_gradient)
    (found,) = small(train.cases(quick=True)[0])
    assert found.note.startswith("gradient of bias_hh differs by 9.1e-02")


def test_lengths_and_resets_are_held_against_the_reference(monkeypatch):
    case = ragged.cases(quick=True)[0]
    assert [found.wrong for found in small(case)] == [False, False]
    run = kernels.run

    def ignoring_resets(layer: Any, x: Tensor, state: Any, lengths: Any, resets: Any) -> Any:
        by_reference = kernels.explain(layer).startswith("reference")
        return run(layer, x, state, lengths, resets if by_reference else None)

    monkeypatch.setattr(kernels, "run", ignoring_resets)
    monkeypatch.setattr(ragged, "RESETS", 0.5)
    assert all(found.wrong for found in small(case))


def test_lengths_are_spread_over_all_that_are_possible():
    lengths = ragged.uniform_lengths(32, 256)
    assert (lengths.min(), lengths.max()) == (1, 256)
    assert lengths.double().mean() == pytest.approx(128.5, abs=0.5)
    assert lengths.tolist() != sorted(lengths.tolist())


def test_the_scans_are_the_recurrence_in_value_and_gradient():
    a = (0.1 + 0.8 * torch.rand(2, 9, 3, dtype=torch.float64)).requires_grad_()
    b = (0.1 + torch.rand(2, 9, 3, dtype=torch.float64)).requires_grad_()
    weighting = torch.randn(2, 9, 3, dtype=torch.float64)
    scans = (
        lambda a, b: fold(a, b, torch.zeros(2, 3, dtype=torch.float64)),
        linear.associative,
        lambda a, b: linear.logarithmic(a.log(), b.log()),
    )
    right, *others = (
        (h, *torch.autograd.grad((weighting * h).sum(), (a, b)))
        for h in (scan(a, b) for scan in scans)
    )
    for found in others:
        torch.testing.assert_close(found, right)


@pytest.mark.parametrize("share", [0.0, 0.02])
def test_a_linear_recurrence_is_held_against_both_scans(share: float, monkeypatch):
    monkeypatch.setattr(linear, "SIZE", (2, 17, 3))

    exact = kernels.linear_recurrence

    def recurrence(a: Tensor, b: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h, end = exact(a, b, state)
        return h * (1 + share), end

    monkeypatch.setattr(kernels, "linear_recurrence", recurrence)
    found = linear.cases(quick=True)[0].run(ONCE)
    assert [one.peer for one in found] == ["associative_scan", "log-space scan"]
    assert [one.wrong for one in found] == [share > 0] * 2


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_step_of_onnx_runtime_is_torchs(name: str):
    _, module = pairs.pair(name, 3, 5)
    stepper = onnx_peer.stepper(name, module)
    xs = torch.randn(6, 3)
    with torch.no_grad():
        expected, _ = module(xs[None])
    found = np.concatenate([stepper(x[None].numpy()) for x in xs])
    torch.testing.assert_close(torch.from_numpy(found), expected[0])


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_what_is_not_installed_is_said(name: str, monkeypatch):
    def missing(asked: str) -> Any:
        raise ImportError(asked)

    monkeypatch.setattr(onnx_peer, "import_module", missing)
    with pytest.raises(Unavailable, match="throughtime\\[onnx\\]"):
        onnx_peer.stepper("gru", nn.GRU(2, 3))


@pytest.mark.parametrize("number", [0, 1])
def test_every_way_of_stepping_gives_the_same(number: int, monkeypatch):
    case = step.cases(quick=True)[number]
    found = case.run(ONCE)
    assert len(found) == len(case.plan)
    for one in found:
        assert not one.wrong, one.note
        assert one.ratio is not None
        assert set(one.more) == {"p99", "p99_of_peer"}
        assert one.more["p99"] >= (one.ours or 0)


def test_without_onnx_runtime_ours_is_measured_all_the_same(monkeypatch):
    def absent(name: str, module: nn.RNNBase) -> Any:
        raise Unavailable("onnxruntime is not installed")

    monkeypatch.setattr(onnx_peer, "stepper", absent)
    found = {
        one.peer: one for one in step.cases(quick=True)[0].run(ONCE) if one.case != "layer.step"
    }
    assert found["onnxruntime"].ours is not None
    assert found["onnxruntime"].note == "onnxruntime is not installed"
    assert [bar.of for bar in found["onnxruntime"].missed] == ["ratio"]


def test_a_stepper_that_goes_wrong_is_noticed(monkeypatch):
    class Forgetting:
        def __init__(self, layer: Any, lanes: int) -> None:
            self.layer, self.lanes = layer, lanes

        def step(self, x: Any) -> Any:
            y, _ = self.layer.step(torch.as_tensor(x), self.layer.initial_state(self.lanes))
            return y.numpy()

    monkeypatch.setattr(GRU, "stepper", lambda self, lanes: Forgetting(self, lanes))
    assert all(one.wrong for one in step.cases(quick=True)[0].run(ONCE))


def test_memory_grows_with_the_steps():
    short, long = (peak_of("gru", (4, steps, 8, 64), ours=True) for steps in (64, 2048))
    # The output, the gates and their gradients of 2048 steps: at least three arrays of 2 MiB.
    assert long > 6
    assert long > short


def test_memory_is_measured_in_other_processes(monkeypatch):
    job = {"job": "memory", "layer": "gru", "size": [4, 512, 8, 64], "ours": False}
    (peak,) = answers(job)
    assert peak > 1
    jobs = []

    def answered(job: Any) -> Any:
        jobs.append(job)
        return iter([2.0 if job["ours"] else 8.0])

    monkeypatch.setattr(memory, "answers", answered)
    (found,) = small(memory.cases(quick=True)[0])
    assert (found.ours, found.theirs, found.ratio) == (2.0, 8.0, 0.25)
    assert [job["size"] for job in jobs] == [list(SMALL)] * 2


@pytest.mark.parametrize("case", [train.cases(quick=True)[0], step.cases(quick=True)[0]])
def test_random_numbers_of_the_caller_are_left_alone(case: Case):
    before = torch.get_rng_state()
    small(case)
    assert torch.equal(torch.get_rng_state(), before)


def test_quick_steps_fill_whole_blocks():
    assert QUICK.steps % step.BLOCK == 0
    assert FULL.steps == 10_000
