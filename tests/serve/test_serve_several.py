"""Several workers that share a store, of which some die and some sleep, and no sequence suffers."""

from contextlib import suppress

import numpy as np
import pytest
from servers import row

import throughtime as tt
from throughtime.serve.engine import Engine
from throughtime.serve.refusals import Refusal
from throughtime.serve.steps import Answer, Step

KEYS = [f"s{number}" for number in range(6)]


class World:
    """Engines that share a store, and what sequences must answer.

    Attributes:
        told: by key, the rows that were answered since the sequence began.
        at_risk: sequences whose worker has died or slept since their last answer.
        reached: by key, the state that these rows lead to.
        states: rows that lead to each state that a sequence was in.
    """

    def __init__(self, run, store_of, random):
        self.run = run
        self.store_of = store_of
        self.random = random
        self.told = {}
        self.at_risk = set()
        self.reached = {}
        self.states = {}
        self.stores = []
        self.engines = []
        self.silent = set()
        for _ in range(3):
            self.add()

    def add(self):
        self.stores.append(self.store_of(self.run, lease=600.0, expiry=7200.0))
        slots = int(self.random.integers(1, 5))
        self.engines.append(Engine(self.run, slots=slots, idle=None, store=self.stores[-1]))

    def silence(self, which):
        """Let a lease be over, which every worker of this world has made its peace with before."""
        store = self.stores[which]
        store.away = False
        self.engines[which].expire()
        self.at_risk |= {key for key in KEYS if (self.record_of(key) or [None])[0] == store.name}
        store.lapse()
        store.later += store.lease
        self.silent.add(store.name)

    def kill(self, which):
        self.silence(which)
        del self.stores[which], self.engines[which]
        self.add()

    def wake(self, which):
        """Who slept is not cut off as well: then it could not know what was taken from it."""
        store = self.stores[which]
        store.away = store.away and store.name not in self.silent
        self.silent.discard(store.name)

    def copy(self, which):
        self.wake(which)
        with suppress(Refusal):
            for keys in self.engines[which].uncopied():
                self.engines[which].copy(keys)

    def record_of(self, key):
        return self.stores[0].record_of(key)

    def step(self, which, steps):
        store = self.stores[which]
        self.wake(which)
        before = {key: self.record_of(key) for key in KEYS}
        for asked, outcome in zip(steps, self.engines[which].run(steps), strict=True):
            record = before[asked.key]
            if isinstance(outcome, Refusal):
                self.check_refusal(store, asked, outcome.code, record)
            else:
                self.check_answer(asked, outcome, record)
        for asked in steps:
            owner, _ = self.record_of(asked.key) or (None, None)
            if asked.key in self.told and asked.key not in self.at_risk and not store.away:
                alive = {each.name for each in self.stores} - self.silent
                assert owner in {"", *alive}

    def check_refusal(self, store, asked, code, record):
        owner, content = record or (None, b"")
        if code == "unknown_sequence":
            assert not asked.start
            gone = asked.key in self.at_risk and not content
            assert asked.key not in self.told or gone
            self.told.pop(asked.key, None)
        elif code == "elsewhere":
            assert owner in {each.name for each in self.stores} - self.silent - {store.name}
        elif code == "store_unavailable":
            assert store.away
        else:
            assert code == "unreadable_row"

    def check_answer(self, asked, answer, record):
        assert isinstance(answer, Answer)
        assert answer.started == asked.start
        if answer.started:
            assert not answer.restored
            history = ()
        elif answer.restored:
            history = self.states[asked.key, record[1]]
            assert asked.key in self.at_risk or record[1] == self.reached[asked.key]
        else:
            history = self.told[asked.key]
        history = self.told[asked.key] = (*history, tuple(asked.row.items()))
        sessions = tt.Sessions(self.run, slots=1)
        for cells in history:
            expected = sessions.step({asked.key: dict(cells)})[asked.key]
        assert answer.values == expected
        self.reached[asked.key] = sessions.export(asked.key)
        self.states[asked.key, self.reached[asked.key]] = history
        self.at_risk.discard(asked.key)
        if asked.end:
            del self.told[asked.key]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_answers_are_those_of_an_unbroken_sequence(run, store_of, seed):
    """Random steps, starts, ends, absences of the store, deaths and sleep, with hardly any room."""
    random = np.random.default_rng(seed)
    world = World(run, store_of, random)
    for hour in range(80):
        which = int(random.integers(3))
        chance = random.random()
        if chance < 0.05:
            world.kill(which)
        elif chance < 0.1:
            world.silence(which)
        elif chance < 0.25:
            world.copy(which)
        elif chance < 0.35:
            store = world.stores[which]
            store.away, store.forgetful = not store.away, random.random() < 0.5
        steps = []
        for _ in range(int(random.integers(1, 7))):
            cells = row(hour if random.random() < 0.9 else -1)
            if random.random() < 0.1:
                cells["y"] = "much"
            start, end = random.random() < 0.25, random.random() < 0.15
            steps.append(Step(str(random.choice(KEYS)), cells, start, end))
        world.step(int(random.integers(3)), steps)
    for store, engine in zip(world.stores, world.engines, strict=True):
        store.away = False
        engine.drain()
    for key in world.told.keys() - world.at_risk:
        owner, content = world.record_of(key)
        assert content == world.reached[key]
        # One whose answer to a worker was lost is that worker's, which never knew.
        assert owner in {"", *(store.name for store in world.stores)}
    for key in KEYS:
        assert key in world.told or world.record_of(key) is None
