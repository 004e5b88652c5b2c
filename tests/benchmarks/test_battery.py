"""The battery: one rule for every layer, claims are judged, and nothing is lost."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.battery import __main__ as command
from benchmarks.battery import claims, train, workers
from benchmarks.battery.cells import Cell, Store, is_there, variants
from benchmarks.battery.model import Model
from benchmarks.battery.tasks import TASKS

ROOT = Path(__file__).parents[2]
TINY = train.Budget(updates=4, probe=1, every=1, lanes=2, tested=2)


def test_the_rate_of_the_lowest_loss_goes_on_whatever_the_layer():
    task = TASKS["parity"]
    budget = TINY._replace(updates=12, probe=4)
    for layer in ("gru", "min_gru"):
        result = train.run(task, layer, {}, seed=1, budget=budget)
        losses = {}
        for rate in train.RATES:
            trainer = train.Trainer(task, layer, {}, seed=1, rate=rate)
            trainer.train(4, budget.lanes)
            losses[rate] = trainer.losses[-1]
        assert result.rate == min(losses, key=losses.get)
        assert result.updates == 12


def test_a_loss_that_is_not_a_number_is_never_picked():
    trainers = [train.Trainer(TASKS["parity"], "rnn", {}, seed=0, rate=r) for r in train.RATES]
    for trainer, loss in zip(trainers, (math.nan, 0.7, 0.6), strict=True):
        trainer.losses = [0.1] * 8 + [loss] * 2
    assert train.pick(trainers) is trainers[2]
    trainers[2].losses = [0.1, math.inf]
    assert train.pick(trainers) is trainers[1]


def test_a_run_gives_the_same_twice_and_counts_what_it_has():
    one, two = (train.run(TASKS["s3"], "lstm", {}, seed=0, budget=TINY) for _ in range(2))
    assert one.to_json() | {"seconds": 0} == two.to_json() | {"seconds": 0}
    assert one.state_floats == 2 * 2 * 64
    assert one.parameters == sum(p.numel() for p in Model(TASKS["s3"], "lstm", {}).parameters())
    assert not one.solved
    assert one.solved_after is None


def test_the_state_counts_what_a_convolution_looks_back_on():
    model = Model(TASKS["recall"], "lstm", {}, width=8)
    assert model.state_floats == 2 * (2 + 3) * 8
    x = torch.randint(32, (1, 24), generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[0, 10] = (x[0, 10] + 1) % 32
    same = (model(x) == model(changed)).all(dim=-1)[0]
    assert same[:10].all()
    assert not same[10:].any()


def test_it_is_solved_by_two_evaluations_in_a_row(monkeypatch):
    heard = iter([0.5, 1.0, 0.5, 1.0, 1.0, 1.0])
    monkeypatch.setattr(train.Trainer, "evaluate", lambda self, batch: (next(heard), 0.0))
    budget = TINY._replace(updates=100)
    result = train.run(TASKS["parity"], "rnn", {}, seed=0, budget=budget)
    assert result.solved
    assert (result.solved_after, result.updates) == (6, 7)


@pytest.fixture
def counted(monkeypatch):
    """Runs that cost nothing; the number in the list says after how many one is stopped."""
    ran, stop = [], [math.inf]

    def run(task, layer, options, *, seed, budget):
        if len(ran) >= stop[0]:
            raise KeyboardInterrupt
        ran.append((task.name, layer))
        return train.Result(0.9, math.inf, False, 4, None, 1e-3, 10, 20, 0.1)

    monkeypatch.setattr(workers, "run", run)
    return ran, stop


def test_what_was_finished_is_kept_and_not_run_again(counted, tmp_path, capsys):
    ran, stop = counted
    stop[0] = 2
    words = ["all", "--task", "parity", "--task", "copy", "--layer", "gru"]
    words += ["--layer", "rnn", "--out", str(tmp_path / "cells.jsonl"), "--json", "--jobs", "1"]
    assert command.main(words) == command.INTERRUPTED
    first = json.loads(capsys.readouterr().out)["cells"]
    assert len(first) == len(ran) == 2
    # A power cut in the middle of a line.
    with (tmp_path / "cells.jsonl").open("a") as file:
        file.write('{"task": "par')
    stop[0] = math.inf
    assert command.main(words) == 0
    out, err = capsys.readouterr()
    cells = json.loads(out)["cells"]
    assert f"2 of {len(cells)} were finished before" in err
    assert "left" in err
    assert len(ran) == len(cells) > 4
    assert all(record in cells for record in first)
    assert command.main(words) == 0
    assert len(ran) == len(cells)


def started(*words):
    """The command as a program of its own, in which processes beside it have to find their way."""
    command_line = [sys.executable, "-m", "benchmarks.battery", *words]
    return subprocess.Popen(
        command_line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_cells_side_by_side_come_to_the_same():
    runs = [started("quick", "--task", "copy", "--json", "--jobs", jobs) for jobs in ("1", "2")]
    found = []
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, err
        found.append([{**cell, "seconds": 0} for cell in json.loads(out)["cells"]])
    assert found[0] == found[1]


def test_ctrl_c_ends_all_and_keeps_what_is_finished(tmp_path):
    out = tmp_path / "cells.jsonl"
    run = started(
        "all",
        "--task",
        "parity",
        "--layer",
        "rnn",
        "--layer",
        "gru",
        "--jobs",
        "2",
        "--out",
        str(out),
    )
    assert run.stderr.readline().startswith("0/")
    time.sleep(5)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == command.INTERRUPTED
    assert "stopped; what is finished is kept" in err
    assert "Traceback" not in err


def test_no_cells_at_a_time_are_refused(capsys):
    assert command.main(["quick", "--jobs", "0"]) == 2
    assert "expected --jobs of 1 or more, got 0" in capsys.readouterr().err


def test_another_seed_option_or_budget_is_another_cell(tmp_path):
    path = tmp_path / "cells.jsonl"
    Store(path).add(Cell("parity", "gru", {"memory": 3}, 1), TINY, {"accuracy": 1.0})
    found = Store(path)
    assert found.find(Cell("parity", "gru", {"memory": 3}, 1), TINY)["accuracy"] == 1.0
    assert found.find(Cell("parity", "gru", {"memory": 3}, 2), TINY) is None
    assert found.find(Cell("parity", "gru", {}, 1), TINY) is None
    more = TINY._replace(updates=5)
    assert found.find(Cell("parity", "gru", {"memory": 3}, 1), more) is None


def test_claims_are_shown_by_all_seeds_or_not_at_all(counted, tmp_path, capsys):
    one = ["--out", str(tmp_path / "claims"), "--jobs", "1"]
    words = ["claims", "--task", "recall", "--layer", "gru", *one]
    assert command.main(words) == 0
    assert "shown     gru fails recall: 3 of 3 seeds" in capsys.readouterr().out
    words = ["claims", "--task", "parity", "--layer", "rnn", *one]
    assert command.main([*words, "--seed", "0"]) == 1
    assert "NOT SHOWN rnn solves parity: 0 of 3 seeds" in capsys.readouterr().out


def test_a_layer_that_is_not_there_is_said_and_not_shown():
    claim = claims.Claim("parity", "perceptron", {}, "fails")
    assert claims.missing([claim]) == [claim]
    assert not claims.judge(claim, lambda cell: None).shown
    assert not is_there("gru", {"negative_eigenvalues": True})
    parity = TASKS["parity"]
    assert variants("rnn", parity) == [{}]
    assert {"negative_eigenvalues": True} in variants("min_gru", parity)
    assert {"memory": 256} in variants("lstm", parity)


def test_every_claim_is_about_a_task_that_there_is():
    assert {claim.task for claim in claims.CLAIMS} <= set(TASKS)
    keys = [(claim.task, claim.layer, str(claim.options)) for claim in claims.CLAIMS]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["quick", "--task", "parety"], "parity"),
        (["all", "--layer", "lstmm"], "lstm"),
        (["clams"], "claims"),
        (["claims", "--seed", "one"], "--seed"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(words, near, capsys):
    assert command.main(words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert near in err


def test_a_task_without_its_data_is_left_out_in_one_line(monkeypatch, capsys):
    lacking = TASKS["digits"].__class__(**{**vars(TASKS["digits"]), "missing": lambda: "needs it"})
    monkeypatch.setitem(TASKS, "digits", lacking)
    assert command.main(["quick", "--task", "digits", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "without digits: it needs it\n"
    assert json.loads(out)["cells"] == []


def test_quick_runs_every_task(monkeypatch, capsys):
    monkeypatch.setattr(command, "QUICK", TINY._replace(updates=3, every=3))
    assert command.main(["quick", "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    there = [name for name, task in TASKS.items() if not task.missing()]
    assert [(cell["task"], cell["layer"]) for cell in cells] == [
        (name, layer) for name in there for layer in command.QUICK_LAYERS
    ]
    assert all(cell["loss"] is not None for cell in cells)


def test_the_table_is_for_people(capsys):
    words = ["quick", "--task", "parity", "--layer", "rnn"]
    assert command.main(words) == 0
    out = capsys.readouterr().out
    assert "parity" in out
    assert "accuracy" in out
