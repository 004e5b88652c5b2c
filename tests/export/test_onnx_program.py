"""`python runner.py`: rows from a pipe, as `python -m throughtime.runtime` answers them.

Whatever is wrong is one line on standard error, with what to do about it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from onnx_exports import put
from streamed import same_answers

import throughtime as tt

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def call(program, arguments=(), given=b"", **options):
    return subprocess.run(
        [sys.executable, *program, *arguments],
        input=given,
        capture_output=True,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def programs(plain, text_run, tmp_path_factory):
    """Of a forecast and of a text: the runner, and the runtime of the same run."""
    folder = tmp_path_factory.mktemp("programs")
    return {
        task: ([put(run, folder / task) / "runner.py"], ["-m", "throughtime.runtime", run.path])
        for task, run in (("forecast", plain), ("language", text_run))
    }


INPUTS = {
    "commas": b"year,sunspots\n1700,5\n1701,NA\n1704,1.5e1\n1703,1\n\n,\n1990,2\n",
    "semicolons": b"\xef\xbb\xbfyear;sunspots\r\n1700;5,25\r\n1701;\r\n1702\r\n",
    "tabs": b'year\tsunspots\tother\n"1700"\t5\tx\n1701\t6\n1702\t7\tx\ty\n',
    "cells": b'year,sunspots\n1700,x\n1701,inf\nsoon,1\n"1702,1\n\xff,1\n17\x0003,1\n1704,4\n',
    "json": b'{"year": 1700, "sunspots": 5}\n\n[1]\n{"year"\n{"year": 1701}\n'
    b'{"sunspots": null, "year": "1703"}\n{"year": 1e400, "sunspots": 1}\n',
    "long": b"year,sunspots\n1700,5\n1701," + b"9" * 2**20 + b"\n1702,6\n",
    "header alone": b"year,sunspots\n",
    "nothing read": b"year,sunspots\nx,1\n",
}


@pytest.mark.parametrize("name", INPUTS)
def test_rows_are_answered_as_by_the_runtime(name, programs):
    here, there = (call(program, given=INPUTS[name]) for program in programs["forecast"])
    answers, wanted = (done.stdout.decode().splitlines() for done in (here, there))
    assert len(answers) == len(wanted)
    for got, line in zip(answers, wanted, strict=True):
        assert same_answers(json.loads(got), json.loads(line)), (got, line)
    assert here.returncode == there.returncode == (1 if name == "nothing read" else 0)
    said, told = (done.stderr.decode().splitlines() for done in (here, there))
    summary = "answered" if here.returncode == 0 else "as said above"
    assert len(said) == len(told)
    assert summary in said[-1]
    assert summary in told[-1]


@pytest.mark.parametrize("given", [b"\xef\xbb\xbfthe fox\r\n\n\xce\xa9x\n\xff\nend", b"one"])
def test_lines_of_text_are_answered_as_by_the_runtime(given, programs):
    here, there = (call(program, given=given) for program in programs["language"])
    answers, wanted = (map(json.loads, done.stdout.splitlines()) for done in (here, there))
    for got, line in zip(answers, wanted, strict=True):
        if "error" in line:
            got, line = got["row"], line["row"]
        assert same_answers(got, line)
    assert here.returncode == there.returncode == 0


WRONG = {
    "nothing": (b"", [], "expected rows in the input, came nothing"),
    "blank lines": (b"\n \n", [], "expected rows in the input, came nothing"),
    "another header": (b"a,b\n1,2\n", [], "expected the column 'year', 'sunspots' in the header"),
    "no header": (b"1700,5\n", [], "expected the column 'year', 'sunspots' in the header"),
    "a column twice": (b"year,sunspots,year\n1,2,3\n", [], "expected each column name once"),
    "bytes": (b"\x89PNG\r\n\x00", [], "expected UTF-8, came the byte 0x89 at place 1"),
    "a quote": (b'"year,sunspots\n', [], "expected a header"),
    "an option": (b"", ["--keys"], "expected a call as in `"),
    "a target as key": (b"", ["--key", "sunspots"], "expected a column that tells the streams"),
    "no key": (b"year,sunspots\n1,2\n", ["--key", "id"], "expected the column 'id' in the header"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(name, programs):
    given, arguments, message = WRONG[name]
    for program in programs["forecast"]:
        done = call(program, arguments, given)
        assert done.returncode in (1, 2)
        assert done.stdout == b""
        (line,) = done.stderr.decode().splitlines()
        assert "error: expected" in line
        # The runtime has a word more for headers that are none.
        if name not in ("no header", "a quote") or program[0] != "-m":
            assert message in line


def test_no_text_is_one_line(programs):
    for program in programs["language"]:
        done = call(program)
        assert (done.returncode, done.stdout) == (1, b"")
        (line,) = done.stderr.decode().splitlines()
        assert line.endswith("error: expected text in the input, came nothing")


@pytest.mark.parametrize(
    "file", ["runner_rows.py", "runner_graphs.py", "step.onnx", "sequence.onnx"]
)
def test_a_folder_that_is_not_whole_is_one_line(file, programs, tmp_path):
    whole = programs["forecast"][0][0].parent
    for name, spoil in (
        ("absent", lambda path: path.unlink()),
        ("cut", lambda path: os.truncate(path, path.stat().st_size // 2)),
        ("emptied", lambda path: os.truncate(path, 0)),
        ("foreign", lambda path: shutil.copy(programs["language"][0][0].parent / file, path)),
    ):
        if file.endswith(".py") and name != "absent":
            continue
        folder = tmp_path / name
        shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("__pycache__"))
        spoil(folder / file)
        done = call([folder / "runner.py"], given=INPUTS["commas"])
        if (name, file) == ("foreign", "step.onnx"):
            # The step says what it is: a model of texts, of which the other graph is none.
            assert b"expected graphs of one run" in done.stderr
        assert (done.returncode, done.stdout) == (1, b"")
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith("runner.py: error: expected ")
        assert line.count("; ") >= 1


def test_a_folder_may_be_named(programs, tmp_path):
    (runner,), _ = programs["forecast"]
    done = call([runner, runner.parent], given=INPUTS["commas"], cwd=tmp_path)
    assert done.returncode == 0
    done = call([runner, tmp_path], given=INPUTS["commas"])
    assert done.returncode == 1
    assert b"expected step.onnx in" in done.stderr


@pytest.fixture
def takes_ctrl_c():
    """A shell's job in the background ignores it, and what that starts would do so too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("task", ["forecast", "language"])
def test_ctrl_c_ends_a_stream_quietly(task, which, programs, takes_ctrl_c):
    with subprocess.Popen(
        [sys.executable, *programs[task][which]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        program.stdin.write(b"year,sunspots\n1700,5\n" if task == "forecast" else b"the fox\n")
        program.stdin.flush()
        assert json.loads(program.stdout.readline())["unique_id"] == "series"
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 130
        assert program.stdout.read() == b""
        (line,) = program.stderr.read().decode().splitlines()
        assert line.startswith("1 row answered")


@pytest.mark.parametrize("which", [0, 1])
def test_a_reader_that_goes_away_ends_a_stream_quietly(which, programs):
    rows = "".join(f"{year},{year % 50}\n" for year in range(1700, 4700))
    program = subprocess.Popen(
        [sys.executable, *programs["forecast"][which]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    program.stdout.close()
    _, said = program.communicate(f"year,sunspots\n{rows}".encode())
    assert program.returncode == 141
    assert len(said.decode().splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("output", ["> /dev/full", ">&-", "<&-"])
def test_an_output_that_takes_nothing_is_one_line(output, which, programs):
    words = " ".join(map(str, [sys.executable, *programs["forecast"][which]]))
    done = subprocess.run(
        ["sh", "-c", f"{words} {output}"],
        input=INPUTS["commas"],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert "error: expected" in line


def test_a_fault_in_the_grid_is_seen_from_outside(programs, tmp_path):
    (runner,), there = programs["forecast"]
    shutil.copytree(runner.parent, tmp_path / "faulty")
    source = tmp_path / "faulty" / "runner_rows.py"
    text = source.read_text()
    wanted = list(map(json.loads, call(there, given=INPUTS["commas"]).stdout.splitlines()))
    for old, new in (("missing > 1", "missing > 9"), ("time <= last", "time < last - 9"), ("", "")):
        assert old in text
        source.write_text(text.replace(old, new))
        done = call([tmp_path / "faulty" / "runner.py"], given=INPUTS["commas"])
        answers = list(map(json.loads, done.stdout.splitlines()))
        assert same_answers(answers, wanted) == (old == new)


def test_documents_that_are_independent_are_answered_as_by_the_runtime(tmp_path):
    run = tt.fit("demo:reber", layer="gru:4", budget="2steps", out=tmp_path / "run", show=False)
    assert run.task.independent
    programs = (
        [put(run, tmp_path / "onnx") / "runner.py"],
        ["-m", "throughtime.runtime", run.path],
    )
    here, there = (call(program, given=b"BTXSE\nBTXSE\n\nB?") for program in programs)
    answers, wanted = (list(map(json.loads, done.stdout.splitlines())) for done in (here, there))
    assert same_answers(answers, wanted)
    assert answers[0] == answers[1]
