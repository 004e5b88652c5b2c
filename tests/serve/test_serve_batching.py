"""Micro-batching: what is read together, who waits for how long, and what is refused instead."""

import asyncio
import threading
import time

import numpy as np
import pytest
from servers import SECONDS, ask, row, step, talk

from throughtime.errors import OptionError
from throughtime.serve import Limits
from throughtime.serve.batcher import IN_A_ROW, MOST, Batcher
from throughtime.serve.metrics import Metrics
from throughtime.serve.refusals import Refusal
from throughtime.serve.steps import Answer, Step


class Slow:
    """An engine whose reads last until they are let go; it notes what was read together."""

    def __init__(self):
        self.reads = []
        self.gate = threading.Semaphore(0)

    def run(self, steps):
        self.reads.append([each.key for each in steps])
        assert self.gate.acquire(timeout=SECONDS)
        return [Answer({"key": each.key, **each.row}, False, False) for each in steps]

    def let_go(self, times=1000):
        for _ in range(times):
            self.gate.release()


def steps(*keys):
    return [Step(key, {"number": number}) for number, key in enumerate(keys)]


def batched(conversation, **options):
    """Let a conversation use a batcher over a slow engine."""
    limits = options.pop("limits", Limits(deadline=SECONDS))

    async def whole():
        engine = Slow()
        batcher = Batcher(lambda given: engine.run(given), limits, Metrics(), **options)
        batcher.start()
        try:
            async with asyncio.timeout(SECONDS):
                return await conversation(batcher, engine)
        finally:
            engine.let_go()
            await batcher.stop()
            batcher.close()

    return asyncio.run(whole())


async def until(holds):
    while not holds():
        await asyncio.sleep(0.005)


def test_one_that_comes_alone_is_read_at_once_and_the_next_are_read_together():
    async def conversation(batcher, engine):
        first = batcher.submit(steps("a"))
        await until(lambda: engine.reads)
        rest = [batcher.submit(steps(key)) for key in "bcda"]
        await asyncio.sleep(0.05)
        reads = [list(each) for each in engine.reads]
        engine.let_go()
        await asyncio.gather(first, *rest)
        return reads, engine.reads

    before, after = batched(conversation)
    assert before == [["a"]]
    assert after == [["a"], ["b", "c", "d", "a"]]


def test_rows_that_come_within_the_delay_are_read_together():
    async def conversation(batcher, engine):
        engine.let_go()
        given = []
        for key in "abc":
            given.append(batcher.submit(steps(key)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*given)
        return engine.reads

    assert batched(conversation, max_delay=2.0) == [["a", "b", "c"]]


def test_as_many_as_fit_do_not_wait_out_the_delay():
    async def conversation(batcher, engine):
        engine.let_go()
        began = time.monotonic()
        await batcher.submit(steps(*(str(number) for number in range(MOST))))
        return time.monotonic() - began

    assert batched(conversation, max_delay=SECONDS) < SECONDS / 2


def test_a_long_request_of_one_sequence_lets_others_in_between():
    async def conversation(batcher, engine):
        engine.let_go()
        long = batcher.submit(steps(*("a" * 100)))
        short = batcher.submit(steps("b"))
        await short
        assert not long.done()
        return [each.values["number"] for each in await long], engine.reads

    numbers, reads = batched(conversation)
    assert numbers == list(range(100))
    assert reads[0] == ["a"] * IN_A_ROW + ["b"]


@pytest.mark.parametrize("seed", range(5))
def test_each_gets_its_own_answers_in_its_own_order(seed):
    """Whoever asks for how much of what, in whatever order it is read."""
    random = np.random.default_rng(seed)
    asked = [
        [f"k{key}" for key in random.integers(0, 7, random.integers(1, 60))] for _ in range(40)
    ]

    async def conversation(batcher, engine):
        engine.let_go(10_000)
        given = []
        for keys in asked:
            given.append(batcher.submit(steps(*keys)))
            if random.random() < 0.3:
                await asyncio.sleep(0)
        return await asyncio.gather(*given)

    for keys, outcomes in zip(asked, batched(conversation), strict=True):
        expected = [{"key": key, "number": number} for number, key in enumerate(keys)]
        assert [each.values for each in outcomes] == expected


def test_more_than_may_wait_is_refused_at_once():
    async def conversation(batcher, engine):
        first = batcher.submit(steps("a"))
        await until(lambda: engine.reads)
        waiting = batcher.submit(steps(*"bcd"))
        with pytest.raises(Refusal, match="expected room for 3 steps") as refused:
            batcher.submit(steps(*"efg"))
        last = batcher.submit(steps("e", "f"))
        engine.let_go()
        await asyncio.gather(first, waiting, last)
        return refused.value

    refusal = batched(conversation, limits=Limits(waiting=5, deadline=SECONDS))
    assert (refusal.code, refusal.status, refusal.headers()) == ("busy", 503, {"Retry-After": "1"})


def test_who_gets_no_turn_in_time_is_refused_and_not_read():
    async def conversation(batcher, engine):
        first = batcher.submit(steps("a"))
        await until(lambda: engine.reads)
        late = batcher.submit(steps("b"))
        in_line = asyncio.ensure_future(batcher.submit_in_turn(steps("c")))
        await asyncio.sleep(0.3)
        engine.let_go()
        await first
        [outcome] = await late
        with pytest.raises(Refusal) as refused:
            await in_line
        return outcome, refused.value, engine.reads

    outcome, refused, reads = batched(conversation, limits=Limits(waiting=1, deadline=0.1))
    assert (outcome.code, refused.code) == ("late", "late")
    assert reads == [["a"]]


def test_those_who_wait_for_room_are_let_in_in_order():
    async def conversation(batcher, engine):
        first = batcher.submit(steps("a"))
        await until(lambda: engine.reads)
        batcher.submit(steps("b"))
        in_line = [asyncio.ensure_future(batcher.submit_in_turn(steps(key))) for key in "cdef"]
        await asyncio.sleep(0)
        in_line[1].cancel()
        engine.let_go()
        await first
        for place in (0, 2, 3):
            await (await in_line[place])
        return engine.reads

    reads = batched(conversation, limits=Limits(waiting=1, deadline=SECONDS))
    assert [key for read in reads for key in read] == list("abcef")


def test_what_waits_at_the_end_is_read_and_no_more_is_taken():
    async def conversation(batcher, engine):
        given = batcher.submit(steps(*"aabc"))
        engine.let_go()
        ending = asyncio.ensure_future(batcher.stop())
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="one that ends"):
            batcher.submit(steps("d"))
        with pytest.raises(Refusal, match="one that ends"):
            await batcher.submit_in_turn(steps("d"))
        await ending
        return [each.values["number"] for each in given.result()]

    assert batched(conversation) == [0, 1, 2, 3]


def test_a_defect_is_said_to_those_it_hit_and_others_go_on(caplog):
    async def conversation(batcher, engine):
        engine.run, run = None, engine.run
        [broken] = await batcher.submit(steps("a"))
        engine.run = run
        engine.let_go()
        [whole] = await batcher.submit(steps("a"))
        return broken, whole

    broken, whole = batched(conversation)
    assert (broken.code, broken.status) == ("defect", 500)
    assert isinstance(whole, Answer)
    assert "failed" in caplog.text


def test_a_server_that_is_busy_says_so_over_http(run):
    async def conversation(client, service):
        gate = threading.Event()
        busy = asyncio.ensure_future(service.batcher.call(gate.wait, SECONDS))
        read = asyncio.ensure_future(ask(client, step("a", row(0), start=True)))
        await asyncio.sleep(0.2)
        waits = asyncio.ensure_future(ask(client, step("b", row(0), start=True)))
        await until(lambda: service.batcher.waiting == 1)
        response = await client.post("/v1/step", json={"steps": [step("c", row(0), start=True)]})
        gate.set()
        await busy
        return response, await asyncio.gather(read, waits)

    response, answers = talk(run, conversation, limits=Limits(waiting=1, deadline=SECONDS))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert [status for status, _ in answers] == [200, 200]


@pytest.mark.parametrize("name", ["body", "waiting", "deadline", "grace"])
def test_limits_are_above_zero(name):
    with pytest.raises(OptionError, match=f"expected {name} above 0"):
        Limits(**{name: 0 if isinstance(getattr(Limits, name), int) else 0.0})
