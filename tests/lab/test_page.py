"""The lesson in a browser, without a browser: what is kept, asked, turned, shown and drawn."""

import asyncio
import json
import math
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from nicegui import Client, ui
from nicegui.testing import User
from nicegui.testing.user_simulation import user_simulation

from throughtime.errors import DataError, OptionError
from throughtime.lab import SECTIONS, Knob, Outcome, find, names
from throughtime.lab.page import network, serving, text, turns
from throughtime.lab.page import serve as serve_page
from throughtime.lab.page.knobs import nearest, stops
from throughtime.lab.page.learner import MOST_RUNS, Learner
from throughtime.lab.page.summary import counted
from throughtime.lab.result import Result

NAME = "order-matters"
RIGHT = find(NAME).question.right


def ran(figure: float = 1.0, **turned: int) -> Result:
    """Return a run of the experiment whose figures lie in its interval unless another is given."""
    details = {"accuracy": {"counts": 0.5, "gru": figure, "gru, shuffled": 0.5}}
    outcomes = tuple(Outcome(figure, 0.5, details) for _ in range(3))
    return Result(NAME, find(NAME).settings(turned), (0, 1, 2), outcomes, 1.5)


# What is imported


def test_the_lab_does_not_need_nicegui_until_it_is_served() -> None:
    code = "import sys, throughtime.lab, throughtime.lab.page; assert 'nicegui' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# Words


def test_every_experiment_and_section_is_led_up_to() -> None:
    assert set(text.LEADS) == set(names())
    assert set(text.SECTIONS) == set(SECTIONS)


# Starting


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind((serving.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"free port, got {port} .*--port$"):
            serve_page(port, show=False)


def test_a_port_that_is_none_is_told_in_one_line() -> None:
    with pytest.raises(OptionError, match="free port, got 70000"):
        serve_page(70000, show=False)


def test_without_nicegui_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"pip install 'throughtime\[lab\]'$"):
        serve_page(8080, show=False)


def test_without_a_place_to_keep_progress_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with socket.socket() as free:
        free.bind((serving.HOST, 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match="XDG_STATE_HOME"):
        serve_page(port, show=False)


# What is kept


def test_a_learner_comes_back_to_what_was_left(tmp_path: Path) -> None:
    learner = Learner.read(tmp_path / "new" / "one.json")
    learner.look(NAME)
    learner.predict(NAME, 1)
    learner.add(ran())
    again = Learner.read(learner.path)
    assert (again.predicted, again.runs, again.last) == ({NAME: 1}, {NAME: [ran()]}, NAME)
    again.forget()
    assert Learner.read(learner.path) == Learner(learner.path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        json.dumps({"throughtime": "another", "predicted": {NAME: 1}, "runs": {}, "last": ""}),
    ],
)
def test_what_was_left_by_something_else_is_not_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(content)
    assert Learner.read(path) == Learner(path)


def test_a_run_takes_the_place_of_one_with_the_same_knobs(tmp_path: Path) -> None:
    learner = Learner(tmp_path / "one.json")
    for run in (ran(0.6), ran(0.7, length=5), ran(0.9)):
        learner.add(run)
    assert [each.outcomes[0].figure for each in learner.runs[NAME]] == [0.7, 0.9]
    assert learner.plain(NAME) == ran(0.9)


def test_only_so_many_runs_are_kept_and_only_the_last_can_be_drawn(tmp_path: Path) -> None:
    learner = Learner(tmp_path / "one.json")
    for length in range(4, 24):
        learner.add(ran(length=length))
    lengths = [run.knobs["length"] for run in learner.runs[NAME]]
    assert lengths == list(range(24 - MOST_RUNS, 24))
    drawable = [bool(run.outcomes[0].details) for run in learner.runs[NAME]]
    assert drawable == [False] * (MOST_RUNS - 1) + [True]


@pytest.mark.parametrize(
    ("answer", "runs", "right"),
    [
        (None, [ran()], None),
        (RIGHT, [], None),
        (RIGHT, [ran(length=5)], None),
        (RIGHT, [ran(0.5)], None),
        (RIGHT, [ran()], True),
        (RIGHT - 1, [ran()], False),
        (RIGHT, [ran(), ran(0.5, length=5)], True),
    ],
)
def test_a_prediction_is_settled_by_a_run_with_plain_knobs_that_holds(
    tmp_path: Path, answer: int | None, runs: list[Result], right: bool | None
) -> None:
    learner = Learner(tmp_path / "one.json")
    if answer is not None:
        learner.predict(NAME, answer)
    for run in runs:
        learner.add(run)
    assert learner.was_right(NAME) is right
    words = counted(learner)
    assert f"{int(right is True)} came true and {int(right is False)} did not." in words
    still_open = answer is not None and right is None
    assert ("Open until run with the knobs as they come: 1." in words) is still_open


# Knobs


@pytest.mark.parametrize(
    "knob",
    [
        Knob(20, "", least=4, most=60),
        Knob(400, "", least=1, most=3000),
        Knob(0.98, "", least=0.1, most=1.2),
        Knob(6.0, "", least=0.125, most=20.5),
        Knob(0.0, "", least=-1, most=1),
    ],
)
def test_a_slider_stops_at_both_ends_at_the_default_and_nowhere_twice(knob: Knob) -> None:
    values = stops(knob)
    assert (values[0], values[-1]) == (knob.least, knob.most)
    assert knob.default in values
    assert values == sorted(set(values))
    assert [knob.read("it", value) for value in values] == values
    assert all(type(value) is type(knob.default) for value in values)
    assert [nearest(values, value) for value in values] == list(range(len(values)))


def test_a_wide_range_goes_by_ratios() -> None:
    values = stops(Knob(400, "", least=1, most=3000))
    assert nearest(values, 100) > len(values) / 3
    assert all(after <= 1.2 * before + 1 for before, after in pairwise(values))


# Turns


def test_runs_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []
    go = threading.Semaphore(0)

    def measure(turn: turns.Turn) -> Result | None:
        began.append(turn.name)
        assert go.acquire(timeout=30)
        return None if turn.stopped else ran()

    monkeypatch.setattr(turns, "_measure", measure)

    async def two() -> None:
        line = turns.Turns()
        first, second, third = (Learner(tmp_path / f"{number}.json") for number in range(3))
        tasks = [asyncio.create_task(line.take(each, NAME, {})) for each in (first, second, third)]
        while not began:
            await asyncio.sleep(0.01)
        waiting = line.find(third, NAME)
        assert waiting is not None
        assert (len(began), waiting.begun) == (1, False)
        await waiting.stop()
        go.release(2)
        await asyncio.gather(*tasks)
        assert [bool(each.runs) for each in (first, second, third)] == [True, True, False]
        assert len(began) == 2

    asyncio.run(two())


# The network that is unrolled


@pytest.mark.parametrize("kind", network.KINDS)
def test_the_network_has_learned_to_say_what_came_before(kind: str) -> None:
    for drawn in range(5):
        steps = network.unrolled(kind, trained=True, asked=6, drawn=drawn)["steps"]
        said = [step["says"] for step in steps[network.DELAY :]]
        assert said == [step["letter"] for step in steps[: -network.DELAY]]
        assert [step["answer"] for step in steps[network.DELAY :]] == said


def test_gradients_are_those_of_the_chain_rule() -> None:
    asked = 8
    shown = network.unrolled("rnn", trained=True, asked=asked)
    model = network.reader("rnn", True)
    assert shown["states"] == ["h"]
    steps = shown["steps"]
    step = steps[asked]
    chance = step["chance"] if step["says"] == "b" else 1 - step["chance"]
    target = float(step["answer"] == "b")
    assert math.isclose(step["loss"], -math.log(chance if target else 1 - chance), rel_tol=1e-4)
    # Of two scores the second is b's; softmax and cross-entropy leave what is said less what is so.
    error = torch.tensor([target - chance, chance - target])
    expected = error @ model.head.weight
    weights = dict(model.layer.named_parameters())["weight_hh"].detach()
    for t in range(asked, -1, -1):
        found = torch.tensor(steps[t]["gradients"]["h"])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
        state = torch.tensor(steps[t]["values"]["h"])
        expected = ((1 - state**2) * expected) @ weights
    assert all(set(each["gradients"]["h"]) == {0.0} for each in steps[asked + 1 :])


def test_an_lstm_shows_its_cells_and_gates() -> None:
    shown = network.unrolled("lstm", trained=False, asked=5)
    assert shown["states"] == ["c", "h"]
    before = [0.0] * network.UNITS
    for step in shown["steps"]:
        values = {name: torch.tensor(each) for name, each in step["values"].items()}
        cell = values["f"] * torch.tensor(before) + values["i"] * values["g"]
        torch.testing.assert_close(values["c"], cell)
        torch.testing.assert_close(values["h"], values["o"] * cell.tanh())
        before = step["values"]["c"]


# The pages


@asynccontextmanager
async def visit(kept: Path) -> AsyncIterator[User]:
    """Serve the lesson to somebody without a browser."""
    main = kept / "main.py"
    main.write_text(
        "from pathlib import Path\n"
        "from nicegui import ui\n"
        "from throughtime.lab.page.lesson import Lesson\n"
        f"Lesson(Path({str(kept)!r})).open()\n"
        "ui.run(storage_secret='for a test')\n"
    )
    async with user_simulation(main_file=main) as user:
        try:
            yield user
        finally:
            # The modules that pages are from would be forgotten, and all of ours be there twice.
            Client.page_routes.clear()


def words(user: User, marker: str) -> str:
    """Return the words of the element with a mark."""
    (element,) = user.find(marker=marker).elements
    assert isinstance(element, ui.label)
    return element.text


async def until(user: User, marker: str) -> None:
    """Wait for an element with a mark."""
    await user.should_see(marker=marker, retries=100)


def test_a_prediction_comes_before_the_claim_and_what_came_after_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []

    def measure(turn: turns.Turn) -> Result:
        asked.append(dict(turn.knobs))
        return ran(0.6 if turn.knobs["updates"] == 7 else 1.0, **turn.knobs)

    monkeypatch.setattr(turns, "_measure", measure)
    experiment = find(NAME)

    async def lesson() -> None:
        async with visit(tmp_path) as user:
            await user.open("/")
            await user.should_see("Begin")
            await user.should_see("0 of 32 predicted, 0 run")
            await user.open(f"/experiment/{NAME}")
            await user.should_see(experiment.question.answers[0])
            await user.should_not_see(marker="claim")
            await user.should_not_see(marker="run")

            (answers,) = user.find(marker="answers").elements
            assert isinstance(answers, ui.radio)
            answers.value = RIGHT - 1
            user.find(marker="commit").click()
            await user.should_see(marker="claim")
            await user.should_see("1 of 32 predicted, 0 run")
            await user.should_not_see("What it means")
            (updates,) = user.find(marker="updates").elements
            assert isinstance(updates, ui.number)
            (slider,) = user.find(marker="updates-slider").elements
            assert isinstance(slider, ui.slider)
            updates.value = 7
            assert slider.value == stops(experiment.knobs["updates"]).index(7)
            user.find(marker="run").click()
            await until(user, "verdict")
            assert words(user, "verdict").startswith("Knobs were turned (updates 7)")
            assert words(user, "told").startswith("Whether that is so shows when it is run")
            await user.should_see("0.6")

            user.find(marker="reset").click()
            user.find(marker="run").click()
            await until(user, "runs")
            assert words(user, "verdict").startswith("It holds")
            assert words(user, "told") == "It came otherwise than you predicted."
            assert [knobs["updates"] for knobs in asked] == [7, 400]
            await user.should_see("1 of 32 predicted, 1 run")

            await user.open("/")
            await user.should_see("Go on with: Order matters")
            await user.open("/summary")
            assert words(user, "counted").endswith("0 came true and 1 did not.")
            user.find(marker="again").click()
            await until(user, "forget")
            user.find(marker="forget").click()
            await until(user, "begin")
            await user.should_see("0 of 32 predicted, 0 run")
            await user.open(f"/experiment/{NAME}")
            await user.should_not_see(marker="claim")

    asyncio.run(lesson())


def test_a_value_that_a_knob_can_not_have_is_not_run(tmp_path: Path) -> None:
    async def lesson() -> None:
        async with visit(tmp_path) as user:
            await user.open(f"/experiment/{NAME}")
            (answers,) = user.find(marker="answers").elements
            assert isinstance(answers, ui.radio)
            answers.value = 0
            user.find(marker="commit").click()
            await user.should_see(marker="run")
            (length,) = user.find(marker="length").elements
            assert isinstance(length, ui.number)
            length.value = None
            user.find(marker="run").click()
            await user.should_see("expected length as a whole number, 4 to 60, got ''")
            await user.should_not_see(marker="stop")

    asyncio.run(lesson())


def test_a_page_that_is_not_there_says_so(tmp_path: Path) -> None:
    async def lesson() -> None:
        async with visit(tmp_path) as user:
            response = await user.http_client.get("/experiment/nothing")
            assert response.status_code == 404
            assert "There is no experiment" in response.text

    asyncio.run(lesson())
