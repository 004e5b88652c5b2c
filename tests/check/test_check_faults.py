"""Models that are at fault: each fault is planted, and the item that is meant for it must fail."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from check_helpers import failed, item
from torch import Tensor

from throughtime import state as states
from throughtime.check import check
from throughtime.kernels import native
from throughtime.run import Run
from throughtime.state import State

pytestmark = pytest.mark.usefixtures("short_batches")

Load = Callable[[str], Run]
Forward = Callable[..., tuple[Tensor, State]]


def with_forward(run: Run, change: Callable[[Forward], Forward]) -> Run:
    """Put a changed forward in place of the model's own."""
    run.model.forward = change(run.model.forward)  # type: ignore[method-assign]
    return run


@pytest.mark.parametrize("name", ["sunspots", "text", "stack"])
def test_step_that_differs_is_caught_at_its_step(run_of: Load, name: str) -> None:
    run = run_of(name)
    own, calls = run.model.step, []

    def step(inputs: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        y, state = own(inputs, state, reset=reset)
        calls.append(1)
        return (y + 1e-3 if len(calls) == 10 else y), state

    run.model.step = step  # type: ignore[method-assign]
    report = check(run, drift=8)
    assert failed(report) == {"stepped"}
    assert item(report, "stepped").first_difference == (0, 9)
    assert "first at lane 0, step 9" in str(report)


def test_step_that_loses_the_state_of_one_lane_names_the_lane(run_of: Load) -> None:
    run = run_of("stack")
    own = run.model.step

    def step(inputs: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        first = torch.arange(len(inputs)) == 1
        state = states.where(first, run.model.initial_state(len(inputs)), state)
        return own(inputs, state, reset=reset)

    run.model.step = step  # type: ignore[method-assign]
    report = check(run, drift=8)
    assert failed(report) == {"stepped"}
    assert item(report, "stepped").first_difference == (1, 1)


def test_step_that_raises_is_a_finding(run_of: Load) -> None:
    run = run_of("sunspots")

    def step(*arguments: Any, **options: Any) -> tuple[Tensor, State]:
        raise RuntimeError("no kernel for this machine")

    run.model.step = step  # type: ignore[method-assign]
    report = check(run, drift=8)
    assert failed(report) == {"stepped"}
    assert "RuntimeError: no kernel for this machine" in item(report, "stepped").detail


def test_hidden_state_is_caught(run_of: Load) -> None:
    run = run_of("text")
    kept = {"last": torch.zeros(1)}

    def change(own: Forward) -> Forward:
        def forward(inputs: Tensor, state: State | None = None, **how: Any) -> tuple[Tensor, State]:
            y, state = own(inputs, state, **how)
            y = y + 0.1 * kept["last"]
            kept["last"] = y.mean().tanh()
            return y, state

        return forward

    report = check(with_forward(run, change), drift=8)
    assert "offline" in failed(report)
    assert "asked again" in item(report, "offline").detail


def test_state_that_is_not_carried_is_caught_where_a_chunk_begins(run_of: Load) -> None:
    def change(own: Forward) -> Forward:
        def forward(inputs: Tensor, state: State | None = None, **how: Any) -> tuple[Tensor, State]:
            return own(inputs, None, **how)

        return forward

    report = check(with_forward(run_of("sunspots"), change), drift=8)
    assert failed(report) == {"chunked", "restored from disk"}
    assert item(report, "chunked").first_difference == (0, 1)


@pytest.mark.parametrize("name", ["sunspots", "text"])
def test_looking_ahead_is_caught(run_of: Load, name: str) -> None:
    def change(own: Forward) -> Forward:
        def forward(inputs: Tensor, state: State | None = None, **how: Any) -> tuple[Tensor, State]:
            y, state = own(inputs, state, **how)
            return y + 0.1 * y.roll(-1, dims=1), state

        return forward

    report = check(with_forward(run_of(name), change), drift=8)
    assert "causal" in failed(report)
    assert "other inputs after it" in item(report, "causal").detail


def test_looking_ahead_by_gradient_alone_is_caught(run_of: Load) -> None:
    def change(own: Forward) -> Forward:
        def forward(inputs: Tensor, state: State | None = None, **how: Any) -> tuple[Tensor, State]:
            y, state = own(inputs, state, **how)
            if inputs.requires_grad:
                y = y + 0.1 * y.flip(1) - 0.1 * y.flip(1).detach()
            return y, state

        return forward

    report = check(with_forward(run_of("stack"), change), drift=8)
    assert failed(report) == {"causal"}
    assert "gradients" in item(report, "causal").detail


@pytest.mark.parametrize("name", ["sunspots", "text"])
def test_padding_that_is_read_is_caught(run_of: Load, name: str) -> None:
    def change(own: Forward) -> Forward:
        def forward(inputs: Tensor, state: State | None = None, **how: Any) -> tuple[Tensor, State]:
            return own(inputs, state, resets=how.get("resets"))

        return forward

    report = check(with_forward(run_of(name), change), drift=8)
    assert "padding" in failed(report)
    assert "end state" in item(report, "padding").detail


@pytest.mark.parametrize(("name", "share"), [("sunspots", 0.1), ("text", 1e-3)])
def test_mean_over_the_batch_is_caught(run_of: Load, name: str, share: float) -> None:
    def change(own: Forward) -> Forward:
        def forward(inputs: Tensor, state: State | None = None, **how: Any) -> tuple[Tensor, State]:
            y, state = own(inputs, state, **how)
            return y + share * y.mean(dim=0, keepdim=True), state

        return forward

    report = check(with_forward(run_of(name), change), drift=8)
    assert "inside any batch" in failed(report)


def test_reset_that_is_ignored_is_caught(run_of: Load) -> None:
    def change(own: Forward) -> Forward:
        def forward(
            inputs: Tensor,
            state: State | None = None,
            *,
            lengths: Tensor | None = None,
            resets: Tensor | None = None,
        ) -> tuple[Tensor, State]:
            return own(inputs, state, lengths=lengths)

        return forward

    report = check(with_forward(run_of("text"), change), drift=8)
    assert {"restarted", "stepped"} <= failed(report)


def test_outputs_that_are_not_numbers_are_caught(run_of: Load) -> None:
    run = run_of("sunspots")
    with torch.no_grad():
        run.model.head.bias[2] = torch.nan
    report = check(run, drift=8)
    assert "offline" in failed(report)
    assert item(report, "offline").first_difference == (0, 0)
    assert "not finite" in item(report, "offline").detail


def test_kernel_that_differs_from_the_maths_is_caught(
    run_of: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of("sunspots")
    layer = type(run.model.layers)
    # Whichever of the two runs here: the native kernels, or torch's where there are none.
    for holder, name in ((native, "run"), (layer, "fused")):
        own = getattr(holder, name)

        def faulty(*arguments: Any, own: Any = own) -> tuple[Tensor, State]:
            y, state = own(*arguments)
            return y * 1.01, state

        monkeypatch.setattr(holder, name, faulty)
    assert "reference backend" in failed(check(run, drift=8))


def test_state_file_that_loses_a_value_is_caught(
    run_of: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = states.save

    def save(state: State, path: Any, *, fingerprint: str) -> None:
        forgetful = state._replace(c=torch.zeros_like(state.c))
        own(forgetful, path, fingerprint=fingerprint)

    monkeypatch.setattr(states, "save", save)
    report = check(run_of("text"), drift=8)
    assert failed(report) == {"restored from disk"}
    found = item(report, "restored from disk")
    assert "end state c read back" in found.detail
    assert found.first_difference is not None
    assert found.tolerance == 0


def test_state_file_that_loses_a_leaf_is_caught(
    run_of: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = states.save

    def save(state: State, path: Any, *, fingerprint: str) -> None:
        own(state[:1], path, fingerprint=fingerprint)

    monkeypatch.setattr(states, "save", save)
    report = check(run_of("stack"), drift=8)
    assert failed(report) == {"restored from disk"}
    assert "expected a state of" in item(report, "restored from disk").detail


def test_weights_that_differ_from_those_on_disk_are_caught(run_of: Load) -> None:
    run = run_of("sunspots")
    with torch.no_grad():
        run.model.head.bias += 1e-7
    assert failed(check(run, drift=8)) == {"restored from disk"}
