"""WebSockets: answers in order, back-pressure, and how a stream ends."""

import asyncio
import json

import pytest
from servers import Socket, row, rows, step, talk

import throughtime as tt
from throughtime.serve import Limits
from throughtime.serve.limits import WINDOW
from throughtime.serve.schemas import StepResponse


def test_messages_are_answered_in_order(run):
    """Messages that did not wait for the answer to the last one, too."""
    given = rows(30, gaps=True)

    async def conversation(client, service):
        stream = Socket(service)
        assert (await stream.next())["type"] == "websocket.accept"
        for place, each in enumerate(given):
            stream.send(step("a", each, start=place == 0))
        answers = [await stream.next() for _ in given]
        await stream.leave()
        return answers

    answers = talk(run, conversation)
    for answer in answers:
        StepResponse.model_validate(answer)
    sessions = tt.Sessions(run, slots=1)
    expected = [sessions.step({"a": each})["a"] for each in given]
    assert [answer["answers"][0]["answer"] for answer in answers] == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "malformed"),
        ("{", "malformed"),
        ("[" * 50_000, "malformed"),
        ("{}", "invalid"),
        ('{"steps": []}', "invalid"),
        (json.dumps({"steps": [step("a", {"ds": [1]})]}), "invalid"),
    ],
)
def test_a_message_that_is_none_is_answered_by_its_error(run, text, code):
    async def conversation(client, service):
        stream = Socket(service)
        await stream.next()
        stream.send_text(text)
        stream.send(step("a", row(0), start=True))
        found = await stream.next(), await stream.next()
        await stream.leave()
        return found

    error, answer = talk(run, conversation)
    assert error["error"]["code"] == code
    assert "\n" not in error["error"]["message"]
    assert answer["answers"][0]["started"]


def test_a_step_that_is_refused_is_among_the_answers(run):
    async def conversation(client, service):
        stream = Socket(service)
        await stream.next()
        stream.send(step("a", row(0)))
        found = await stream.next()
        await stream.leave()
        return found

    [answer] = talk(run, conversation)["answers"]
    assert answer["error"]["code"] == "unknown_sequence"


def test_bytes_end_the_stream(run):
    async def conversation(client, service):
        stream = Socket(service)
        await stream.next()
        stream.send(step("a", row(0), start=True))
        stream.sent.put_nowait({"type": "websocket.receive", "bytes": b"{}"})
        found = await stream.next(), await stream.next()
        await stream.task
        return found

    answer, end = talk(run, conversation)
    assert answer["answers"][0]["started"]
    assert (end["type"], end["code"]) == ("websocket.close", 1003)


def test_a_silent_client_is_let_go(run):
    async def conversation(client, service):
        stream = Socket(service)
        await stream.next()
        end = await stream.next()
        await stream.task
        return end

    end = talk(run, conversation, limits=Limits(quiet=0.1))
    assert (end["type"], end["code"]) == ("websocket.close", 1008)


def test_a_client_that_takes_no_answers_is_let_go(run):
    async def conversation(client, service):
        stream = Socket(service, takes=2)
        for hour in range(4):
            stream.send(step("a", row(hour), start=hour == 0))
        await stream.task
        return stream.came.qsize(), len(service.engine)

    assert talk(run, conversation, limits=Limits(patience=0.1)) == (2, 1)


def test_no_more_is_read_than_may_wait_for_an_answer(run):
    """A client that sends and sends is held up, and nothing is lost."""
    count = 3 * WINDOW

    async def conversation(client, service):
        stream = Socket(service, takes=1)
        for hour in range(count):
            stream.send(step("a", row(hour), start=hour == 0))
        await asyncio.sleep(0.5)
        read = stream.read
        await stream.next()
        answers = [await stream.next() for _ in range(count)]
        await stream.leave()
        return read, answers

    read, answers = talk(run, conversation)
    assert WINDOW <= read <= WINDOW + 6
    assert len(answers) == count
    assert all("answer" in answer["answers"][0] for answer in answers)


def test_many_wait_their_turn_where_there_is_no_room(run):
    """Streams wait where a request would be refused; each is let in."""

    async def conversation(client, service):
        streams = [Socket(service) for _ in range(12)]
        for number, stream in enumerate(streams):
            await stream.next()
            for hour in range(10):
                stream.send(step(f"{number}", row(hour), start=hour == 0))
        answers = [[await stream.next() for _ in range(10)] for stream in streams]
        for stream in streams:
            await stream.leave()
        return answers

    answers = talk(run, conversation, limits=Limits(waiting=3))
    assert all("answer" in each["answers"][0] for answer in answers for each in answer)


def test_the_end_of_the_server_answers_what_was_read(run):
    async def conversation(client, service):
        stream = Socket(service)
        await stream.next()
        for hour in range(10):
            stream.send(step("a", row(hour), start=hour == 0))
        first = await stream.next()
        await service.drain()
        messages = [first]
        while not stream.came.empty():
            messages.append(await stream.next())
        await stream.task
        return messages

    *answers, end = talk(run, conversation)
    assert all("answer" in answer["answers"][0] for answer in answers)
    assert (end["type"], end["code"]) == ("websocket.close", 1001)


def test_a_client_that_leaves_in_the_middle_ends_the_stream(run):
    async def conversation(client, service):
        stream = Socket(service)
        await stream.next()
        for hour in range(10):
            stream.send(step("a", row(hour), start=hour == 0))
        await stream.leave()
        await asyncio.sleep(0)
        return len(service._streams)

    assert talk(run, conversation) == 0


TOKEN = "a-token-of-the-tests"


@pytest.mark.parametrize(
    ("shown", "answer"),
    [
        (None, "websocket.http.response.start"),
        (f"Bearer {TOKEN}s", "websocket.http.response.start"),
        (f"Bearer {TOKEN}", "websocket.accept"),
    ],
)
def test_a_stream_needs_the_token(run, shown, answer):
    async def conversation(client, service):
        stream = Socket(service, headers={} if shown is None else {"authorization": shown})
        found = await stream.next()
        await stream.leave()
        return found

    found = talk(run, conversation, token=TOKEN)
    assert found["type"] == answer
    assert found.get("status", 401) == 401
