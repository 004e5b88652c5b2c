"""From data to a run: what goes in, what is said, where it is written, what is left alone."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from trials import WORDS, frame, outcome, same, stopping, text

import throughtime as tt
from throughtime.cli.show import print_run
from throughtime.data.tables import read_table
from throughtime.errors import DataError, OptionError, ThroughtimeError
from throughtime.training import Interrupted

SMALL = {"layer": "gru:4", "budget": "3steps", "window": 9, "lanes": 3, "seed": 4}
MAPPED = {"reading": {"season": 1}}


def fit(data, out, **options):
    return tt.fit(data, out=out, **SMALL | {"show": False} | options)


def test_paths_and_frames_come_to_the_same(tmp_path):
    table = frame(90, 2)
    table.write_csv(tmp_path / "data.csv")
    table.write_parquet(tmp_path / "data.parquet")
    runs = [
        fit(data, tmp_path / f"run{number}", **MAPPED)
        for number, data in enumerate(
            [
                table,
                table.to_pandas(),
                tmp_path / "data.csv",
                str(tmp_path / "data.csv"),
                tmp_path / "data.parquet",
            ]
        )
    ]
    first = outcome(runs[0])
    for run in runs[1:]:
        got = outcome(run)
        assert same(got[0], first[0])
        assert got[1:] == first[1:]
    assert [run.config.source for run in runs[:3]] == ["", "", str(tmp_path / "data.csv")]
    assert runs[2].evaluate() == runs[0].evaluate(table)
    with pytest.raises(OptionError, match="trained on a frame; give that one"):
        runs[0].evaluate()


def test_text_from_a_path(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(text(400).documents[0])
    run = fit(path, tmp_path / "run", embedding=4)
    assert run.task.name == "language"
    assert run.evaluate()["splits"].keys() == {"validation"}


def test_each_finding_is_said_and_what_there_is_to_beat(tmp_path, capsys):
    table = frame(90, 2, missing=0.1)
    table.write_csv(tmp_path / "data.csv")
    run = fit(tmp_path / "data.csv", tmp_path / "run", show=True)
    out, said = capsys.readouterr()
    assert out == ""
    lines = said.splitlines()
    findings = read_table(tmp_path / "data.csv").findings.lines
    assert findings
    assert lines[: len(findings)] == list(findings)
    assert re.fullmatch(
        r"model gru:4x1, \d+ parameters; 3 lanes x 9 steps, state carried; \d+ windows an epoch; "
        r"budget 3 steps",
        lines[len(findings)],
    )
    (beaten,) = [line for line in lines if line.startswith("to beat, mse_scaled on test: ")]
    for name, values in run.evaluate()["baselines"].items():
        assert f"{name} {values['mse_scaled']:.4f}" in beaten
    assert sum("validation loss" in line for line in lines) == 3
    assert lines[-1].startswith("trained 3 steps in ")


def test_silence_is_silent(tmp_path, capfd, monkeypatch):
    with stopping(monkeypatch, 2), pytest.raises(ThroughtimeError, match="stopped at step 2"):
        fit(frame(90), tmp_path / "run")
    tt.resume(tmp_path / "run", frame(90), show=False)
    fit("demo:sunspots", tmp_path / "other").evaluate()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_callers_random_numbers_and_threads_are_left_alone(tmp_path, dropout, monkeypatch):
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    threads, grad, default = (
        torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    )  # fmt: skip
    options = {"layer": "gru:4x2", "dropout": dropout}
    with stopping(monkeypatch, 2), pytest.raises(Interrupted):
        fit(frame(90), tmp_path / "run", **options)
    run = tt.resume(tmp_path / "run", frame(90), show=False)
    run.evaluate(frame(90))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled() == grad
    assert torch.get_default_dtype() == default


def test_seeds_decide(tmp_path):
    runs = [fit(frame(90), tmp_path / f"{n}", seed=seed) for n, seed in enumerate((1, 1, 2))]
    torch.manual_seed(99)
    first, again, other = [outcome(run)[0] for run in runs]
    assert same(first, again)
    assert not same(first, other)


def test_nothing_is_written_over(tmp_path, monkeypatch):
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("so too")
    for out in (full, str(full), tmp_path / "file"):
        with pytest.raises(OptionError, match="expected a new or empty folder for --out"):
            fit(frame(90), out)
    assert sorted(os.listdir(full)) == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    assert fit(frame(90), tmp_path / "empty").path == tmp_path / "empty"
    assert fit(frame(90), str(tmp_path / "deep" / "er")).path == tmp_path / "deep" / "er"
    with pytest.raises(OptionError, match="a folder that can be made for --out"):
        fit(frame(90), tmp_path / "file" / "below")


def test_runs_are_named_after_their_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame(90).write_csv("my data (new).csv")
    named = [
        tt.fit(data, **SMALL, show=False).path
        for data in ("my data (new).csv", Path("my data (new).csv"), frame(90), "demo:sunspots")
    ]
    assert named == [
        Path("runs/my-data-new--forecast"),
        Path("runs/my-data-new--forecast-2"),
        Path("runs/frame-forecast"),
        Path("runs/sunspots-forecast"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "poetry"}, "a task among forecast, language, got 'poetry'"),
        ({"layer": "gru"}, "a layer such as gru:64 or lstm:256x2, or .*, got 'gru'"),
        ({"layer": "grue:4"}, "did you mean 'gru'"),
        ({"layer": ""}, "a layer such as"),
        ({"layer": "gru:4:blck"}, "among conv, block after the size of gru, got 'blck'; did you"),
        (
            {"layer": "gru:4+mlstm:30:block"},
            r"heads that divide hidden_size = 30, got 4; .*; or take gru:4x1\+mlstm:32x1:block$",
        ),
        ({"layer": "mlstm:30", "memory": 9}, "options of mlstm among heads, got memory; leave it"),
        ({"layer": "rg_lru:4", "learned_initial_state": True}, "got learned_initial_state"),
        ({"layer": "gru:4", "negative_eigenvalues": True}, "got negative_eigenvalues"),
        ({"embedding_dropout": 0.1}, "got --embedding-dropout, which is for language"),
        (
            {"embedding_dropout": 1.0, "data": "demo:reber", "window": None},
            "expected embedding-dropout in its range",
        ),
        ({"budget": "soon"}, "a budget such as"),
        ({"device": "abacus"}, "a device among auto, cpu"),
        ({"split": "90/10"}, "a split into train / validation / test for forecast, got '90/10'"),
        ({"split": "90"}, "a split of two or three"),
        ({"horizon": 0}, "expected horizon in its range"),
        ({"lanes": 0}, "expected lanes in its range"),
        ({"window": 0}, "expected window in its range"),
        ({"lanes": 10_000}, "steps for 10000 lanes; use fewer"),
        ({"learning_rate": 0.0}, "expected learning-rate in its range"),
        ({"clip": -1.0}, "expected clip in its range"),
        ({"patience": 0}, "expected patience in its range"),
        ({"seed": -1}, "expected seed in its range"),
        ({"budget": 60}, "a budget such as 60s, 5min, 500steps or 3epochs, got 60"),
        ({"reading": {"seson": 3}}, "options of reading among time, target.*got seson"),
        ({"reading": {"season": "long"}}, "expected season in its range, got 'long'"),
        ({"reading": {"covariates": "x"}}, "expected covariates in its range, got 'x'"),
        ({"window": None, "horizon": 63}, "none 63 ahead in 63 rows; give --horizon 62 at most"),
        ({"bptt": "full"}, "no --window with --bptt full, whose windows are whole lanes, got 9"),
        ({"chunks": 2}, "expected bptt='full' with chunks, got 'truncated' and 2 chunks"),
        ({"dropout": 0.5}, "two layers or more with dropout"),
        ({"dropout": 0.5, "layer": "gru:4:block"}, "; take gru:4x2:block or leave dropout out"),
        ({"dropout": 1.0, "layer": "gru:4x2"}, "expected dropout in its range"),
        ({"memory": 2}, "expected memory in its range"),
        (
            {"memory": 9, "layer": "rnn:4"},
            "options of rnn among nonlinearity, bias, learned_initial_state, got memory",
        ),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises((OptionError, DataError), match=message) as caught:
        fit(**{"data": frame(90), "out": tmp_path / "run"} | options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_impossible_data_is_refused(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text(text(400).documents[0])
    for data, options, kind, message in (
        ("demo:nothing", {}, DataError, "a demo among demo:sunspots"),
        ("demo:sunspots", {"task": "language"}, DataError, "expected a text"),
        ("demo:python", {"task": "forecast"}, DataError, "expected a table"),
        (tmp_path / "none.csv", {}, DataError, "none.csv"),
        (words, {"reading": {"season": 3}}, OptionError, "got --season, which is for forecast"),
        (words, {"split": "70/15/15"}, OptionError, "into train / validation for language"),
        (frame(90).with_columns(y=None), {}, DataError, "expected"),
    ):
        with pytest.raises(kind, match=message) as caught:
            fit(data, tmp_path / "run", **options)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_training_part_without_a_value_is_refused(tmp_path):
    import polars as pl

    late = frame(90).with_columns(pl.when(pl.col("ds") >= 70).then(pl.col("y")).alias("y"))
    with pytest.raises(DataError, match="a value to learn, got none in 63 rows"):
        fit(late, tmp_path / "run")


def test_the_season_is_guessed_from_the_rows_that_are_trained_on(tmp_path):
    import polars as pl

    y = np.random.default_rng(0).normal(size=400)
    y[160:] = 10 * np.sin(np.arange(240) * 2 * np.pi / 12)
    data = pl.DataFrame({"ds": np.arange(400), "y": y})
    seasons = [
        fit(data, tmp_path / f"{n}", split=split).task.format.season
        for n, split in enumerate((None, "40/30/30"))
    ]
    assert seasons == [12, 1]


def test_full_bptt_has_whole_lanes_as_windows(tmp_path):
    run = fit(frame(90), tmp_path / "run", bptt="full", window=None)
    assert (run.config.training["bptt"], run.config.training["steps"]) == ("full", 21)


def test_a_relative_source_is_found_from_another_folder(tmp_path, monkeypatch):
    work, other = tmp_path / "work", tmp_path / "other"
    work.mkdir()
    other.mkdir()
    frame(90).write_csv(work / "data.csv")
    monkeypatch.chdir(work)
    run = fit("data.csv", "runs/one")
    with stopping(monkeypatch, 2), pytest.raises(Interrupted):
        fit("data.csv", tmp_path / "elsewhere")
    monkeypatch.chdir(other)
    run = tt.load(work / "runs" / "one")
    assert run.config.source == "data.csv"
    assert run.evaluate()["splits"]
    assert tt.resume(tmp_path / "elsewhere", show=False).path == tmp_path / "elsewhere"


def test_ctrl_c_after_the_last_step_says_how_to_go_on(tmp_path, monkeypatch):
    from throughtime.tasks.forecast import ForecastTask

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    wanted = outcome(fit(frame(90), tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(ForecastTask, "evaluate", interrupted)
        with pytest.raises(Interrupted, match="step 3, all saved; go on with: throughtime train"):
            fit(frame(90), tmp_path / "run")
    got = outcome(tt.resume(tmp_path / "run", frame(90), show=False))
    assert same(got[0], wanted[0])
    assert got[1:] == wanted[1:]


def test_a_validation_part_without_a_value_keeps_the_last_weights(tmp_path, capsys):
    import json

    import polars as pl

    there = (pl.col("ds") < 63) | (pl.col("ds") >= 77)
    gap = frame(90).with_columns(pl.when(there).then(pl.col("y")).alias("y"))
    run = fit(gap, tmp_path / "run", budget="24steps", patience=2, show=True)
    said = capsys.readouterr().err
    assert said.count("no validation targets: the last weights are kept") == 1
    assert "validation loss nan" not in said
    figures = json.loads((run.path / "results.json").read_text())
    assert (figures["training"]["steps"], figures["training"]["best_step"]) == (24, 0)
    print_run(run, as_json=False)
    assert "the last of 24 steps" in capsys.readouterr().out
    assert figures["splits"]["validation"]["mae"] is None
    assert figures["splits"]["test"]["mae"] > 0


def test_lanes_follow_the_data(tmp_path):
    for rows, lanes in ((60, 1), (200, 3), (10_000, 32)):
        run = fit(frame(rows), tmp_path / str(rows), lanes=None, window=10, budget="1steps")
        assert run.config.training["lanes"] == lanes


@pytest.mark.slow
def test_forecasts_learn_sunspots(tmp_path):
    run = tt.fit("demo:sunspots", layer="gru:24", budget="300steps", out=tmp_path, show=False)
    figures = run.evaluate()
    ours, last = figures["splits"]["test"], figures["baselines"]["last_value"]
    assert ours["mse_scaled"] < 0.8 * last["mse_scaled"]
    assert ours["crps"] < last["crps"]


@pytest.mark.slow
def test_language_learns_words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(text(6000).documents[0])
    run = tt.fit(path, layer="lstm:32", embedding=16, lanes=8, window=32, budget="150steps",
                 learning_rate=1e-2, out=tmp_path / "run", show=False)  # fmt: skip
    figures = run.evaluate()
    ours = figures["splits"]["validation"]["nats"]
    # Words are drawn alike, so no model can be better than the choice among them.
    words = WORDS.split()
    best = np.log(len(words)) / np.mean([len(word) + 1 for word in words])
    assert best < ours < 0.5 * figures["baselines"]["unigram"]["nats"]


@pytest.mark.slow
def test_no_model_beats_the_reber_optimum(tmp_path):
    from throughtime.data import reber_optimum

    run = tt.fit("demo:reber", layer="lstm:16", embedding=8, budget="250steps",
                 learning_rate=1e-2, out=tmp_path, show=False)  # fmt: skip
    figures = run.evaluate()
    nats = figures["splits"]["validation"]["nats"]
    # A thousand strings: the score of the true grammar itself is off by no more than this.
    assert reber_optimum() - 0.01 < nats < reber_optimum() + 0.15
    assert nats < figures["baselines"]["unigram"]["nats"] / 2
