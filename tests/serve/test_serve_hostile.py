"""The corpus of hostile requests: each refused in one line, nothing executed, little allocated."""

import asyncio
import gc
import socket
import tracemalloc

import httpx
import pytest
from hostile_requests import BODY, HOSTILE, HOSTILE_HEADS, TRAP, filled
from servers import SECONDS, ask, process, row, step, talk

from throughtime.serve import Limits, Service, make_app
from throughtime.serve.schemas import ErrorBody

MOST = 24 * 2**20
"""Bytes that a request with a body of 1 MiB may make the server allocate; docs/serve.md says so."""


@pytest.fixture(scope="module")
def hostile_loop(run):
    """Asks one service in this process, again and again."""
    with asyncio.Runner() as runner:

        async def begin():
            service = Service(run, slots=100)
            await service.start()
            return service

        service = runner.run(begin())
        transport = httpx.ASGITransport(make_app(service), raise_app_exceptions=False)

        async def request(method, path, body, kind):
            async with httpx.AsyncClient(
                transport=transport, base_url="http://server", timeout=SECONDS
            ) as client:
                headers = {"Content-Type": kind} if kind else {}
                return await client.request(method, path, content=body, headers=headers)

        yield lambda *given: runner.run(request(*given))
        runner.run(service.stop())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_refused_in_one_line(hostile_loop, name):
    hostile = HOSTILE[name]
    before = hostile_loop("GET", "/v1/sequences", b"", "").json()
    gc.collect()
    tracemalloc.start()
    try:
        response = hostile_loop(hostile.method, hostile.path, hostile.body, hostile.kind)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status_code == hostile.status, response.text
    error = ErrorBody.model_validate(response.json()).error
    assert error.code == hostile.code
    assert hostile.says in error.message
    assert error.message.isprintable()
    assert len(error.message) < 1000
    assert most < MOST
    assert not TRAP.exists()
    assert hostile_loop("GET", "/v1/sequences", b"", "").json() == before


@pytest.mark.parametrize(
    "body",
    [
        filled('{"steps":[', '{"sequence_id":"a","row":{"y":1}},', "1]}")[:BODY],
        filled('{"steps":[{"sequence_id":"a","row":{"y":"', "\U0001f600" * 10, '"}}]}')[
            : BODY // 4
        ],
    ],
    ids=["many small values", "wide characters"],
)
def test_as_much_as_a_body_may_have_stays_small(hostile_loop, body):
    tracemalloc.start()
    try:
        response = hostile_loop("POST", "/v1/step", body.encode(), "application/json")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status_code in (400, 422)
    assert most < MOST


def test_a_body_is_counted_while_it_is_read(run):
    """A body in pieces, whose length nobody said, ends at the limit."""
    sent = 0

    async def pieces():
        nonlocal sent
        for _ in range(1000):
            sent += 10_000
            yield b" " * 10_000

    async def conversation(client, service):
        response = await client.post(
            "/v1/step", content=pieces(), headers={"Content-Type": "application/json"}
        )
        return response, service.held

    response, held = talk(run, conversation, limits=Limits(body=50_000))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"
    assert sent <= 70_000
    assert held == 0


def test_a_body_that_does_not_come_is_not_waited_for(run):
    async def pieces():
        yield b"{"
        await asyncio.sleep(60)

    async def conversation(client, service):
        response = await client.post(
            "/v1/step", content=pieces(), headers={"Content-Type": "application/json"}
        )
        return response, service.held

    response, held = talk(run, conversation, limits=Limits(patience=0.1))
    assert (response.status_code, response.json()["error"]["code"]) == (408, "slow")
    assert held == 0


def test_all_bodies_together_are_bounded(run):
    async def conversation(client, service):
        service.held = service.limits.held
        refused = await client.post("/v1/step", json={"steps": [step("a", row(0), start=True)]})
        service.held = 0
        return refused, await ask(client, step("a", row(0), start=True))

    refused, (status, _) = talk(run, conversation)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert status == 200


@pytest.fixture(scope="module")
def attacked(run):
    with process(run) as server:
        yield server


@pytest.mark.parametrize("name", HOSTILE_HEADS)
def test_a_hostile_head_ends_its_own_connection_only(attacked, name):
    with attacked.connect() as connection:
        connection.settimeout(30)
        received = b""
        try:
            connection.sendall(HOSTILE_HEADS[name])
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(4096):
                received += part
        except TimeoutError:
            raise
        except OSError:
            # The server was the first to close it.
            pass
    if received:
        assert received.split()[1] in (b"400", b"413", b"404", b"422", b"408", b"505"), received
    assert attacked.step(step("a", row(0), start=True))[0] == 200
