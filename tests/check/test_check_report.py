"""How a report reads, for people and for programs."""

import json
import math

import pytest
import torch

from throughtime.check import Item, Report
from throughtime.check.comparison import Comparison, difference, examine

GOOD = Item("stepped", True, 2e-7, 1e-5, None, "256 calls of step")
BAD = Item("chunked", False, 0.25, 1e-5, (2, 17), "outputs of chunk 16 to 40 differ")
OPEN = Item("loss over a long run", True, None, 0.01, None, "trained on a frame " * 9)


def test_table_is_aligned_and_names_the_first_difference() -> None:
    lines = str(Report("runs/a", (GOOD, BAD, OPEN))).splitlines()
    assert lines[0] == "runs/a: FAILED, 2 of 3 passed"
    column = lines[1].index("detail")
    assert lines[2][column:] == "256 calls of step"
    assert lines[3][column:].startswith("first at lane 2, step 17: outputs of")
    assert max(map(len, lines)) <= 110
    rest = [line for line in lines[4:] if line.startswith(" ")]
    assert rest
    assert all(line[:column].isspace() for line in rest)


def test_json_has_no_word_that_json_has_not() -> None:
    endless = Item("x", False, math.inf, 0.0, None, "", {"carried": (1.0, math.nan)})
    content = Report("runs/a", (GOOD, BAD, endless)).to_json()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again["passed"] is False
    assert again["items"][1]["first_difference"] == {"lane": 2, "step": 17}
    assert again["items"][2]["max_difference"] is None
    assert again["items"][2]["figures"] == {"carried": [1.0, None]}


@pytest.mark.parametrize(("item", "verdict"), [(GOOD, "ok"), (BAD, "FAILED"), (OPEN, "not judged")])
def test_verdicts(item: Item, verdict: str) -> None:
    assert item.verdict == verdict
    assert item.to_json()["verdict"] == verdict


def test_difference_is_relative_and_knows_nan() -> None:
    a = torch.tensor([1.0, 101.0, torch.nan, torch.nan, torch.inf, -torch.inf])
    b = torch.tensor([1.5, 100.0, torch.nan, 1.0, torch.inf, torch.inf])
    expected = [0.2, 1 / 101, 0.0, math.inf, 0.0, math.inf]
    assert difference(a, b).tolist() == pytest.approx(expected)
    assert difference(torch.tensor([10**6]), torch.tensor([10**6 + 1])).tolist() == [1.0]


def test_first_difference_is_the_earliest_step_of_any_lane() -> None:
    comparison = Comparison("x")
    wanted = torch.zeros(2, 5, 3)
    got = wanted.clone()
    got[0, 4, 1] = got[1, 2, 0] = 1.0
    comparison.outputs(got, wanted, torch.tensor([5, 5]), start=10)
    assert comparison.place == (1, 12)
    other = Comparison("x")
    other.outputs(got, wanted, torch.tensor([4, 2]))
    assert other.passed


def test_end_state_is_placed_at_the_last_step_that_is_there() -> None:
    comparison = Comparison("x")
    comparison.state((torch.ones(2, 3),), (torch.eye(2, 3),), torch.tensor([9, 4]))
    assert comparison.place == (1, 3)
    assert "end state 0" in comparison.item("").detail


def test_what_is_raised_is_a_finding() -> None:
    def fill(comparison: Comparison) -> str:
        raise ValueError("two\nlines")

    item = examine("x", fill)
    assert not item.passed
    assert item.detail == "raised ValueError: two lines"
