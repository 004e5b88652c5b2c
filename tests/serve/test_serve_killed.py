"""Workers in processes of their own that are killed or stopped, and others that go on."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis_servers import answer_of, sessions_of
from servers import process, rows, step, wait_until

import throughtime as tt

pytestmark = pytest.mark.slow


def code_of(result):
    status, body = result
    return status, body.get("error", {}).get("code")


def copied(worker):
    """Wait for copies of all that a worker has read until now."""
    before = worker.written()
    wait_until(lambda: worker.written() >= before + 2)


def begin(worker, key, given):
    answers = [answer_of(worker.step(step(key, each, start=each is given[0]))) for each in given]
    copied(worker)
    return answers


def taken_over(worker, key, cells):
    """The body of the first answer of another worker, asked for until the lease is over."""
    results = []

    def answers():
        results.append(worker.step(step(key, cells)))
        return results[-1][0] == 200

    wait_until(answers)
    assert {code_of(each) for each in results[:-1]} <= {(503, "elsewhere")}
    return results[-1][1]["answers"][0]


def test_a_killed_worker_s_sequences_go_on_from_their_copies(plain_run, server):
    """Rows after the copy are sent again; every number is that of an unbroken stream."""
    given = rows(12, gaps=True)
    stream = tt.Stream(plain_run, key="unique_id")
    expected = [stream.push({"unique_id": "north", **each}) for each in given]
    options = ("--redis", server.url, "--snapshot-every", 0.7)
    with (
        process(plain_run, *options, lease=6.0) as one,
        process(plain_run, *options, lease=6.0) as other,
    ):
        answers = begin(one, "north", given[:4])
        answers += [answer_of(one.step(step("north", each))) for each in given[4:6]]
        assert code_of(other.step(step("north", given[6]))) == (503, "elsewhere")
        one.kill()
        with server.client() as client:
            record = client.hgetall(next(client.scan_iter("*:sequence:north")))
            code = code_of(other.step(step("north", {"ds": "no time", "y": 0})))
            lease = next(client.scan_iter(b"*:worker:" + record[b"owner"]), None)
            assert code == (503, "elsewhere") or lease is None
        sessions = tt.Sessions(plain_run, slots=1)
        count = 0
        while not count or sessions.export("north") != record[b"bytes"]:
            sessions.step({"north": given[count]})
            count += 1
        assert 4 <= count <= 6
        first = taken_over(other, "north", given[count])
        assert (first["restored"], first["started"]) == (True, False)
        rest = [other.step(step("north", each)) for each in given[count + 1 :]]
        assert not any(body["answers"][0]["restored"] for _, body in rest)
        answers[count:] = [first["answer"], *map(answer_of, rest)]
    assert answers == expected


def test_a_stopped_worker_does_not_go_on_with_what_another_one_took(run, server):
    """Not even with a row that reached it while it was stopped."""
    given = rows(8)
    options = ("--redis", server.url, "--snapshot-every", 0.2)
    with (
        process(run, *options, lease=1.0) as one,
        process(run, *options, lease=1.0) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        for key in "ab":
            begin(one, key, given[:4])
        one.child.send_signal(signal.SIGSTOP)
        try:
            first = taken_over(other, "a", given[4])
            assert first["restored"]
            assert taken_over(other, "b", given[4])["restored"]
            other.step(step("b", given[5], end=True))
            waiting = threads.submit(one.step, step("a", given[5]), step("b", given[5]))
            time.sleep(0.3)
        finally:
            one.child.send_signal(signal.SIGCONT)
        codes = [each.get("error", {}).get("code") for each in waiting.result()[1]["answers"]]
        assert codes == ["elsewhere", "unknown_sequence"]
        assert code_of(one.step(step("a", given[5]))) == (503, "elsewhere")
        answers = [answer_of(other.step(step("a", each))) for each in given[5:]]
        assert answers == sessions_of(run, "a", given)[5:]
        for worker in (other, one):
            assert worker.end()[0] == 0


def test_a_redis_that_comes_back_empty_drops_no_open_sequence(run, server):
    given = rows(9)
    with process(run, "--redis", server.url, "--snapshot-every", 0.2, lease=1.0) as one:
        answers = begin(one, "a", given[:3])
        server.stop()
        answers += [answer_of(one.step(step("a", each))) for each in given[3:5]]
        server.start()
        copied(one)
        answers += [answer_of(one.step(step("a", each))) for each in given[5:7]]
        copied(one)
        one.kill()
        with process(run, "--redis", server.url, lease=1.0) as other:
            first = taken_over(other, "a", given[7])
            assert first["restored"]
            answers += [first["answer"], answer_of(other.step(step("a", given[8])))]
    assert answers == sessions_of(run, "a", given)
