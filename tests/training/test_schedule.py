"""Budgets and the course of a run, without a model."""

import math

import pytest

from throughtime.errors import OptionError
from throughtime.training.config import Budget
from throughtime.training.schedule import Course


@pytest.mark.parametrize(
    ("text", "kind", "amount", "shown"),
    [
        ("60s", "seconds", 60, "60s"),
        ("1.5min", "seconds", 90, "90s"),
        (" 2 h ", "seconds", 7200, "7200s"),
        (".5s", "seconds", 0.5, "0.5s"),
        ("500steps", "steps", 500, "500 steps"),
        ("1step", "steps", 1, "1 steps"),
        ("3epochs", "epochs", 3, "3 epochs"),
    ],
)
def test_budgets_are_read(text, kind, amount, shown):
    budget = Budget.parse(text)
    assert (budget.kind, budget.amount, str(budget)) == (kind, amount, shown)


@pytest.mark.parametrize(
    "text",
    ["", "60", "s", "-5s", "0s", "0steps", "1.5steps", "1e3s", "nan s", "inf s", "5 parsecs",
     "5S", "9" * 400 + "s", "9" * 400 + "steps", "1.2.3s", "\uff15s"],
)  # fmt: skip
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(OptionError, match="expected a budget") as caught:
        Budget.parse(text)
    assert "\n" not in str(caught.value)


def course(text, windows=7):
    return Course(Budget.parse(text), windows)


def test_steps_and_epochs_end_exactly():
    assert course("500steps").total_steps == 500
    assert course("3epochs").total_steps == 21
    assert course("10s").total_steps is None
    going = course("3epochs")
    while not going.finished:
        going.stepped(1e6)
    assert going.step == 21
    assert going.progress == 1


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 120, 2000])
def test_the_rate_warms_up_and_falls_along_a_cosine(steps):
    going, rates = course(f"{steps}steps"), []
    for _ in range(steps):
        rates.append(going.rate())
        going.stepped(1.0)
    warm = math.ceil(min(50, steps / 10))
    for step, rate in enumerate(rates):
        cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2
        wanted = cosine if step >= warm else cosine * min(1, (step + 1) / min(50, steps / 10))
        assert rate == pytest.approx(wanted)
    assert rates[warm:] == sorted(rates[warm:], reverse=True)
    if steps >= 120:
        assert max(rates) > 0.97
        assert rates[-1] < 0.021
    assert going.rate() == pytest.approx(0.02), "finished"


@pytest.mark.parametrize("pace", [0.01, 1.0, 7.0])
def test_under_seconds_the_rate_follows_the_clock(pace):
    """Also where there is time for a few steps only, the rate gets up and comes down."""
    going, rates = course("100s"), []
    while not going.finished:
        rates.append(going.rate())
        going.stepped(pace)
    assert max(rates) > 0.9
    assert rates[-1] < 0.05
    assert 100 - 2.1 * pace < going.seconds <= 100


def test_validation_takes_its_share():
    going, validations = course("1000s"), 0
    while not going.finished:
        going.stepped(0.5)
        if going.validation_due or going.finished:
            going.validated(10.0)
            validations += 1
    assert going.seconds <= 1000
    assert 4 <= validations <= 6, "ten seconds each: a twentieth of the time"
    going, validations = course("1000s"), 0
    while not going.finished:
        going.stepped(0.5)
        if going.validation_due:
            going.validated(0.01)
            validations += 1
    assert 20 <= validations <= 24, "quick ones: about every 24th of the budget"


def test_a_course_goes_on_from_what_it_made():
    going = course("100s")
    going.stepped(3.0)
    going.validated(2.0)
    going.spent(1.0)
    again = Course(going.budget, going.windows, **going.progress_made())
    assert vars(again) == vars(going)
    assert again.seconds == 6
