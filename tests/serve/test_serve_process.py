"""A server in a process of its own: its end, what it keeps, and clients that make no progress."""

import json
import select
import signal
import threading
import time

import pytest
from servers import process, row, rows, step, wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import throughtime as tt


@pytest.fixture(scope="module")
def shared(run):
    """One server for tests that leave it as it was."""
    with process(run) as server:
        yield server


def sessions_of(run, key, given):
    sessions = tt.Sessions(run, slots=1)
    return [sessions.step({key: each})[key] for each in given]


def answer_of(result):
    status, body = result
    assert status == 200, body
    return body["answers"][0]["answer"]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_sequences_go_on_after_a_restart(run, tmp_path, number):
    given = rows(6, gaps=True)
    kept = tmp_path / "kept"
    answers = []
    for part in (given[:3], given[3:]):
        with process(run, "--snapshot", kept) as server:
            for each in part:
                answers.append(answer_of(server.step(step("a", each, start=each is given[0]))))
            code, err = server.end(number)
        assert code == 0, err
        assert "1 sequence in" in err
    assert answers == sessions_of(run, "a", given)


@pytest.mark.slow
def test_a_killed_server_goes_on_from_its_last_snapshot(run, tmp_path):
    """Rows since then are sent again, with some more, which are known by their time."""
    given = rows(8)
    kept = tmp_path / "kept"
    options = ("--snapshot", kept, "--snapshot-every", 0.1)
    with process(run, *options) as server:
        for each in given[:4]:
            server.step(step("a", each, start=each is given[0]))
        seen = time.time()
        wait_until(lambda: kept.exists() and kept.stat().st_mtime > seen + 0.1)
        server.kill()
    with process(run, *options) as server:
        assert server.begun["restored"] == 1
        again = [answer_of(server.step(step("a", each))) for each in given[2:]]
    expected = sessions_of(run, "a", given)
    assert [answer.get("note", "").startswith("late") for answer in again[:1]] == [True]
    assert again[2:] == expected[4:]


def test_what_is_under_way_is_answered_before_the_end(run, tmp_path):
    """Rows that were sent before the signal are answered; nothing is cut off."""
    count = 400
    with process(run, "--snapshot", tmp_path / "kept", "--max-delay", 200) as server:
        answers = []

        def ask():
            steps = [step("a", row(hour), start=hour == 0) for hour in range(count)]
            answers.append(server.step(*steps))

        asking = threading.Thread(target=ask)
        asking.start()
        with server.client() as client:
            wait_until(lambda: "throughtime_steps_waiting 0.0" not in client.get("/metrics").text)
        code, err = server.end()
        asking.join(timeout=60)
    assert code == 0, err
    [(status, body)] = answers
    assert status == 200
    assert len(body["answers"]) == count
    restored = tt.Sessions.restore(run, tmp_path / "kept", slots=10)
    alone = tt.Sessions(run, slots=1)
    for hour in range(count + 1):
        expected = alone.step({"a": row(hour)})
    assert restored.step({"a": row(count)}) == expected


@pytest.mark.slow
def test_streams_are_told_of_the_end(run):
    with process(run) as server:
        address = server.address.replace("http", "ws") + "/v1/stream"
        with connect(address) as stream:
            stream.send(json.dumps({"steps": [step("a", row(0), start=True)]}))
            assert json.loads(stream.recv(timeout=60))["answers"][0]["started"]
            server.child.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                stream.recv(timeout=60)
            assert closed.value.rcvd.code == 1001
        code, err = server.end() if server.child.poll() is None else (server.child.wait(60), "")
    assert code == 0, err


@pytest.mark.slow
def test_a_second_signal_does_not_wait(run, tmp_path):
    """A request that never ends its body is not waited for; the sequences are kept."""
    with process(run, "--snapshot", tmp_path / "kept") as server:
        server.step(step("a", row(0), start=True))
        with server.connect() as slow:
            slow.sendall(
                b"POST /v1/step HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            time.sleep(0.2)
            server.child.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            code, err = server.end()
    assert code == 0, err
    assert (tmp_path / "kept").exists()


def test_a_message_that_is_too_large_ends_the_stream(shared):
    address = shared.address.replace("http", "ws") + "/v1/stream"
    with connect(address) as stream:
        stream.send(" " * 70_000)
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(timeout=60)
        assert closed.value.rcvd.code == 1009


SLOW = {
    "a head that never ends": b"GET /health/live HTTP/1.1\r\nHost: ",
    "nothing at all": b"",
    "a body that never ends": (
        b"POST /v1/step HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n{"
    ),
    "chunks that never end": (
        b"POST /v1/step HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    ),
    "a second head that never ends": (
        b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\nGET /health/live HTTP/1.1\r\nHost: "
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_client_that_makes_no_progress_is_let_go(shared, name):
    """And meanwhile others are answered."""
    with shared.connect() as slow:
        slow.sendall(SLOW[name])
        assert shared.step(step("a", row(0), start=True))[0] == 200
        began = time.monotonic()
        received = b""
        while part := slow.recv(4096):
            received += part
        assert time.monotonic() - began < 20
    if "body" in name or "chunks" in name:
        assert b"408" in received
        assert b'"slow"' in received


@pytest.mark.parametrize("piece", [b"a: b\r\n" * 1000, b"b" * 6000], ids=["head", "header"])
def test_a_head_that_is_too_large_ends_the_connection(shared, piece):
    with shared.connect() as large:
        large.sendall(b"GET /health/live HTTP/1.1\r\nHost: h\r\na: ")
        sent = 0
        try:
            while sent < 2**20 and not select.select([large], [], [], 0.01)[0]:
                sent += large.send(piece)
            # Its end, or a short line that refuses it; then its end.
            assert len(large.recv(4096)) < 4096
        except OSError:
            pass
        assert sent < 2**19
    assert shared.step(step("after a head", row(0), start=True))[0] == 200
