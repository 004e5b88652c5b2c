"""Turns, times and agreement, by a clock of our own."""

import math

import pytest
import torch
from fakes import Clock
from hypothesis import given
from hypothesis import strategies as st

from throughtime.bench.measure import (
    Disagreement,
    Effort,
    Way,
    agree,
    difference,
    interleave,
    percentile_99,
)


def test_ways_are_run_in_turn_and_what_is_before_is_not_timed():
    clock, calls = Clock(), []

    def way(name: str, seconds: float) -> Way:
        takes, before = clock.pass_by(seconds), clock.pass_by(50.0)

        def call() -> None:
            calls.append(name)
            takes()

        return Way(call, before)

    ways = {"a": way("a", 1.0), "b": way("b", 3.0)}
    times = interleave(ways, Effort(0.0, (3, 9), 0), clock=clock)
    assert times == {"a": [1.0] * 3, "b": [3.0] * 3}
    assert "".join(calls) == "ab" + "ab" * 3


def test_without_warming_up_the_first_call_counts():
    clock = Clock()
    ways = {"a": Way(clock.pass_by(9.0, 1.0, 1.0, 1.0))}
    assert interleave(ways, Effort(0.0, (2, 2), 0), clock=clock)["a"] == [1.0, 1.0]
    ways = {"a": Way(clock.pass_by(9.0, 1.0))}
    cold = interleave(ways, Effort(0.0, (2, 2), 0, warm=False), clock=clock)
    assert cold["a"] == [9.0, 1.0]


@pytest.mark.parametrize(
    ("seconds", "rounds", "expected"),
    [(0.0, (3, 9), 3), (10.0, (3, 9), 5), (100.0, (3, 9), 9), (1e9, (1, 1), 1)],
)
def test_seconds_decide_between_the_bounds(seconds: float, rounds: tuple[int, int], expected: int):
    clock = Clock()
    ways = {"a": Way(clock.pass_by(1.5)), "b": Way(clock.pass_by(0.5))}
    times = interleave(ways, Effort(seconds, rounds, 0), clock=clock)
    assert len(times["a"]) == len(times["b"]) == expected


def test_blocks_are_run_through_before_it_is_the_next_ones_turn():
    clock, calls = Clock(), []
    ways = {name: Way(lambda name=name: calls.append(name)) for name in "ab"}
    times = interleave(ways, Effort(0.0, (2, 2), 0, warm=False), block=3, clock=clock)
    assert "".join(calls) == "aaabbb" * 2
    assert len(times["a"]) == 6


def test_a_percentile_is_one_of_the_slow_ones():
    assert percentile_99([float(n) for n in range(101)]) == pytest.approx(99.0)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8),
    st.floats(1e-6, 1.0),
)
def test_a_difference_is_relative_to_the_largest_value(values: list[float], share: float):
    theirs = torch.tensor([*values, 1.0], dtype=torch.float64)
    ours = theirs.clone()
    scale = float(theirs.abs().max())
    ours[0] += share * scale
    assert difference(ours, theirs) == pytest.approx(share, rel=1e-6, abs=1e-9)
    assert difference(theirs, theirs) == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_agrees(value: float):
    broken = torch.tensor([1.0, value])
    for ours, theirs in ((broken, torch.ones(2)), (torch.ones(2), broken), (broken, broken)):
        assert difference(ours, theirs) == math.inf


def test_other_shapes_and_zeros():
    assert difference(torch.ones(2), torch.ones(3)) == math.inf
    assert difference(torch.zeros(2), torch.zeros(2)) == 0.0
    assert difference(torch.ones(2), torch.zeros(2)) == math.inf


def test_agreement_names_what_differs_and_gives_the_largest_difference():
    theirs = {"output": torch.ones(2), "gradient": torch.ones(2)}
    ours = {"output": torch.ones(2), "gradient": torch.tensor([1.0, 1.01])}
    assert agree(ours, theirs, 0.1) == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(Disagreement, match=r"gradient differs by 1\.0e-02"):
        agree(ours, theirs, 1e-3)
    with pytest.raises(Disagreement, match="same results"):
        agree({"output": torch.ones(2)}, theirs, 1.0)
    with pytest.raises(Disagreement):
        agree({"y": torch.tensor([math.nan])}, {"y": torch.ones(1)}, math.nan)
