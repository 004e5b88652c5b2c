"""A stream without torch answers each row as `throughtime.Stream` does."""

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runtime_runs import TEXT, forecast_run, language_run
from streamed import odd_rows, same_answers, table

import throughtime as tt
from throughtime.errors import DataError, OptionError
from throughtime.runtime import __main__ as program
from throughtime.runtime import load
from throughtime.runtime.language import nats, probabilities

PIECES = ("the ", "quick\r\n", "", "\ufeffé", TEXT[:100])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return forecast_run(tmp_path_factory.mktemp("plain") / "run", "gru:6")


@pytest.fixture(scope="module")
def wide_run(tmp_path_factory):
    """Covariates of known and unknown future, three steps ahead, a stack with dropout."""
    frame = table(covariates=True)
    return forecast_run(
        tmp_path_factory.mktemp("wide") / "run",
        "lstm:5x2",
        frame=frame,
        known=("temperature",),
        horizon=3,
        dropout=0.3,
    )


@pytest.fixture(scope="module")
def gaussian_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("gaussian") / "run"
    return forecast_run(path, "min_gru:6", head="gaussian", horizon=2)


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    return language_run(tmp_path_factory.mktemp("text") / "run", "gru:8")


@pytest.mark.parametrize("which", ["run", "wide_run", "gaussian_run"])
def test_every_answer_is_that_of_the_stream_with_torch(which, request):
    run = request.getfixturevalue(which)
    frame = table(covariates=which == "wide_run")
    ours, theirs = load(run.path).stream(), tt.Stream(run)
    assert ours.required == theirs.required
    seen = set()
    for row in odd_rows(frame):
        got, wanted = ours.push(row), theirs.push(row)
        assert same_answers(got, wanted), (row, got, wanted)
        seen |= {word for part in wanted.get("note", "").split("; ") for word in part.split()[-1:]}
    assert {"filled", "steps", "dropped:", "read", "missing", "scale"} & seen
    assert ours.keys == theirs.keys
    notes = " ".join(str(ours.push(row).get("note")) for row in odd_rows(frame, seed=1))
    assert "dropped" in notes


def test_a_stream_goes_through_all_oddities(run):
    notes = " ".join(
        str(answer.get("note")) for answer in map(load(run.path).stream().push, odd_rows(table()))
    )
    for word in ("filled", "starts afresh", "dropped", "y missing", "never seen", "unknown column"):
        assert word in notes


@given(
    pieces=st.lists(
        st.one_of(st.sampled_from(PIECES), st.text(max_size=8)),
        max_size=6,
    )
)
def test_text_is_as_surprising_as_with_torch(text_run, pieces):
    ours, theirs = load(text_run.path).stream(), tt.Stream(text_run)
    for piece in pieces:
        row = {"text": piece}
        assert same_answers(answer_or_error(ours, row), answer_or_error(theirs, row))


def test_documents_of_their_own_are_read_as_such(tmp_path):
    run = language_run(tmp_path / "run", "gru:8")
    content = json.loads((run.path / "config.json").read_text())
    content["task"]["options"]["independent"] = True
    run.task.independent = True
    run.task.options = run.task.options.model_copy(update={"independent": True})
    model = load(run.path)
    model.task.independent = True
    ours, theirs = model.stream(), tt.Stream(run)
    for text in ("the fox\n", "the fox\n", "sleeps"):
        assert same_answers(ours.push({"text": text}), theirs.push({"text": text}))
    assert ours.keys == theirs.keys == ()


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"ds": "2024-01-01"},
        {"unique_id": "a", "ds": "yesterday", "y": 1},
        {"unique_id": "a", "ds": None, "y": 1},
        {"unique_id": "a", "ds": "2024-01-01", "y": "many"},
        {"unique_id": "a", "ds": "2024-01-01", "y": float("inf")},
        {"unique_id": "", "ds": "2024-01-01", "y": 1},
        {"unique_id": "a", "ds": "2024-01-01", "y": [1]},
    ],
)
def test_a_bad_row_is_refused_in_the_same_words(run, row):
    ours, theirs = load(run.path).stream(), tt.Stream(run)
    with pytest.raises(DataError) as wanted:
        theirs.push(row)
    with pytest.raises(DataError) as got:
        ours.push(row)
    assert str(got.value) == str(wanted.value)
    assert ours.keys == ()


def test_keys_are_those_of_the_stream_with_torch(run):
    model = load(run.path)
    with pytest.raises(OptionError, match="read as something else"):
        model.stream(key="y")
    stream = model.stream(key="meter")
    stream.push({"meter": 7, "ds": "2024-02-01", "y": 1})
    assert stream.keys == ("7",)
    with pytest.raises(OptionError, match="expected a key among '7'"):
        stream.reset("8")
    stream.reset("7")
    assert stream.keys == ()


def answer_or_error(stream, row):
    try:
        return stream.push(row)
    except DataError as error:
        return str(error)


class Lines(io.StringIO):
    """Standard input or output of a test."""


def command(monkeypatch, capsys, arguments, text=""):
    monkeypatch.setattr("sys.stdin", Lines(text))
    code = program.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_the_command_answers_as_the_one_with_torch(run, monkeypatch, capsys):
    lines = [json.dumps(row) for row in odd_rows(table()) if row["y"] == row["y"]]
    lines.insert(3, "{not json")
    code, out, told = command(monkeypatch, capsys, [run.path], "\n".join(lines))
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    theirs = io.StringIO()
    tt.stream.run_stream(run, io.StringIO("\n".join(lines)), theirs, tell=lambda line: None)
    wanted = [json.loads(line) for line in theirs.getvalue().splitlines()]
    assert same_answers(answers, wanted)
    assert any("error" in answer for answer in answers)
    assert "rows answered" in told


def test_the_command_reads_csv_and_text(run, text_run, monkeypatch, capsys):
    code, out, _ = command(
        monkeypatch, capsys, [run.path], "unique_id;ds;y\na;2024-01-01;1,5\na;2024-01-02;2\n"
    )
    assert code == 0
    assert [json.loads(line)["y"] for line in out.splitlines()] == [1.5, 2.0]
    code, out, _ = command(monkeypatch, capsys, [text_run.path], "the fox\nsleeps\n")
    assert code == 0
    assert [json.loads(line)["symbols"] for line in out.splitlines()] == [7, 7]


def test_the_command_verifies(run, monkeypatch, capsys):
    code, out, _ = command(monkeypatch, capsys, [run.path, "--verify"])
    assert code == 0
    assert "agree with what was recorded at training" in out


@pytest.mark.parametrize(
    ("arguments", "text", "code", "said"),
    [
        (["nowhere"], "", 1, "got nothing there"),
        ([], "", 2, "expected a call as in"),
        (["RUN", "--mist"], "", 2, "expected a call as in"),
        (["RUN", "--key", "y"], "", 2, "read as something else"),
        (["RUN"], "", 1, "came nothing"),
        (["RUN"], "a,b\n1,2\n", 1, "expected the column"),
        (["RUN"], "unique_id,ds,y\n,,\nx,y,z\n", 1, "expected rows that can be read, got 1"),
    ],
)
def test_what_the_command_can_not_do_it_says_in_one_line(
    run, monkeypatch, capsys, arguments, text, code, said
):
    typed = [run.path if word == "RUN" else word for word in arguments]
    got, _, told = command(monkeypatch, capsys, typed, text)
    assert got == code
    last = told.splitlines()[-1]
    assert last.startswith("python -m throughtime.runtime: error: expected")
    assert said in last
    assert "Traceback" not in told


def test_states_pass_between_stream_and_torch(run):
    """The state of a lane after rows is that of the run's own stream, by its names."""
    ours, theirs = load(run.path).stream(), tt.Stream(run)
    for row in odd_rows(table())[:40]:
        ours.push(row)
        theirs.push(row)
    for key in theirs.keys:
        got, wanted = ours._lanes[key].state, theirs._lanes[key].state
        assert np.allclose(got["h"], wanted.h.numpy(), atol=1e-6)


def test_surprise_and_probabilities_are_those_of_a_softmax():
    logits = np.array([[1.0, -2.0, 80.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    wanted = torch.from_numpy(logits).double().log_softmax(dim=-1)
    assert np.allclose(probabilities(logits), wanted.exp().numpy(), rtol=1e-12)
    for row, each in enumerate(wanted):
        for symbol, value in enumerate(each.tolist()):
            assert abs(nats(logits[row], symbol) + value) < 1e-9
