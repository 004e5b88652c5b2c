"""Sequences that leave a worker and go on in another one, without a seam."""

import asyncio
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from servers import SECONDS, ask, free_port, process, row, rows, step, talk, wait_until

import throughtime as tt
from throughtime.errors import OptionError
from throughtime.serve import RedisStore, Service
from throughtime.serve.engine import Engine
from throughtime.serve.refusals import Refusal
from throughtime.serve.steps import Answer, Step


class Redis:
    """A Redis of its own, on this machine alone."""

    def __init__(self, folder):
        self.port = free_port()
        self.folder = folder
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        self.child = subprocess.Popen(
            [
                *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_until(self.answers)

    def answers(self):
        import redis

        with redis.Redis.from_url(self.url) as client:
            try:
                return client.ping()
            except redis.ConnectionError:
                return False

    def stop(self):
        self.child.terminate()
        self.child.wait(timeout=SECONDS)


@pytest.fixture
def server(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    pytest.importorskip("redis", reason="needs the package redis")
    started = Redis(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def store_of(server):
    """Makes a store of a run; all are closed at the end."""
    made = []

    def make(run, **options):
        made.append(RedisStore(server.url, run.fingerprint, **{"expiry": 60.0, **options}))
        return made[-1]

    yield make
    for store in made:
        store.close()


class Shelf:
    """A store in memory; a forgetful one takes what it gets while nobody hears of it."""

    def __init__(self, *, forgetful=False):
        self.states = {}
        self.away = False
        self.forgetful = forgetful

    def _check(self):
        if self.away:
            raise Refusal("store_unavailable", "expected to ask the shelf, got nothing")

    def take(self, keys):
        self._check()
        return {key: self.states.pop(key) for key in keys if key in self.states}

    def put(self, states):
        if not self.away or self.forgetful:
            self.states |= states
        self._check()


def sessions_of(run, key, given):
    sessions = tt.Sessions(run, slots=1)
    return [sessions.step({key: each})[key] for each in given]


def answer_of(result):
    status, body = result
    assert status == 200, body
    return body["answers"][0]["answer"]


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
        assert other.step(step("north", given[4]))[0] == 404
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
    """However many ask for it in the same moment."""
    first, second = store_of(run), store_of(run)
    keys = [f"key {number}" for number in range(300)]
    first.put({key: key.encode() for key in keys})

    def take(store):
        return [key for part in np.array_split(keys, 30) for key in store.take(part.tolist())]

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(take, (first, second))
    assert sorted([*one, *other]) == sorted(keys)
    assert first.take(keys) == {}


def test_what_nobody_takes_is_forgotten(run, store_of):
    store = store_of(run, expiry=1.0)
    store.put({"a": b"x"})
    wait_until(lambda: not store._client.exists(store._prefix + "a"))
    assert store.take(["a"]) == {}


def test_no_run_finds_the_sequences_of_another(run, other_run, store_of):
    store_of(run).put({"a": b"x"})
    assert store_of(other_run).take(["a"]) == {}
    assert store_of(run).take(["a"]) == {"a": b"x"}


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"\0" * 4000, b"{}"])
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


def test_an_address_without_redis_is_one_line(run):
    with pytest.raises(OptionError, match="expected the address of a Redis") as refused:
        RedisStore(f"redis://:secret@127.0.0.1:{free_port()}/0", run.fingerprint, expiry=60.0)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "redis://127.0.0.1:port"])
def test_what_is_no_address_is_one_line(run, url):
    with pytest.raises(OptionError, match="expected the address of a Redis"):
        RedisStore(url, run.fingerprint, expiry=60.0)


def test_a_snapshot_and_a_store_do_not_go_together(run, tmp_path):
    with pytest.raises(OptionError, match="a snapshot or a store, got both"):
        Service(run, snapshot=tmp_path / "kept", store=Shelf())


@pytest.mark.parametrize("seed", range(12))
def test_whatever_comes_and_goes_answers_are_those_of_an_unbroken_sequence(run, seed):
    """Random steps, starts, ends, forks and absences of the store, with hardly any room."""
    random = np.random.default_rng(seed)
    shelf = Shelf(forgetful=seed % 2 == 1)
    engine = Engine(run, slots=int(random.integers(1, 5)), idle=None, store=shelf)
    told: dict[str, list] = {}
    hour = 0
    for _ in range(60):
        shelf.away = random.random() < 0.15
        hour += 1
        steps = []
        for _ in range(int(random.integers(1, 7))):
            cells = row(hour if random.random() < 0.9 else -1)
            if random.random() < 0.1:
                cells["y"] = "much"
            start, end = random.random() < 0.3, random.random() < 0.2
            steps.append(Step(f"s{random.integers(6)}", cells, start, end))
        for asked, outcome in zip(steps, engine.run(steps), strict=True):
            history = told.get(asked.key)
            if isinstance(outcome, Refusal):
                code = outcome.code
                assert code in ("unknown_sequence", "unreadable_row", "store_unavailable")
                if code == "unknown_sequence":
                    assert history is None
                    assert not asked.start
                continue
            assert isinstance(outcome, Answer)
            assert outcome.started == (asked.start or history is None)
            if asked.start:
                history = told[asked.key] = []
            assert history is not None
            history.append(asked.row)
            assert outcome.values == sessions_of(run, asked.key, history)[-1]
            if asked.end:
                del told[asked.key]
    shelf.away = False
    engine.drain()
    assert sorted(shelf.states) == sorted(told)
