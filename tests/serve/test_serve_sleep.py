"""Workers that were silent for longer than their lease, or whose lease Redis lost."""

import pytest
from redis_servers import copy, read, read_all, sessions_of
from servers import rows

from throughtime.serve.refusals import Refusal
from throughtime.serve.steps import Answer, Step


def test_one_that_slept_does_not_go_on_with_what_others_took(run, team):
    given = rows(6)
    read_all(team.one, "a", given[:3])
    read_all(team.one, "b", given[:3])
    copy(team.one)
    team.sleep()
    assert read(team.other, "a", given[3]).restored
    assert read(team.one, "a", given[3]) == "elsewhere"
    kept = read(team.one, "b", given[3])
    assert (kept.values, kept.restored) == (sessions_of(run, "b", given[:4])[-1], False)
    assert read(team.other, "b", given[4]) == "elsewhere"


def test_what_ended_elsewhere_does_not_go_on_after_sleep(team):
    given = rows(5)
    read_all(team.one, "a", given[:3])
    copy(team.one)
    team.sleep()
    assert read(team.other, "a", given[3], end=True).ended
    assert read(team.one, "a", given[4]) == "unknown_sequence"
    copy(team.one)
    assert team.record_of("a") is None


@pytest.mark.parametrize("end", [False, True])
def test_sleep_within_a_tick_is_noticed_before_its_answers_go_out(team, monkeypatch, end):
    given = rows(5)
    read_all(team.one, "a", given[:3])
    read_all(team.one, "b", given[:3])
    copy(team.one)
    taken = []
    step_rows = team.one._sessions.step

    def sleepy(rows):
        answers = step_rows(rows)
        if rows and not taken:
            team.sleep()
            taken.append(read(team.other, "a", given[3]))
        return answers

    monkeypatch.setattr(team.one._sessions, "step", sleepy)
    outcomes = team.one.run([Step("a", given[3], end=end), Step("b", given[3])])
    assert taken[0].restored
    assert isinstance(outcomes[0], Refusal)
    assert outcomes[0].code == "elsewhere"
    assert isinstance(outcomes[1], Answer)
    assert read(team.other, "a", given[4]).restored is False


def test_a_renewal_whose_answer_was_lost_does_not_hide_that_the_lease_had_lapsed(team):
    given = rows(4)
    read_all(team.one, "a", given[:2])
    copy(team.one)
    team.sleep()
    assert read(team.other, "a", given[2]).restored
    store = team.stores[0]
    store.away = store.forgetful = True
    team.one.renew()
    store.away = False
    assert read(team.one, "a", given[3]) == "elsewhere"


def test_a_redis_that_lost_everything_takes_nothing_from_its_workers(run, team, server):
    given = rows(6)
    read_all(team.one, "a", given[:2])
    copy(team.one)
    with server.client() as client:
        client.flushall()
    # The first one to ask is told to ask again, as its own lease is gone as well.
    team.one.renew()
    assert read(team.other, "a", given[2]) == "store_unavailable"
    assert read(team.other, "a", given[2]) == "elsewhere"
    assert read(team.one, "a", given[2]).values == sessions_of(run, "a", given[:3])[-1]
    copy(team.one)
    assert team.record_of("a") == (team.stores[0].name, team.one.export("a"))
