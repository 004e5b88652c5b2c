"""What the tests of several workers share: a Redis of their own, and stores and engines in it."""

import shutil
import subprocess

import pytest
from servers import SECONDS, free_port, wait_until

import throughtime as tt
from throughtime.serve import RedisStore
from throughtime.serve.engine import Engine
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

    def client(self):
        import redis

        return redis.Redis.from_url(self.url)

    def answers(self):
        import redis

        with self.client() as client:
            try:
                return client.ping()
            except redis.ConnectionError:
                return False

    def stop(self):
        self.child.terminate()
        self.child.wait(timeout=SECONDS)


class Worker(RedisStore):
    """A store whose worker can be cut off, and can die.

    Attributes:
        away: whether it gets no answer.
        forgetful: whether Redis hears it all the same while it is away.
        later: seconds that its clock goes ahead.
    """

    away = False
    forgetful = False
    later = 0.0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        clock = self._clock
        self._clock = lambda: clock() + self.later

    def _asked(self, ask):
        def cut_off():
            if self.forgetful:
                ask()
            raise OSError("cut off")

        # The next attempt is not put off: no test has to wait for it.
        self._again_at = -float("inf")
        return super()._asked(cut_off if self.away else ask)

    def _record(self, key):
        return f"{self._prefix}sequence:{key}"

    def record_of(self, key):
        """The owner and the bytes of a sequence, or None."""
        found = self._client.hgetall(self._record(key))
        return (found[b"owner"].decode(), found[b"bytes"]) if found else None

    def seconds_of(self, key):
        """After how many seconds a sequence is forgotten."""
        return self._client.pttl(self._record(key)) / 1000

    def lapse(self):
        """Let its lease be over, as if it had been silent for that long."""
        self._client.delete(self._lease_of(self.name))


def start_redis(folder):
    """A Redis that the test must stop, or a skipped test."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    pytest.importorskip("redis", reason="needs the package redis")
    return Redis(folder)


def sessions_of(run, key, given):
    """What an unbroken sequence answers."""
    sessions = tt.Sessions(run, slots=1)
    return [sessions.step({key: each})[key] for each in given]


def answer_of(result):
    """The answer of a request of one step."""
    status, body = result
    assert status == 200, body
    return body["answers"][0]["answer"]


def read(engine, key, cells, **flags):
    """The answer to one row, or the code of its refusal."""
    [outcome] = engine.run([Step(key, cells, **flags)])
    return outcome if isinstance(outcome, Answer) else outcome.code


def read_all(engine, key, given):
    return [read(engine, key, each, start=each is given[0]).values for each in given]


def copy(engine):
    for keys in engine.uncopied():
        engine.copy(keys)


class Team:
    """Two engines that share a store."""

    def __init__(self, run, store_of, **options):
        self.stores = [store_of(run, lease=600.0, expiry=7200.0) for _ in range(2)]
        options = {"slots": 4, "idle": None, **options}
        self.one, self.other = (Engine(run, store=store, **options) for store in self.stores)

    def sleep(self):
        """Let the first one sleep for longer than its lease."""
        self.stores[0].lapse()
        self.stores[0].later += 600.0

    def record_of(self, key):
        return self.stores[0].record_of(key)
