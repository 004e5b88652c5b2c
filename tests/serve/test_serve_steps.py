"""Steps over HTTP: what a sequence answers, and what its flags do."""

import asyncio

import pytest
from servers import ask, row, rows, step, talk

import throughtime as tt
from throughtime.serve.schemas import StepResponse


def stream_of(run, key, given):
    """What an unbroken stream answers to the rows of one series."""
    stream = tt.Stream(run, key="unique_id")
    return [stream.push({"unique_id": key, **each}) for each in given]


def sessions_of(run, key, given):
    """What unbroken sessions answer."""
    sessions = tt.Sessions(run, slots=1)
    return [sessions.step({key: each})[key] for each in given]


def agree(answer, expected):
    """Whether two answers say the same, numbers to a hundred-thousandth."""
    return answer.keys() == expected.keys() and all(
        answer[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5)
        if isinstance(expected[name], float)
        else answer[name] == expected[name]
        for name in expected
    )


async def all_of(client, key, given):
    """Ask for rows one by one, and return their answers."""
    answers = []
    for place, each in enumerate(given):
        status, body = await ask(client, step(key, each, start=place == 0))
        assert status == 200, body
        answers.append(body["answers"][0]["answer"])
    return answers


@pytest.mark.parametrize("key", ["north", "never seen"])
def test_a_sequence_answers_as_a_stream_does(run, key):
    given = rows(40, gaps=True)

    async def conversation(client, service):
        return await all_of(client, key, given)

    answers = talk(run, conversation)
    assert answers == sessions_of(run, key, given)
    assert all(map(agree, answers, stream_of(run, key, given)))


def test_a_sequence_answers_as_a_stream_does_to_the_last_bit(plain_run):
    given = rows(30, gaps=True)

    async def conversation(client, service):
        return await all_of(client, "north", given)

    assert talk(plain_run, conversation) == stream_of(plain_run, "north", given)


def test_text_is_served(text_run):
    lines = ["the quick brown fox ", "jumps\n", "", "over the lazy dog"]

    async def conversation(client, service):
        return await all_of(client, "t", [{"text": line} for line in lines])

    answers = talk(text_run, conversation)
    assert answers == sessions_of(text_run, "t", [{"text": line} for line in lines])


def test_many_at_once_do_not_disturb_one_another(run):
    """Whatever is read together, each sequence answers as it does alone."""
    given = {f"sequence {number}": rows(8, number, gaps=True) for number in range(25)}

    async def conversation(client, service):
        each = (all_of(client, key, lines) for key, lines in given.items())
        return await asyncio.gather(*each)

    answers = talk(run, conversation)
    for (key, lines), found in zip(given.items(), answers, strict=True):
        assert found == sessions_of(run, key, lines)


def test_rows_of_one_request_are_read_in_order(run):
    """Those of one sequence one after the other, more than are read in one go."""
    first, second = rows(40, 1), rows(40, 2)
    steps = [
        step(key, each, start=place == 0)
        for place in range(40)
        for key, each in (("a", first[place]), ("b", second[place]))
    ]

    async def conversation(client, service):
        return await ask(client, *steps)

    status, body = talk(run, conversation)
    assert status == 200
    StepResponse.model_validate(body)
    assert [each["sequence_id"] for each in body["answers"]] == ["a", "b"] * 40
    answers = [each["answer"] for each in body["answers"]]
    assert answers[0::2] == sessions_of(run, "a", first)
    assert answers[1::2] == sessions_of(run, "b", second)


def test_an_unknown_sequence_is_refused(run):
    async def conversation(client, service):
        status, body = await ask(client, step("a", row(0)))
        return status, body["error"], len(service.engine)

    status, error, count = talk(run, conversation)
    assert (status, error["code"], count) == (404, "unknown_sequence", 0)
    assert "sequence_start" in error["message"]


def test_an_unknown_sequence_begins_where_that_is_allowed(run):
    async def conversation(client, service):
        return [await ask(client, step("a", each)) for each in rows(2)]

    answers = talk(run, conversation, implicit_start=True)
    assert [status for status, _ in answers] == [200, 200]
    assert [body["answers"][0]["started"] for _, body in answers] == [True, False]


def test_start_begins_an_open_sequence_anew(run):
    given = rows(3)

    async def conversation(client, service):
        await all_of(client, "a", rows(5, 7))
        return await all_of(client, "a", given), len(service.engine)

    answers, count = talk(run, conversation)
    assert answers == sessions_of(run, "a", given)
    assert count == 1


def test_a_start_that_can_not_be_read_leaves_the_sequence_as_it_was(run):
    given = rows(4)

    async def conversation(client, service):
        before = await all_of(client, "a", given[:3])
        status, body = await ask(client, step("a", {"ds": "no time", "y": 1}, start=True))
        assert (status, body["error"]["code"]) == (422, "unreadable_row")
        unknown, _ = await ask(client, step("b", {"ds": "no time", "y": 1}, start=True))
        _, body = await ask(client, step("a", given[3]))
        return [*before, body["answers"][0]["answer"]], unknown, len(service.engine)

    answers, unknown, count = talk(run, conversation)
    assert answers == sessions_of(run, "a", given)
    assert (unknown, count) == (422, 1)


def test_end_ends_after_the_answer(run):
    given = rows(2)

    async def conversation(client, service):
        await ask(client, step("a", given[0], start=True))
        status, body = await ask(client, step("a", given[1], end=True))
        return status, body["answers"][0], len(service.engine), await ask(client, step("a", row(9)))

    status, answer, count, (after, _) = talk(run, conversation)
    assert (status, answer["ended"], count, after) == (200, True, 0, 404)
    assert answer["answer"] == sessions_of(run, "a", given)[1]


def test_a_sequence_may_begin_and_end_in_one_step(run):
    async def conversation(client, service):
        return await ask(client, step("a", row(0), start=True, end=True)), len(service.engine)

    (status, body), count = talk(run, conversation)
    assert (status, count) == (200, 0)
    assert (body["answers"][0]["started"], body["answers"][0]["ended"]) == (True, True)


def test_a_row_that_can_not_be_read_holds_up_no_other(run):
    given = rows(3)
    steps = [
        step("a", given[0], start=True),
        step("b", given[0], start=True),
        step("a", {"ds": "2024-01-01 02:00", "y": "much"}),
        step("b", given[1]),
        step("a", given[1]),
        step("c", given[1]),
    ]

    async def conversation(client, service):
        return await ask(client, *steps)

    status, body = talk(run, conversation)
    assert status == 207
    StepResponse.model_validate(body)
    codes = [each.get("error", {}).get("code") for each in body["answers"]]
    assert codes == [None, None, "unreadable_row", None, None, "unknown_sequence"]
    found = [body["answers"][place]["answer"] for place in (0, 4)]
    assert found == sessions_of(run, "a", given[:2])


def test_a_sequence_may_be_named_by_a_number(run):
    async def conversation(client, service):
        first = await ask(client, step(2**64 - 1, row(0), start=True))
        return first, await ask(client, step(str(2**64 - 1), row(1)))

    (one, body), (two, _) = talk(run, conversation)
    assert (one, two) == (200, 200)
    assert body["answers"][0]["sequence_id"] == str(2**64 - 1)


@pytest.mark.parametrize("key", ["a/b", "a b", "größe", "a?b#c", "100%", "x/state", "x/fork"])
def test_any_key_can_be_asked_for_by_its_path(run, key):
    from urllib.parse import quote

    path = f"/v1/sequences/{quote(key, safe='')}"

    async def conversation(client, service):
        await ask(client, step(key, row(0), start=True))
        state = await client.get(f"{path}/state")
        forked = await client.post(f"{path}/fork", json={"new": "new"})
        closed = await client.delete(path)
        loaded = await client.put(
            f"{path}/state",
            content=state.content,
            headers={"Content-Type": "application/octet-stream"},
        )
        listed = await client.get("/v1/sequences")
        statuses = [each.status_code for each in (state, forked, closed, loaded)]
        return statuses, listed.json()["sequences"]

    statuses, listed = talk(run, conversation)
    assert statuses == [200, 204, 204, 204]
    assert listed == sorted([key, "new"])


def test_a_fork_goes_its_own_way(run):
    given = rows(6)

    async def conversation(client, service):
        await all_of(client, "north", given[:4])
        response = await client.post("/v1/sequences/north/fork", json={"new": "what if"})
        taken = await client.post("/v1/sequences/north/fork", json={"new": "what if"})
        gone = await client.post("/v1/sequences/none/fork", json={"new": "other"})
        _, body = await ask(client, step("north", given[4]), step("what if", given[4]))
        return response, taken, gone, [each["answer"] for each in body["answers"]]

    response, taken, gone, (one, two) = talk(run, conversation)
    assert response.status_code == 204
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "sequence_open")
    assert gone.status_code == 404
    assert one == sessions_of(run, "north", given[:5])[4]
    assert {**two, "unique_id": "north"} == one


def test_a_state_goes_on_elsewhere(run):
    given = rows(9, gaps=True)

    async def take(client, service):
        answers = await all_of(client, "north", given[:5])
        return answers, (await client.get("/v1/sequences/north/state")).content

    async def go_on(client, service):
        headers = {"Content-Type": "application/octet-stream"}
        put = await client.put("/v1/sequences/north/state", content=state, headers=headers)
        again = await client.put("/v1/sequences/north/state", content=state, headers=headers)
        answers = []
        for each in given[5:]:
            _, body = await ask(client, step("north", each))
            answers.append(body["answers"][0]["answer"])
        return put.status_code, again.status_code, answers

    first, state = talk(run, take)
    put, again, second = talk(run, go_on)
    assert (put, again) == (204, 409)
    assert first + second == sessions_of(run, "north", given)


def test_pages_list_all_sequences_once(run):
    keys = sorted(f"key {number}" for number in range(25))

    async def conversation(client, service):
        await ask(client, *(step(key, row(0), start=True) for key in reversed(keys)))
        found, after = [], ""
        while after is not None:
            page = (await client.get("/v1/sequences", params={"limit": 10, "after": after})).json()
            assert len(page["sequences"]) <= 10
            assert page["open"] == 25
            found += page["sequences"]
            after = page["next"]
        return found

    assert talk(run, conversation) == keys


def test_there_is_no_more_room_than_slots(run):
    async def conversation(client, service):
        steps = [step(str(number), row(0), start=True) for number in range(1, 5)]
        status, body = await ask(client, *steps)
        refused = await client.post("/v1/step", json={"steps": [step("5", row(0), start=True)]})
        open_ones = [await ask(client, step(str(number), row(1))) for number in (1, 2, 3)]
        await client.delete("/v1/sequences/2")
        after = await ask(client, step("4", row(0), start=True))
        return status, body, refused, open_ones, after

    status, body, refused, open_ones, (after, _) = talk(run, conversation, slots=3)
    assert status == 207
    assert [each.get("error", {}).get("code") for each in body["answers"]] == [*[None] * 3, "full"]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert [each for each, _ in open_ones] == [200, 200, 200]
    assert after == 200


def test_what_nobody_uses_goes_and_is_not_taken_for_new(run):
    async def conversation(client, service):
        await ask(client, step("a", row(0), start=True))
        while len(service.engine):
            await asyncio.sleep(0.05)
        text = (await client.get("/metrics")).text
        return await ask(client, step("a", row(1))), text

    (status, body), text = talk(run, conversation, idle=0.2)
    assert (status, body["error"]["code"]) == (404, "unknown_sequence")
    assert "throughtime_sequences_expired_total 1.0" in text


def test_the_model_says_what_a_row_needs(run):
    async def conversation(client, service):
        return (await client.get("/v1/model")).json()

    body = talk(run, conversation)
    assert body["required"] == ["ds", "y"]
    assert body["fingerprint"] == run.fingerprint
