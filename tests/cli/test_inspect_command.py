"""`throughtime inspect`: what is printed and written where, and how it leaves."""

import importlib
import json

import pytest

import throughtime as tt
from throughtime.inspect import picture
from throughtime.inspect.lint import Finding, LintReport
from throughtime.inspect.report import contents


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Fewer places and symbols than people get, so that tests are quick."""
    monkeypatch.setattr(contents, "POSITIONS", 20)
    monkeypatch.setattr(contents, "SYMBOLS", 40)


@pytest.mark.parametrize("run", ["language", "forecast"])
def test_a_page_is_written_into_the_run_which_stays_sound(command, folder, run):
    result = command("inspect", run)
    assert result.code == 0, result.err
    page = folder / run / "inspect.html"
    assert page.read_text().startswith("<!doctype html>")
    lines = result.out.splitlines()
    assert lines[-1] == f"the report is in {run}/inspect.html"
    assert lines[0].startswith("uses the last")
    assert result.err.splitlines()[-1] == "100% done"
    before = tt.load(folder / run).fingerprint
    page.unlink()
    assert tt.load(folder / run).fingerprint == before
    again = command("inspect", run)
    assert again.out == result.out
    assert command("check", run, "--drift", "0").code == 0


def test_json_is_one_document_and_writes_no_page_that_was_not_asked_for(command, folder):
    result = command("inspect", "forecast", "good.csv", "--json", "--seed", "3")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    assert content["format"] == "throughtime.inspect/1"
    assert content["stretch"]["kind"] == "series"
    assert not (folder / "forecast" / "inspect.html").exists()


def test_json_and_a_page_can_be_had_together(command, folder):
    result = command("inspect", "forecast", "--json", "--out", "page.html")
    assert json.loads(result.out)["run"] == "forecast"
    assert "<svg" in (folder / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "nowhere/page.html"), "nowhere/page.html"),
        (("--out", "."), "--out FILE"),
        (("--lint", "--out", "page.html"), "--lint"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_wrong_use_is_one_line(command, folder, arguments, said):
    result = command("inspect", "forecast", *arguments)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert said in result.err


def test_what_is_no_run_is_one_line(command, folder):
    result = command("inspect", "good.csv")
    assert result.code == 1
    assert len(result.err.splitlines()) == 1


def test_without_matplotlib_it_says_what_to_install(command, folder, monkeypatch):
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    result = command("inspect", "forecast")
    assert result.code == 1
    assert "pip install 'throughtime[inspect]'" in result.err
    assert len(result.err.splitlines()) == 1


def test_lint_leaves_by_whether_there_are_faults(command, folder, monkeypatch):
    room = importlib.import_module("throughtime.inspect.lint")
    clean = LintReport((), ())
    fault = Finding("not-causal", 0.25, "an output moved by 0.25", "read forwards", "layers")
    for report, code in ((clean, 0), (LintReport((fault,), ()), 1)):
        monkeypatch.setattr(room, "lint_run", lambda run, data=None, report=report: report)
        result = command("inspect", "forecast", "--lint")
        assert (result.code, result.out.strip()) == (code, str(report))
        result = command("inspect", "forecast", "--lint", "--json")
        assert (result.code, json.loads(result.out)) == (code, report.to_json())


def test_findings_are_on_the_page_and_in_the_json(command, folder, monkeypatch):
    fault = Finding("not-causal", 0.25, "y[3] < y[4] moved by 0.25", "read forwards", "layers")
    monkeypatch.setattr(contents, "lint_run", lambda run, data=None: LintReport((fault,), ()))
    result = command("inspect", "forecast", "--json", "--out", "page.html")
    assert result.code == 0
    assert json.loads(result.out)["lint"]["findings"][0]["name"] == "not-causal"
    assert "y[3] &lt; y[4] moved by 0.25" in (folder / "page.html").read_text()
