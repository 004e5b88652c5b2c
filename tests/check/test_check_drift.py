"""Long runs: faults that only long carrying shows, and data that must raise no alarm."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from check_helpers import failed, item
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from throughtime import layers
from throughtime.check import check
from throughtime.check.comparison import Comparison
from throughtime.check.drift import GROWTH, judge_loss, judge_norm, quarters
from throughtime.recurrent import Recurrent
from throughtime.run import Run
from throughtime.state import State

pytestmark = pytest.mark.usefixtures("short_batches")

Load = Callable[[str], Run]
LOSS, NORM = "loss over a long run", "state over a long run"


class _Counting(NamedTuple):
    own: Any
    steps: Tensor


class _Tiring(Recurrent):
    """A GRU whose outputs go astray once a state has been carried for 70 steps."""

    def __init__(self, own: layers.GRU) -> None:
        super().__init__(own.input_size, own.output_size)
        self.own = own

    def initial_state(self, batch_size: int, *, device: Any = None, dtype: Any = None) -> State:
        own = self.own.initial_state(batch_size, device=device, dtype=dtype)
        return _Counting(own, torch.zeros(batch_size, dtype=torch.int64))

    def update(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, own = self.own.update(x, state.own)
        astray = (state.steps >= 70).to(y.dtype)[:, None] * torch.arange(y.shape[1]).cos() * 9
        return y + astray, _Counting(own, state.steps + 1)


def _set(layer: torch.nn.Module, like: str, value: Tensor | float) -> None:
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            if like in name:
                weight.copy_(torch.as_tensor(value).expand_as(weight))


def test_state_that_blows_up_is_caught(run_of: Load) -> None:
    run = run_of("sunspots")
    run.model.layers = layers.RNN(2, 8, nonlinearity="relu")
    _set(run.model.layers, "weight_ih", 0.1)
    _set(run.model.layers, "weight_hh", 1.02 * torch.eye(8))
    report = check(run)
    assert {LOSS, NORM} <= failed(report)
    found = item(report, NORM)
    assert "keeps growing" in found.detail
    assert found.first_difference is not None
    assert 0 < found.first_difference[1] < 800


def test_state_that_leaves_the_numbers_is_caught(run_of: Load) -> None:
    run = run_of("sunspots")
    run.model.layers = layers.RNN(2, 8, nonlinearity="relu")
    _set(run.model.layers, "weight_ih", 0.1)
    _set(run.model.layers, "weight_hh", 2 * torch.eye(8))
    report = check(run)
    assert "not finite any more" in item(report, NORM).detail
    assert {LOSS, NORM} <= failed(report)


def test_cell_that_fills_without_end_is_caught(run_of: Load) -> None:
    run = run_of("text")
    layer = run.model.layers
    _set(layer, "weight", 0.0)
    _set(layer, "bias_ih", torch.cat([torch.full((16,), v) for v in (9.0, 99.0, 9.0, 9.0)]))
    report = check(run)
    assert NORM in failed(report)
    norms = item(report, NORM).figures["norm"]
    assert 6 < norms[3] / norms[0] < 8


def test_loss_that_long_carrying_costs_is_caught_where_it_begins(run_of: Load) -> None:
    run = run_of("sunspots")
    run.model.layers = _Tiring(run.model.layers)
    report = check(run, drift=8)
    # Every way of running agrees that it goes astray; only the long run knows that it should not.
    assert failed(report) == {LOSS, "recorded outputs", "restored from disk"}
    found = item(report, LOSS)
    assert not found.passed
    # 70 steps lie in window 4 of 16 steps each.
    assert found.first_difference == (0, 64)
    assert found.figures["carried"][3] > found.figures["restarted"][3] + found.tolerance
    assert item(report, NORM).passed


def _judged(carried: Tensor, restarted: Tensor, allowed: float = 0.1) -> Comparison:
    comparison = Comparison("loss", allowed)
    judge_loss(comparison, carried, restarted, 10)
    return comparison


@given(st.integers(0, 2**31), st.floats(0.1, 100))
def test_rows_that_are_hard_for_both_raise_no_alarm(seed: int, growth: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    restarted = torch.rand(48, generator=generator).double() + torch.arange(48) * growth
    carried = restarted + 0.02 * torch.randn(48, generator=generator)
    assert _judged(carried, restarted).passed


@given(st.sets(st.integers(0, 47), max_size=5))
def test_a_few_unlucky_windows_raise_no_alarm(unlucky: set[int]) -> None:
    restarted = torch.ones(48, dtype=torch.float64)
    carried = restarted.clone()
    carried[list(unlucky)] += 1000
    assert _judged(carried, restarted).passed


def test_cost_in_most_late_windows_is_off() -> None:
    restarted = torch.ones(48, dtype=torch.float64)
    carried = restarted.clone()
    carried[30:] += 0.2
    judged = _judged(carried, restarted)
    assert not judged.passed
    assert judged.place == (0, 300)


def test_windows_without_targets_are_left_out() -> None:
    restarted = torch.full((48,), torch.nan, dtype=torch.float64)
    judged = _judged(restarted, restarted)
    assert judged.passed
    assert judged.largest is None
    restarted[40:44] = 1.0
    assert not _judged(restarted + 0.2, restarted).passed


def test_loss_that_is_not_finite_is_off() -> None:
    restarted = torch.ones(48, dtype=torch.float64)
    carried = restarted.clone()
    carried[40:] = torch.nan
    assert not _judged(carried, restarted).passed


def _norm_passes(norms: Tensor) -> bool:
    comparison = Comparison("norm", GROWTH)
    judge_norm(comparison, norms.double(), 10)
    return comparison.passed


@given(st.floats(1.0, 40.0), st.floats(0.0, 1.0))
def test_state_that_fills_towards_a_bound_is_not_off(time_constant: float, noise: float) -> None:
    time = torch.arange(50)
    generator = torch.Generator().manual_seed(0)
    filling = 1 - torch.exp(-(time + 1) / time_constant)
    assert _norm_passes(10 * filling + noise * torch.rand(50, generator=generator))


def test_growth_without_bound_is_off() -> None:
    time = torch.arange(50)
    assert not _norm_passes(time + 0.1)
    assert not _norm_passes(1.1**time)
    assert not _norm_passes(torch.where(time < 45, 1.0, torch.inf))


def test_quarters_leave_out_what_is_missing() -> None:
    values = torch.tensor([1.0, 3.0, torch.nan, 5.0, 7.0, 7.0, 8.0, 10.0])
    assert quarters(values) == (2.0, 5.0, 7.0, 9.0)
