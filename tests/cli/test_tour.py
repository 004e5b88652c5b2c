"""The guided tour: the commands printed are those run; curves as text."""

import json
import math
import shlex
from pathlib import Path

import pytest
from shell import Command, error_line

from throughtime.cli.plot import curves, sparkline


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_here")
def test_a_table_is_trained_checked_forecast_and_streamed(command: Command):
    result = command("demo", "--budget", "2steps")
    assert result.code == 0, result.err
    typed = [shlex.split(line[2:]) for line in result.out.splitlines() if line[:2] == "$ "]
    assert [words[1] for words in typed] == ["train", "check", "predict", "stream"]
    folder = Path("runs/demo-sunspots")
    names = {path.name for path in folder.iterdir()}
    assert names == {"run", "rows.csv", "forecast.csv", "answers.jsonl"}
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 309
    assert "2008" in result.out
    assert "▁" in result.out
    assert command("demo", "--budget", "2steps", "--json").code == 0
    assert Path("runs/demo-sunspots-2/run").is_dir()


@pytest.mark.usefixtures("_here")
def test_a_text_is_trained_checked_and_continued(command: Command):
    result = command("demo", "demo:reber", "--budget", "2steps", "--out", "tour", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    verbs = [shlex.split(line)[1] for line in document["commands"]]
    assert verbs == ["train", "check", "generate", "generate"]
    assert document["run"] == "tour/run"
    assert "embedded Reber" in result.err
    repeated = shlex.split(document["commands"][-1])[1:]
    assert command(*repeated).out in result.err


@pytest.mark.usefixtures("_here")
def test_a_tour_ends_where_a_command_fails(command: Command):
    result = command("demo", "reber", "--budget", "never")
    assert result.code == 2
    assert "'never'" in error_line(result)
    assert "throughtime check" not in result.out


@pytest.mark.usefixtures("_here")
def test_the_list_names_each_demo_and_writes_nothing(command: Command):
    text = command("demo", "--list").out
    listed = json.loads(command("demo", "--list", "--json").out)
    assert [one["name"] for one in listed] == ["sunspots", "meter", "python", "reber"]
    for one in listed:
        assert f"demo:{one['name']}" in text
        assert one["description"] in text
    assert not list(Path().iterdir())


def test_a_sparkline_shows_low_high_and_missing():
    assert sparkline([0.0, 7.0, math.nan, 3.5]) == "▁█ ▅"
    assert sparkline([math.nan]) == " "
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert sparkline([-1.0, 2.0], low=0.0, high=1.0) == "▁█"


def test_curves_share_a_scale_and_name_the_ends():
    assert curves({"a": [0.0, 1.0], "long": [2.0, 3.0]}, first="x", last="y").splitlines() == [
        "a     ▁▃",
        "long  ▆█",
        "      x y",
    ]


def test_an_output_without_blocks_gets_plain_characters(monkeypatch):
    class Plain:
        encoding = "ascii"

    monkeypatch.setattr("sys.stdout", Plain())
    assert sparkline([0.0, 1.0]).isascii()
