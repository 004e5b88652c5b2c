"""Copies of open sequences in a store, and whose each sequence is."""

import asyncio
from itertools import chain

import pytest
from redis_servers import Team, answer_of, copy, read, read_all, sessions_of
from servers import ask, row, rows, step, talk, wait_until

from throughtime.serve.engine import Engine
from throughtime.serve.refusals import Refusal
from throughtime.serve.steps import Answer, Step


def test_another_one_goes_on_from_the_copy_of_one_that_died(run, team):
    given = rows(8, gaps=True)
    answers = read_all(team.one, "a", given[:4])
    copy(team.one)
    read(team.one, "a", given[4])
    assert read(team.other, "a", given[4]) == "elsewhere"
    team.stores[0].lapse()
    first = read(team.other, "a", given[4])
    assert (first.restored, first.started) == (True, False)
    rest = [read(team.other, "a", each) for each in given[5:]]
    assert not any(each.restored for each in rest)
    assert answers + [each.values for each in (first, *rest)] == sessions_of(run, "a", given)


@pytest.mark.parametrize("copied", [False, True])
def test_what_ended_does_not_come_back(team, copied):
    given = rows(3)
    read_all(team.one, "a", given[:2])
    read_all(team.one, "b", given[:2])
    if copied:
        copy(team.one)
    assert read(team.one, "a", given[2], end=True).ended
    team.one.close("b")
    copy(team.one)
    team.stores[0].lapse()
    for key in "ab":
        assert read(team.other, key, given[2]) == "unknown_sequence"


def test_what_ended_while_the_store_was_away_is_forgotten_later(team):
    given = rows(3)
    read_all(team.one, "a", given[:2])
    copy(team.one)
    team.stores[0].away = True
    assert read(team.one, "a", given[2], end=True).ended
    assert read(team.one, "a", given[2]) == "store_unavailable"
    team.stores[0].away = False
    assert read(team.one, "a", given[2]) == "unknown_sequence"
    assert team.record_of("a") is None


@pytest.mark.parametrize("copied", [False, True])
def test_old_bytes_of_a_sequence_that_began_anew_do_not_come_back(run, team, copied):
    given = rows(3)
    read_all(team.one, "a", rows(4, 7))
    copy(team.one)
    assert read(team.one, "a", given[0], start=True).started
    if copied:
        copy(team.one)
    team.stores[0].lapse()
    outcome = read(team.other, "a", given[1])
    if copied:
        assert outcome.values == sessions_of(run, "a", given[:2])[-1]
    else:
        assert outcome == "unknown_sequence"


def test_a_start_that_can_not_be_read_leaves_the_copy_as_it_was(run, team):
    given = rows(3)
    read_all(team.one, "a", given[:2])
    copy(team.one)
    assert read(team.one, "a", {"ds": "no time", "y": 1}, start=True) == "unreadable_row"
    team.stores[0].lapse()
    assert read(team.other, "a", given[2]).values == sessions_of(run, "a", given)[-1]


@pytest.mark.parametrize("arrives", [True, False])
def test_what_may_have_been_handed_on_waits_until_that_is_known(
    run, store_of, monkeypatch, arrives
):
    team = Team(run, store_of, slots=1)
    store, given = team.stores[0], rows(5)
    read_all(team.one, "a", given[:3])
    write = store._write

    def lose(keys, args):
        # An owner and bytes: it is copied. No owner, but bytes: it is handed on.
        if args[3] == store.name or arrives:
            write(keys=keys, args=args)
        if args[3] != store.name:
            raise OSError("cut off")
        return []

    monkeypatch.setattr(store, "_write", lose)
    read(team.one, "b", given[0], start=True)
    monkeypatch.setattr(store, "_write", write)
    store.away = True
    assert read(team.one, "a", given[3]) == "store_unavailable"
    if arrives:
        answer = read(team.other, "a", given[3])
        assert (answer.values, answer.restored) == (sessions_of(run, "a", given[:4])[-1], False)
    else:
        assert read(team.other, "a", given[3]) == "elsewhere"
    store.away = False
    if arrives:
        assert read(team.one, "a", given[3]) == "elsewhere"
    else:
        answer = read(team.one, "a", given[3])
        assert (answer.values, answer.restored) == (sessions_of(run, "a", given[:4])[-1], False)


def test_nothing_begins_under_a_name_that_another_one_has(team):
    given = rows(3)
    read_all(team.one, "a", given[:1])
    read_all(team.other, "b", given[:1])
    assert read(team.other, "a", given[0], start=True) == "elsewhere"
    content = team.other.export("b")
    for begin in (lambda: team.other.fork("b", "a"), lambda: team.other.load("a", content)):
        with pytest.raises(Refusal) as refused:
            begin()
        assert (refused.value.code, refused.value.status) == ("elsewhere", 503)
        assert refused.value.retry_after
    assert isinstance(read(team.one, "a", given[1]), Answer)


def test_a_fork_and_a_state_are_copied_as_well(run, team):
    given = rows(4)
    read_all(team.one, "a", given[:2])
    team.one.fork("a", "b")
    team.one.load("c", team.one.export("a"))
    copy(team.one)
    team.stores[0].lapse()
    expected = sessions_of(run, "a", given[:3])[-1]
    for key in "bc":
        answer = read(team.other, key, given[2])
        assert answer.restored
        assert {**answer.values, "unique_id": "a"} == expected


def test_a_copy_that_has_not_answered_says_so_wherever_it_goes(run, store_of):
    """And so does its fork."""
    team = Team(run, store_of, slots=2)
    given = rows(3)
    read_all(team.one, "a", given[:2])
    copy(team.one)
    team.stores[0].lapse()
    assert read(team.other, "a", {"ds": "no time", "y": 1}) == "unreadable_row"
    team.other.fork("a", "b")
    team.other.drain()
    third = Engine(run, slots=1, idle=None, store=store_of(run))
    for key in "ab":
        answer = read(third, key, given[2])
        assert answer.restored
        assert {**answer.values, "unique_id": "a"} == sessions_of(run, "a", given)[-1]


def test_only_what_was_stepped_is_copied_again(team):
    read_all(team.one, "a", rows(2))
    read_all(team.one, "b", rows(2))
    assert sorted(chain(*team.one.uncopied())) == ["a", "b"]
    copy(team.one)
    assert team.one.uncopied() == []
    read(team.one, "b", row(5))
    assert team.one.uncopied() == [["b"]]


def test_copies_are_made_in_pieces(run, store_of):
    team = Team(run, store_of, slots=300)
    team.one.run([Step(f"key {number}", row(0), start=True) for number in range(250)])
    pieces = team.one.uncopied()
    assert max(map(len, pieces)) <= 100
    assert len(set(chain(*pieces))) == 250


def test_a_copy_that_could_not_be_made_is_made_later(team):
    read_all(team.one, "a", rows(2))
    team.stores[0].away = True
    with pytest.raises(Refusal, match="expected to ask Redis"):
        copy(team.one)
    team.stores[0].away = False
    copy(team.one)
    assert team.record_of("a") == (team.stores[0].name, team.one.export("a"))


def test_open_sequences_are_copied_while_they_are_served(run, store_of):
    """What is not stepped is there for as long as its worker is."""
    store, other = store_of(run, lease=0.6, expiry=1.0), store_of(run)

    async def conversation(client, service):
        await ask(client, step("a", row(0), start=True))
        while not (store.record_of("a") or ("", b""))[1]:
            await asyncio.sleep(0.02)
        before = (await client.get("/metrics")).text
        await asyncio.sleep(2.5)
        status, body = await ask(client, step("a", row(1)))
        assert (status, body["answers"][0]["restored"]) == (200, False)
        return before, store.record_of("a"), other.take(["a"])

    before, (owner, _), taken = talk(run, conversation, store=store, snapshot_every=0.1)
    assert 'throughtime_snapshots_total{result="written"}' in before
    assert (owner, taken) == (store.name, ({}, {"a"}))


def test_failing_copies_are_told_once(run, store_of):
    store, told = store_of(run), []

    async def conversation(client, service):
        await ask(client, step("a", row(0), start=True))
        store.away = True
        while 'result="failed"} 3' not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.02)
        answer = await ask(client, step("a", row(1)))
        store.away = False
        return answer

    answer = talk(run, conversation, store=store, snapshot_every=0.05, tell=told.append)
    assert answer_of(answer) == sessions_of(run, "a", [row(0), row(1)])[-1]
    assert [line for line in told if "copy" in line] == told[:1]
    wait_until(lambda: store.record_of("a")[0] == "")
