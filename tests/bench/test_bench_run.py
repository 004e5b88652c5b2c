"""The bench as a whole, from the command line: exit codes, JSON, Ctrl-C, processes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes import case, figure, stopping

from throughtime import bench
from throughtime.bench import Bar, child, train, whole
from throughtime.bench.measure import Unavailable
from throughtime.cli import main

MET, MISSED = Bar("ratio", "at least", 3.0), Bar("ratio", "at least", 4.0)


@pytest.fixture
def planned(monkeypatch):
    """Lets a bench consist of given cases."""

    def plan(*cases: Any) -> None:
        monkeypatch.setattr(whole, "chosen", lambda parts, layers, *, quick: list(cases))

    return plan


def test_a_bar_that_is_missed_is_named_and_only_check_fails(planned, capsys):
    planned(case(figure("a", MET)), case(figure("b", MISSED)))
    assert main(["bench", "--quick"]) == 0
    out, err = capsys.readouterr()
    assert "MISSED" in out
    assert "missed:" not in err
    assert main(["bench", "--quick", "--check"]) == 1
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if line.startswith("missed")] == [
        "missed: train gru b / nn.GRU: 3x, asked >= 4x"
    ]
    planned(case(figure("a", MET)))
    assert main(["bench", "--quick", "--check"]) == 0


def test_a_bar_that_could_not_be_measured_is_missed(planned, capsys):
    def unavailable(plan: Any, effort: Any) -> Any:
        raise Unavailable("the peer is not installed")

    planned(bench.whole.Case((figure("a", MET),), unavailable, 1.0))
    assert main(["bench", "--quick", "--check"]) == 1
    assert "not measured (the peer is not installed), asked >= 3x" in capsys.readouterr().err


def test_a_wrong_result_fails_without_check_as_well(planned, capsys):
    def wrong(plan: Any, effort: Any) -> Any:
        return [plan[0].without("output differs", wrong=True)]

    planned(bench.whole.Case((figure(),), wrong, 1.0))
    assert main(["bench", "--quick"]) == 1
    out, err = capsys.readouterr()
    assert "WRONG" in out
    assert "wrong: train gru a / nn.GRU: output differs" in err


def test_ctrl_c_keeps_what_was_measured(planned, capsys, tmp_path: Path):
    planned(case(figure("a")), stopping(figure("b")), case(figure("c")))
    out = tmp_path / "found.json"
    assert main(["bench", "--quick", "--json", "--out", str(out)]) == 130
    printed, err = capsys.readouterr()
    assert err.splitlines()[-1] == "throughtime: interrupted; 1 of 3 figures are there"
    document = json.loads(printed)
    assert document == json.loads(out.read_text())
    assert document["interrupted"]
    assert not document["passed"]
    assert [one["case"] for one in document["figures"]] == ["a"]
    assert main(["bench", "--quick"]) == 130
    assert "3x" in capsys.readouterr().out


def test_the_document_has_the_machine_and_every_figure(planned, capsys):
    planned(case(figure("a", MET, size=(1, 2))), case(figure("b", part="step")))
    assert main(["bench", "--quick", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {
        "throughtime",
        "machine",
        "quick",
        "processes",
        "seconds",
        "planned",
        "interrupted",
        "passed",
        "figures",
    }
    assert {"cpu", "instructions", "cores", "threads", "torch"} <= set(document["machine"])
    assert (document["planned"], document["processes"], document["passed"]) == (2, 1, True)
    first = document["figures"][0]
    assert first == {
        "part": "train",
        "layer": "gru",
        "case": "a",
        "peer": "nn.GRU",
        "unit": "ms",
        "reads": "speedup",
        "asked": [{"of": "ratio", "sense": "at least", "value": 3.0}],
        "size": [1, 2],
        "ours": 2.0,
        "theirs": 6.0,
        "ratio": 3.0,
        "difference": 1e-7,
        "backend": "",
        "more": {},
        "note": "",
        "wrong": False,
        "processes": 1,
        "met": True,
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("trian", "did you mean 'train'"),
        ("--layer elman", "'elman'"),
        ("linear --layer gru", "got linear"),
        ("--processes 0", "got 0"),
        ("--processes many", "--processes"),
        ("--out nowhere/found.json", "nowhere/found.json"),
        ("--out .", "got ."),
    ],
)
def test_wrong_use_is_one_line(words: str, expected: str, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("throughtime: error: expected")
    assert expected in line


def test_help_names_every_part(capsys):
    assert main(["bench", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in (*bench.PARTS, "gru", "rnn", "lstm"):
        assert name in shown


def test_a_small_bench_runs_and_says_where_it_is(monkeypatch, capsys):
    monkeypatch.setattr(train, "SIZES", ((1, 9, 2, 3), (2, 5, 3, 4), (9, 9, 9, 9)))
    shown: list[bench.Progress] = []
    report = bench.run(["train"], layers=["rnn"], quick=True, show=shown.append)
    assert [one.case for one in report.figures] == ["(1,9,2,3)", "(2,5,3,4)"]
    assert not report.wrong
    assert all(one.ratio for one in report.figures)
    assert [progress.title for progress in shown] == ["train rnn (1,9,2,3)", "train rnn (2,5,3,4)"]
    assert main(["bench", "train", "--layer", "rnn", "--quick"]) == 0
    assert "one process, quick" in capsys.readouterr().out


def test_several_processes_give_one_figure_each():
    report = bench.run(["step"], layers=["gru"], quick=True, processes=2)
    whole_and_cell = [one for one in report.figures if one.case == "layer.step"]
    assert [one.processes for one in whole_and_cell] == [2, 2]
    assert not report.wrong


def test_figures_of_processes_are_merged_and_those_with_their_own_are_run_once(
    planned, monkeypatch
):
    shared, alone = figure("a"), figure("b", part="memory")
    planned(case(shared), case(alone, once=True))
    times = iter([6.0, 10.0, 4.0])
    monkeypatch.setattr(
        whole, "answers", lambda job: iter([[shared.measured(2.0, next(times)).to_json()]])
    )
    report = bench.run()
    assert report.processes == 3
    assert [(one.case, one.ratio, one.processes) for one in report.figures] == [
        ("a", 3.0, 3),
        ("b", 3.0, 1),
    ]


def test_a_process_that_breaks_off_makes_its_figures_wrong(planned, monkeypatch):
    first, second = figure("a"), figure("b")
    planned(case(first), case(second))

    def breaking(job: Any) -> Any:
        yield [first.measured(1.0, 2.0).to_json()]
        raise Unavailable("the measuring process ended with -11")

    monkeypatch.setattr(whole, "answers", breaking)
    report = bench.run(processes=2)
    assert [one.wrong for one in report.figures] == [False, True]
    assert report.figures[1].note == "the measuring process ended with -11"


def test_a_process_that_fails_says_so(monkeypatch):
    monkeypatch.setattr(child, "_PROGRAM", "print('1'); raise SystemExit(3)")
    heard = []
    with pytest.raises(Unavailable, match="ended with 3"):
        heard.extend(child.answers({}))
    assert heard == [1]


def test_a_process_ends_when_nobody_listens(monkeypatch):
    monkeypatch.setattr(
        child,
        "_PROGRAM",
        "import os, time; print(os.getpid(), flush=True); time.sleep(60)",
    )
    listening = child.answers({})
    number = next(listening)
    os.kill(number, 0)
    listening.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
