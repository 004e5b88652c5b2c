"""Sequences that leave a worker and go on in another one, without a seam."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from redis_servers import answer_of, sessions_of
from servers import ask, free_port, process, row, rows, step, talk, wait_until

import throughtime as tt
from throughtime.errors import OptionError
from throughtime.serve import RedisStore, Service
from throughtime.serve.refusals import Refusal


@pytest.mark.slow
def test_a_sequence_goes_on_in_another_process(plain_run, server):
    """Through Redis, when its worker ends; every number is that of an unbroken stream."""
    given = rows(9, gaps=True)
    stream = tt.Stream(plain_run, key="unique_id")
    expected = [stream.push({"unique_id": "north", **each}) for each in given]
    options = ("--redis", server.url)
    with process(plain_run, *options) as one, process(plain_run, *options) as other:
        answers = [
            answer_of(one.step(step("north", each, start=each is given[0]))) for each in given[:4]
        ]
        status, body = other.step(step("north", given[4]))
        assert (status, body["error"]["code"]) == (503, "elsewhere")
        code, err = one.end()
        assert code == 0, err
        assert "1 sequence in Redis" in err
        answers += [answer_of(other.step(step("north", each))) for each in given[4:7]]
        # And by hand, back into a new process, without Redis.
        with other.client() as client, process(plain_run) as third, third.client() as target:
            path = "/v1/sequences/north/state"
            state = client.get(path).content
            assert client.delete("/v1/sequences/north").status_code == 204
            headers = {"Content-Type": "application/octet-stream"}
            assert target.put(path, content=state, headers=headers).status_code == 204
            answers += [answer_of(third.step(step("north", each))) for each in given[7:]]
    assert answers == expected


def test_a_sequence_goes_to_redis_and_comes_back(run, store_of):
    """Where there is room for few, those that have to go are as if they had stayed."""
    given = {f"s{number}": rows(5, number, gaps=True) for number in range(12)}

    async def conversation(client, service):
        answers = {key: [] for key in given}
        for place in range(5):
            for key, lines in given.items():
                _, body = await ask(client, step(key, lines[place], start=place == 0))
                answers[key].append(body["answers"][0]["answer"])
        return answers, len(service.engine)

    answers, count = talk(run, conversation, slots=4, store=store_of(run))
    assert count == 4
    assert answers == {key: sessions_of(run, key, lines) for key, lines in given.items()}


def test_what_nobody_used_comes_back_from_redis(run, store_of):
    given = rows(4)

    async def conversation(client, service):
        answers = []
        for each in given:
            while len(service.engine):
                await asyncio.sleep(0.02)
            answers.append(await ask(client, step("a", each, start=each is given[0])))
        return answers

    answers = talk(run, conversation, idle=0.15, store=store_of(run))
    assert [answer_of(each) for each in answers] == sessions_of(run, "a", given)


def test_a_sequence_is_given_to_one_worker_only(run, store_of):
    """However many ask for it in the same moment; the other one hears where it is."""
    first, second = store_of(run), store_of(run)
    keys = [f"key {number}" for number in range(300)]
    first.put({key: key.encode() for key in keys})

    def take(store):
        parts = [store.take(part.tolist()) for part in np.array_split(keys, 30)]
        return {key for found, _ in parts for key in found}, set().union(
            *(elsewhere for _, elsewhere in parts)
        )

    with ThreadPoolExecutor(2) as threads:
        (one, not_one), (other, not_other) = threads.map(take, (first, second))
    assert sorted([*one, *other]) == sorted(keys)
    assert (not_one, not_other) == (other, one)


def test_what_nobody_takes_is_forgotten(run, store_of):
    store = store_of(run, expiry=1.0)
    store.put({"a": b"x"})
    wait_until(lambda: store.record_of("a") is None)
    assert store.take(["a"]) == ({}, set())


def test_no_run_finds_the_sequences_of_another(run, other_run, store_of):
    store_of(run).put({"a": b"x"})
    assert store_of(other_run).take(["a"]) == ({}, set())
    assert store_of(run).take(["a"]) == ({"a": (b"x", False)}, set())


@pytest.mark.parametrize("content", [b"\x80\x04.", b"\0" * 4000, b"{}"])
def test_what_is_no_state_in_redis_is_refused(run, store_of, content):
    store = store_of(run)
    store.put({"a": content})

    async def conversation(client, service):
        refused = await ask(client, step("a", row(0)), step("b", row(0), start=True))
        return refused, await ask(client, step("a", row(0), start=True))

    (status, body), (after, _) = talk(run, conversation, store=store)
    assert (status, after) == (207, 200)
    assert body["answers"][0]["error"]["code"] == "foreign_state"
    assert "answer" in body["answers"][1]


def test_without_redis_open_sequences_go_on(run, server, store_of):
    """Others are refused until it is back; what has left meanwhile is not lost."""
    given = {key: rows(6, number) for number, key in enumerate("abc")}

    async def conversation(client, service):
        answers = {key: [] for key in given}

        async def one(key, place):
            status, body = await ask(client, step(key, given[key][place], start=place == 0))
            if status == 200:
                answers[key].append(body["answers"][0]["answer"])
            return status

        assert [await one(key, 0) for key in "abc"] == [200] * 3
        server.stop()
        statuses = [await one(key, 1) for key in "cb"]
        refused = await ask(client, step("a", given["a"][1]))
        server.start()
        while (await ask(client, step("none", row(0))))[0] == 503:
            await asyncio.sleep(0.1)
        after = [await one("b", place) for place in (2, 3, 4, 5)]
        return statuses, refused, after, answers

    statuses, (status, body), after, answers = talk(run, conversation, slots=2, store=store_of(run))
    assert statuses == [200, 200]
    assert (status, body["error"]["code"]) == (503, "store_unavailable")
    assert after == [200] * 4
    assert answers["b"] == sessions_of(run, "b", given["b"])


def test_a_redis_that_does_not_answer_takes_little_of_the_time(run, server):
    now, asked = [0.0], []

    def wait():
        asked.append(now[0])
        now[0] += 1.0
        raise OSError("nothing came")

    store = RedisStore(server.url, run.fingerprint, expiry=60.0, clock=lambda: now[0])
    for _ in range(100):
        with pytest.raises(Refusal, match="expected to ask Redis"):
            store._asked(wait)
        now[0] += 0.25
    store.close()
    assert len(asked) > 3
    assert min(np.diff(asked)) >= 6


def test_an_address_without_redis_is_one_line(run):
    with pytest.raises(OptionError, match="expected the address of a Redis") as refused:
        RedisStore(f"redis://:secret@127.0.0.1:{free_port()}/0", run.fingerprint, expiry=60.0)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "redis://127.0.0.1:port"])
def test_what_is_no_address_is_one_line(run, url):
    with pytest.raises(OptionError, match="expected the address of a Redis"):
        RedisStore(url, run.fingerprint, expiry=60.0)


@pytest.mark.parametrize("options", [{"expiry": 0.5}, {"expiry": 60.0, "lease": 0.0}])
def test_seconds_that_can_not_be_are_one_line(run, options):
    with pytest.raises(OptionError, match=r"expected an? \w+ (of 1|above 0)"):
        RedisStore("redis://127.0.0.1", run.fingerprint, **options)


def test_a_snapshot_and_a_store_do_not_go_together(run, tmp_path, store_of):
    with pytest.raises(OptionError, match="a snapshot or a store, got both"):
        Service(run, snapshot=tmp_path / "kept", store=store_of(run))
