"""The loop of the command: it answers at once, goes on after errors, and keeps what it learned."""

import io
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from streams import arriving

from throughtime.errors import BundleError, DataError, OptionError
from throughtime.stream import Stream, run_stream


def lines_of(frame):
    return frame.write_csv().encode()


def parsed(out):
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_every_row_is_answered_as_push_answers_it(run, frame, tmp_path):
    out, told = io.StringIO(), []
    path = tmp_path / "state"
    summary = run_stream(run, io.BytesIO(lines_of(frame)), out, save=path, tell=told.append)
    stream = Stream(run)
    assert parsed(out) == [stream.push(row) for row, _, _ in arriving(frame, run.task.read(frame))]
    assert told == []
    assert (summary.rows, summary.errors, summary.keys) == (len(frame), 0, 3)
    assert (summary.ended, summary.saved) == ("input", str(path))
    assert str(summary) == f"{len(frame)} rows answered, 3 keys, state in {path}"


def test_json_lines_give_the_same_answers(run, frame):
    out, again = io.StringIO(), io.StringIO()
    run_stream(run, io.BytesIO(lines_of(frame)), out)
    run_stream(run, io.StringIO(frame.write_ndjson()), again)
    assert parsed(again) == parsed(out)


def test_a_bad_row_is_said_twice_and_the_next_is_answered(run):
    content = b"unique_id,ds,y\na,2024-02-01,1\na,never,2\na,b,c,d\na,2024-02-01 01:00,3\n"
    out, told = io.StringIO(), []
    summary = run_stream(run, io.BytesIO(content), out, tell=told.append)
    first, wrong, longer, last = parsed(out)
    assert set(wrong) == {"error", "row"}
    assert [wrong["row"], longer["row"]] == [2, 3]
    assert told == [wrong["error"], longer["error"]]
    assert told[0].startswith("row 2: expected a time")
    assert "'never'" in told[0]
    assert last["expected"] == first["prediction"]
    assert str(summary) == "2 rows answered, 2 could not be read, 1 key"


def test_a_stream_is_taken_up_where_it_was_left(run, frame, tmp_path):
    content = lines_of(frame)
    header, *lines = content.splitlines(keepends=True)
    whole, parts = io.StringIO(), io.StringIO()
    run_stream(run, io.BytesIO(content), whole)
    path = tmp_path / "state"
    for start in range(0, len(lines), 100):
        piece = header + b"".join(lines[start : start + 100])
        run_stream(run, io.BytesIO(piece), parts, save=path, load=path if start else None)
    assert parts.getvalue() == whole.getvalue()


def test_the_key_column_can_be_named(run):
    out = io.StringIO()
    content = b"meter;ds;y\n7;2024-02-01;1,5\n8;2024-02-01;2,5\n"
    assert run_stream(run, io.BytesIO(content), out, key="meter").keys == 2
    assert [answer["unique_id"] for answer in parsed(out)] == ["7", "8"]
    assert [answer["y"] for answer in parsed(out)] == [1.5, 2.5]


def test_a_text_is_read_by_lines_or_by_rows_with_keys(text_run):
    out, keyed = io.StringIO(), io.StringIO()
    run_stream(text_run, io.BytesIO(b"the fox\n\xff\n{jumps}\n"), out, tell=lambda line: None)
    first, wrong, last = parsed(out)
    assert (first["symbols"], wrong["row"], last["symbols"]) == (7, 2, 8)
    rows = io.StringIO('{"book": 1, "text": "the fox\\n"}\n{"book": 2, "text": "jumps"}\n')
    run_stream(text_run, rows, keyed, key="book")
    assert parsed(keyed)[0] == {**first, "unique_id": "1"}
    assert parsed(keyed)[1]["unique_id"] == "2"


def test_what_can_not_go_well_is_refused_before_the_first_row(run, tmp_path):
    out = io.StringIO()
    for options, error in (
        ({"save": tmp_path / "nowhere" / "state"}, OptionError),
        ({"save": tmp_path}, OptionError),
        ({"save": tmp_path, "load": tmp_path}, OptionError),
        ({"load": tmp_path / "state", "save": tmp_path / "other"}, BundleError),
        ({"load": tmp_path / "state"}, BundleError),
        ({"key": "y"}, OptionError),
        ({}, DataError),
    ):
        with pytest.raises(error, match="expected"):
            run_stream(run, io.BytesIO(b""), out, **options)
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("first", "lacking"),
    [(b"unique_id,ds,z", "'y'"), (b"[1,2]", "'unique_id', 'ds', 'y'"), (b"a,2024-02-01,1", "'ds'")],
)
def test_a_header_that_lacks_a_column_is_refused_at_once(run, first, lacking):
    out = io.StringIO()
    with pytest.raises(DataError, match="expected the column") as refused:
        run_stream(run, io.BytesIO(first + b"\na,2024-02-01,1\n"), out)
    assert lacking in str(refused.value)
    assert out.getvalue() == ""


def test_no_rows_leave_an_older_file_alone(run, tmp_path):
    path, older = tmp_path / "state", tmp_path / "older"
    Stream(run).save(older)
    path.write_bytes(b"other")
    summary = run_stream(run, io.BytesIO(b"unique_id,ds,y\n"), io.StringIO(), save=path, load=older)
    assert (summary.rows, summary.saved) == (0, None)
    assert path.read_bytes() == b"other"


def test_a_file_is_written_over_only_where_it_is_gone_on_from(run, tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"older")
    with pytest.raises(OptionError, match="go on from it with --load"):
        run_stream(run, io.BytesIO(b"unique_id,ds,y\na,2024-02-01,1\n"), io.StringIO(), save=path)
    assert path.read_bytes() == b"older"


def test_a_service_starts_by_one_call_whether_or_not_it_ran_before(run, frame, tmp_path):
    header, *lines = lines_of(frame).splitlines(keepends=True)
    whole, parts, told = io.StringIO(), io.StringIO(), []
    run_stream(run, io.BytesIO(header + b"".join(lines)), whole)
    path = tmp_path / "state"
    for piece in (lines[:50], lines[50:]):
        content = io.BytesIO(header + b"".join(piece))
        run_stream(run, content, parts, save=path, load=path, tell=told.append)
    assert parts.getvalue() == whole.getvalue()
    assert told == [f"{path} is not there yet: the stream starts afresh"]


def test_a_handler_that_python_did_not_set_is_no_obstacle(run, monkeypatch):
    set_handler = signal.signal
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def foreign(number, handler):
        set_handler(number, handler)

    try:
        monkeypatch.setattr(signal, "signal", foreign)
        run_stream(run, io.BytesIO(b"unique_id,ds,y\na,2024-02-01,1\n"), io.StringIO())
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for number, handler in before.items():
            set_handler(number, handler)


class Closed(io.StringIO):
    """Standard output whose reader goes away after some lines."""

    def __init__(self, lines):
        super().__init__()
        self.left = lines

    def flush(self):
        self.left -= 1
        if self.left < 0:
            raise BrokenPipeError


def test_a_reader_that_goes_away_ends_the_stream_quietly(run, frame, tmp_path):
    path = tmp_path / "state"
    summary = run_stream(run, io.BytesIO(lines_of(frame)), Closed(10), save=path)
    assert (summary.ended, summary.rows) == ("output", 11)
    stream = Stream.load(run, path)
    rows = [row for row, _, _ in arriving(frame, run.task.read(frame))]
    clean = Stream(run)
    for row in rows[:11]:
        clean.push(row)
    assert stream.push(rows[11]) == clean.push(rows[11])


def test_a_full_disk_on_the_way_is_said_and_the_stream_goes_on(run, frame, tmp_path, monkeypatch):
    path, told = tmp_path / "state", []
    sync, calls = os.fsync, []

    def full_at_first(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_first)
    content = b"".join(lines_of(frame).splitlines(keepends=True)[:6])
    out = io.StringIO()
    run_stream(run, io.BytesIO(content), out, save=path, save_every=0.0, tell=told.append)
    assert len(parsed(out)) == 5
    assert told
    assert all("No space left on device" in line for line in told)
    assert Stream.load(run, path).keys


class Pipe:
    """An input that sends a signal while a row is waited for, and then never ends."""

    def __init__(self, content, number, forever):
        self.lines = content.splitlines(keepends=True)
        self.number = number
        self.forever = forever

    def readline(self, limit):
        if self.lines:
            return self.lines.pop(0)
        signal.raise_signal(self.number)
        self.forever()
        raise AssertionError("a signal did not end the wait")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_waiting_saves_and_ends(run, tmp_path, number):
    before = signal.getsignal(number)
    path = tmp_path / "state"
    pipe = Pipe(b"unique_id,ds,y\na,2024-02-01,1\n", number, lambda: threading.Event().wait(20))
    summary = run_stream(run, pipe, io.StringIO(), save=path)
    assert (summary.ended, summary.rows) == ("signal", 1)
    assert Stream.load(run, path).keys == ("a",)
    assert signal.getsignal(number) is before


def test_a_signal_during_a_row_waits_for_its_answer(run, frame, tmp_path, monkeypatch):
    push = Stream.push

    def interrupted(self, row, **options):
        signal.raise_signal(signal.SIGTERM)
        return push(self, row, **options)

    monkeypatch.setattr(Stream, "push", interrupted)
    out, path = io.StringIO(), tmp_path / "state"
    summary = run_stream(run, io.BytesIO(lines_of(frame)), out, save=path)
    assert (summary.ended, summary.rows, len(parsed(out))) == ("signal", 1, 1)
    assert len(Stream.load(run, path).keys) == 1


PROGRAM = """
import sys
import throughtime as tt
from throughtime.stream import run_stream
run = tt.load(sys.argv[1])
print(run_stream(run, sys.stdin, sys.stdout, save=sys.argv[2], save_every=float(sys.argv[3])))
"""


def started(run, path, every):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(run.path), str(path), str(every)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def row_of(hour):
    return b"a,2024-02-%02d %02d:00,1\n" % (1 + hour // 24, hour % 24)


def test_a_process_asked_to_stop_while_its_pipe_is_quiet(run, tmp_path):
    path = tmp_path / "state"
    with started(run, path, 1000) as process:
        process.stdin.write(b"unique_id,ds,y\n" + row_of(0))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["ds"] == "2024-02-01 00:00"
        assert not path.exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout.read().decode() == f"1 row answered, 1 key, state in {path}\n"
        process.stdin.close()
    assert Stream.load(run, path).keys == ("a",)


def test_a_killed_process_leaves_a_stream_that_loads(run, tmp_path):
    path = tmp_path / "state"
    with started(run, path, 0) as process:
        process.stdin.write(b"unique_id,ds,y\n" + b"".join(map(row_of, range(600))))
        process.stdin.flush()
        for _ in range(100):
            answer = json.loads(process.stdout.readline())
        process.kill()
        process.wait(20)
        process.stdin.close()
    stream = Stream.load(run, path)
    assert stream._lanes["a"].time > 0
    # What was read after the last save comes again; what was read before is known and dropped.
    clean = Stream(run)
    answers = []
    for hour in range(640):
        moment = row_of(hour).split(b",")[1].decode()
        row = {"unique_id": "a", "ds": moment, "y": "1"}
        answers.append((stream.push(row), clean.push(row)))
    assert answers[99][1] == answer
    assert "row dropped" in answers[0][0]["note"]
    assert answers[-1][0] == answers[-1][1]
