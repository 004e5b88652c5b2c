"""What each command prints where nothing is wrong: one document of JSON, or text for people."""

import csv
import io
import json
import math
import sys
from pathlib import Path

import polars as pl
import pytest
from shell import POEM, Command, interrupt, table

import throughtime as tt

SMALL = ("--budget", "2steps", "--layer", "gru:4", "--out", "new")


def test_train_prints_figures_and_what_to_type_next(folder: Path, command: Command):
    result = command("train", "good.csv", *SMALL)
    assert result.code == 0
    for word in ("validation", "test", "this model", "last_value", "ridge", "mae", "crps"):
        assert word in result.out
    assert result.out.splitlines()[-3:] == [
        "  throughtime check new",
        "  throughtime predict new good.csv",
        "  throughtime stream new",
    ]
    assert "to beat" in result.err
    assert "60 rows" in result.err


def test_train_prints_one_document_of_json(folder: Path, command: Command):
    result = command("train", "good.txt", "--embedding", "4", "--json", *SMALL)
    printed = json.loads(result.out)
    kept = json.loads((folder / "new" / "results.json").read_text())
    assert printed == {"run": "new", **kept}
    assert printed["task"] == "language"
    assert command("generate", "new", "--length", "2").code == 0


def test_a_text_is_continued_next(folder: Path, command: Command):
    result = command("train", "good.txt", "--embedding", "4", *SMALL)
    assert "throughtime generate new" in result.out
    assert "perplexity" in result.out


def test_every_option_of_a_table_is_read(folder: Path, command: Command):
    lines = ["when,load,site,heat,holiday,odd"]
    lines += [
        f"{row},{10 + math.sin(row + place):.3f},{site},{row % 5},{int(row % 7 == 0)},x"
        for place, site in enumerate(("a", "b"))
        for row in range(60)
    ]
    (folder / "sites.csv").write_text("\n".join(lines) + "\n")
    result = command(
        *("train", "sites.csv", "--time", "when", "--target", "load", "--key", "site"),
        *("--covariate", "heat", "--known-future", "holiday", "--step", "1", "--season", "7"),
        *("--max-gap", "3", "--duplicates", "first", "--split", "60/20/20", "--horizon", "2"),
        *("--head", "gaussian", "--dropout", "0.1", "--memory", "20", "--lanes", "2"),
        *("--bptt", "full", "--chunks", "2", "--learning-rate", "0.01"),
        *("--weight-decay", "0", "--clip", "0.5", "--patience", "3", "--seed", "5"),
        *("--device", "cpu", "--task", "forecast"),
        *("--budget", "1epochs", "--layer", "lstm:4x2", "--out", "new", "--json"),
    )
    assert result.code == 0, result.err
    config = tt.load("new").config
    format = config.task["format"]
    assert (format["time"], format["target"], format["key"]) == ("when", "load", "site")
    assert format["covariates"] == ["heat", "holiday"]
    assert format["known_future"] == ["holiday"]
    assert (format["season"], format["max_gap"], format["duplicates"]) == (7, 3, "first")
    options = config.task["options"]
    assert (options["horizon"], options["head"]) == (2, "gaussian")
    assert options["fractions"] == [0.6, 0.2, 0.2]
    assert (config.model.layer, config.model.dropout, config.model.memory) == ("lstm:4x2", 0.1, 20)
    training = config.training
    expected = {
        "budget": {"kind": "epochs", "amount": 1},
        "lanes": 2,
        "steps": 36,
        "bptt": "full",
        "chunks": 2,
        "learning_rate": 0.01,
        "weight_decay": 0,
        "clip": 0.5,
        "patience": 3,
        "seed": 5,
    }
    assert {name: training[name] for name in expected} == expected


def test_the_options_of_a_text_reach_its_model(folder: Path, command: Command):
    result = command(
        *("train", "good.txt", "--embedding", "6", "--embedding-dropout", "0.25"),
        *("--learned-initial-state", "--layer", "gru:6,4:block:conv", "--dropout", "0.1"),
        *("--budget", "2steps", "--out", "new", "--json"),
    )
    assert result.code == 0, result.err
    model = tt.load("new").config.model
    assert (model.embedding, model.embedding_dropout, model.dropout) == (6, 0.25, 0.1)
    assert model.learned_initial_state
    assert model.layer == "gru:6,4:conv:block"


def test_the_options_of_linear_recurrences_reach_them(folder: Path, command: Command):
    """Of a stack, those that take one."""
    result = command(
        *("train", "good.txt", "--layer", "min_gru:6+rg_lru:6+lru:4", "--negative-eigenvalues"),
        *("--memory", "30", "--budget", "2steps", "--out", "new", "--json"),
    )
    assert result.code == 0, result.err
    run = tt.load("new")
    assert run.config.model.negative_eigenvalues
    signed = [getattr(each, "negative_eigenvalues", None) for each in run.model.layers.layers]
    assert signed == [True, True, None]


def test_no_covariates_leaves_them_out(folder: Path, command: Command):
    (folder / "wide.csv").write_text(table(header="ds,y,x", cells=",1.5"))
    assert command("train", "wide.csv", "--no-covariates", *SMALL).code == 0
    assert tt.load("new").config.task["format"]["covariates"] == []


def test_an_interrupted_run_goes_on_to_the_same_figures(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
):
    many = ("train", "good.csv", "--layer", "gru:4", "--budget", "6steps", "--json", "--out")
    whole = json.loads(command(*many, "whole").out)
    with monkeypatch.context() as patch:
        interrupt(patch, at_step=3)
        stopped = command(*many, "halves")
    assert stopped.code == 130
    assert stopped.out == ""
    assert stopped.err.splitlines()[-1].endswith("throughtime train --resume halves")
    resumed = json.loads(command("train", "--resume", "halves", "--json").out)
    assert resumed["run"] == "halves"
    assert resumed["splits"] == whole["splits"]


def test_evaluate_prints_exactly_what_the_function_returns(folder: Path, command: Command):
    run = tt.load("forecast")
    assert json.loads(command("evaluate", "forecast", "--json").out) == run.evaluate()
    split = command("evaluate", "forecast", "good.csv", "--split", "50/25/25", "--json")
    assert json.loads(split.out) == run.evaluate("good.csv", split="50/25/25")
    assert "60 rows" in split.err
    for_people = command("evaluate", "language").out
    assert "unigram" in for_people
    assert "nats" in for_people


def test_predict_prints_or_writes_the_same_forecasts(folder: Path, command: Command):
    frame = tt.load("another").predict("good.csv")
    printed = command("predict", "another", "good.csv")
    assert pl.read_csv(io.StringIO(printed.out)).equals(frame)
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [row["horizon"] for row in rows] == ["1", "2"]
    document = json.loads(command("predict", "another", "good.csv", "--json").out)
    assert document == {"rows": frame.to_dicts()}
    for name, read in (("a.csv", pl.read_csv), ("a.parquet", pl.read_parquet)):
        assert command("predict", "another", "good.csv", "--out", name).out.endswith(f"{name}\n")
        assert read(name).equals(frame)


def test_generate_prints_the_prompt_and_what_follows(folder: Path, command: Command):
    options = ("--length", "20", "--seed", "3", "--temperature", "0.7", "--top-k", "5")
    result = command("generate", "language", "--prompt", "so much", *options, "--top-p", "0.9")
    drawn = "".join(
        tt.load("language").generate(
            "so much", length=20, seed=3, temperature=0.7, top_k=5, top_p=0.9
        )
    )
    assert result.out == f"so much{drawn}\n"
    (folder / "prompt.txt").write_text("so much")
    again = command("generate", "language", "--prompt-file", "prompt.txt", *options, "--json")
    document = json.loads(again.out)
    assert document["prompt"] == "so much"
    assert document["seed"] == 3
    assert len(document["text"]) == 20


def test_generate_says_what_the_model_never_saw(folder: Path, command: Command):
    result = command("generate", "language", "--prompt", "so Ж", "--length", "1")
    assert result.code == 0
    assert "'Ж'" in result.err


def test_bytes_are_generated_as_text(folder: Path, command: Command):
    (folder / "poem.txt").write_text(POEM.replace("wheel", "größe"))
    assert command("train", "poem.txt", "--mode", "bytes", "--embedding", "4", *SMALL).code == 0
    result = command("generate", "new", "--prompt", "größe", "--length", "30")
    assert result.code == 0
    assert result.out.startswith("größe")


def test_check_says_whether_it_passed(folder: Path, command: Command, monkeypatch):
    passed = command("check", "forecast", "--drift", "8", "--json")
    assert passed.code == 0
    assert json.loads(passed.out)["passed"] is True
    assert "ok" in command("check", "forecast", "good.csv", "--drift", "8").out

    from throughtime.check import Item, Report

    failing = Report("forecast", (Item("stepped", False, 1.0, 1e-5, (0, 3), "off"),))
    monkeypatch.setattr("throughtime.check.check", lambda *given, **options: failing)
    failed = command("check", "forecast")
    assert failed.code == 1
    assert "FAILED" in failed.out


def test_check_reports_an_altered_run(folder: Path, command: Command):
    weights = folder / "forecast" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    shown = command("check", "forecast")
    assert shown.code == 1
    assert "FAILED" in shown.out
    assert "model.safetensors" in shown.out
    report = command("check", "forecast", "--json")
    assert report.code == 1
    (item,) = json.loads(report.out)["items"]
    assert (item["name"], item["passed"]) == ("files", False)


def test_stream_answers_each_row_with_a_line_and_goes_on(folder: Path, command: Command):
    rows = table(12).encode().splitlines(keepends=True)
    whole = command("stream", "forecast", rows=b"".join(rows))
    answers = [json.loads(line) for line in whole.out.splitlines()]
    assert len(answers) == 12
    assert answers[0]["expected"] is None
    assert answers[1]["expected"] == answers[0]["prediction"]
    first = command("stream", "forecast", "--save", "kept", rows=b"".join(rows[:7]))
    header = rows[0]
    second = command(
        *("stream", "forecast", "--load", "kept", "--json"), rows=header + b"".join(rows[7:])
    )
    assert first.out + second.out == whole.out
    assert "12 rows" in whole.err


def test_stream_as_a_service_starts_by_one_command(folder: Path, command: Command):
    service = ("stream", "forecast", "--load", "kept", "--save", "kept")
    first = command(*service, rows=b"ds,y\n2024-01-01,1\n")
    assert "kept is not there yet" in first.err
    second = command(*service, rows=b"ds,y\n2024-01-02,1\n")
    assert "not there yet" not in second.err
    assert json.loads(second.out)["expected"] == json.loads(first.out)["prediction"]


def test_stream_answers_what_can_be_read(folder: Path, command: Command):
    result = command("stream", "forecast", rows=b"ds,y\n2024-01-01,1\nx,1\n2024-01-02,2\n")
    assert result.code == 0
    assert [("error" in json.loads(line)) for line in result.out.splitlines()] == [
        False,
        True,
        False,
    ]
    assert "row 2" in result.err


def test_stream_says_what_it_waits_for_at_a_terminal(folder: Path, command: Command, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    from throughtime.cli import main

    monkeypatch.setattr(sys, "stdin", Terminal("ds,y\n2024-01-01,1\n"))
    assert main(["stream", "forecast"]) == 0
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["stream", "forecast"]) == 1


def test_a_terminal_is_told_the_columns(folder: Path, command: Command):
    from throughtime.cli.stream import _expected

    assert _expected(tt.load("forecast"), "site") == "rows with the columns site,ds,y"
    assert _expected(tt.load("language"), None) == "lines of text"
    Path("known.csv").write_text(table(header="ds,y,holiday", cells=",0"))
    known = ("--known-future", "holiday", "--horizon", "2", "--budget", "1steps")
    assert command("train", "known.csv", *known, "--out", "known").code == 0
    columns = "ds,y,holiday,holiday@+1,holiday@+2"
    assert _expected(tt.load("known"), None) == f"rows with the columns {columns}"
    assert _expected(tt.load("language"), "id") == "rows with the columns id,text"
