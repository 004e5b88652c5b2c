"""Who may ask, what anybody may see, and what describes it all."""

import asyncio
import json

import pytest
from servers import ask, row, step, talk

from throughtime.errors import OptionError
from throughtime.serve.access import read_token
from throughtime.serve.schemas import (
    ErrorBody,
    HealthBody,
    ModelBody,
    SequenceList,
)

TOKEN = "a-token-of-the-tests"

PATHS = [
    ("POST", "/v1/step"),
    ("GET", "/v1/sequences"),
    ("GET", "/v1/sequences/a/state"),
    ("PUT", "/v1/sequences/a/state"),
    ("POST", "/v1/sequences/a/fork"),
    ("DELETE", "/v1/sequences/a"),
    ("GET", "/v1/model"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
]


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}s",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN.upper()}",
        "Bearer \xe9",
    ],
)
def test_without_the_token_nothing_is_answered(run, shown):
    async def conversation(client, service):
        headers = {} if shown is None else {"Authorization": shown.encode("latin-1")}
        return [await client.request(*each, headers=headers) for each in PATHS]

    for response in talk(run, conversation, token=TOKEN):
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert ErrorBody.model_validate(response.json()).error.code == "unauthorised"
        assert TOKEN not in response.text


def test_with_the_token_all_is_answered(run):
    async def conversation(client, service):
        client.headers["Authorization"] = f"bearer {TOKEN}"
        status, _ = await ask(client, step("a", row(0), start=True))
        return status, [(await client.request(*each)).status_code for each in PATHS]

    status, statuses = talk(run, conversation, token=TOKEN)
    assert status == 200
    assert 401 not in statuses


def test_two_tokens_are_none(run):
    async def conversation(client, service):
        headers = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")]
        return (await client.get("/v1/model", headers=headers)).status_code

    assert talk(run, conversation, token=TOKEN) == 401


def test_a_balancer_needs_no_token(run):
    async def conversation(client, service):
        before = [await client.get(f"/health/{name}") for name in ("live", "ready")]
        await service.drain()
        after = [await client.get(f"/health/{name}") for name in ("live", "ready")]
        refused = await client.post(
            "/v1/step",
            json={"steps": [step("a", row(0), start=True)]},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        return before, after, refused

    before, after, refused = talk(run, conversation, token=TOKEN)
    assert [each.status_code for each in before] == [200, 200]
    for each in before:
        HealthBody.model_validate(each.json())
    assert [each.status_code for each in after] == [200, 503]
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
    assert refused.headers["connection"] == "close"


def test_answers_are_what_is_described(run):
    async def conversation(client, service):
        await ask(client, step("a", row(0), start=True))
        return (await client.get("/v1/model")).json(), (await client.get("/v1/sequences")).json()

    model, sequences = talk(run, conversation)
    ModelBody.model_validate(model)
    SequenceList.model_validate(sequences)


def test_everything_is_described_and_nothing_is_asked_of_other_hosts(run):
    async def conversation(client, service):
        pages = [(await client.get(path)).status_code for path in ("/docs", "/redoc")]
        return pages, (await client.get("/openapi.json")).json()

    pages, described = talk(run, conversation)
    assert pages == [404, 404]
    names = {path.replace("{sequence_id}", "a") for path in described["paths"]}
    assert {path for _, path in PATHS} - {"/openapi.json", "/nowhere"} <= names
    text = json.dumps(described)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in described["components"]["schemas"]
    for operations in described["paths"].values():
        for operation in operations.values():
            refusals = {status for status in operation["responses"] if status >= "400"}
            for status in refusals:
                content = operation["responses"][status]["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}


def test_prometheus_can_read_what_is_counted(run):
    from prometheus_client.parser import text_string_to_metric_families

    async def conversation(client, service):
        await ask(client, *(step(key, row(0), start=True) for key in "abc"))
        await ask(client, step("nobody", row(0)))
        response = await client.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        return response.text

    text = talk(run, conversation)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["throughtime_steps_total", "answered"] == 3
    assert found["throughtime_steps_total", "unknown_sequence"] == 1
    assert found["throughtime_refusals_total", "unknown_sequence"] == 1
    assert found[("throughtime_sequences",)] == 3
    assert found[("throughtime_tick_steps_count",)] == 2
    assert found[("throughtime_request_seconds_count",)] == 2


def test_two_services_in_one_process_count_apart(run):
    async def conversation(client, service):
        await ask(client, step("a", row(0), start=True))
        return (await client.get("/metrics")).text

    for _ in range(2):
        assert 'throughtime_steps_total{outcome="answered"} 1.0' in talk(run, conversation)


def test_a_defect_is_answered_and_says_nothing_of_itself(run):
    async def conversation(client, service):
        def broken(*arguments):
            raise ZeroDivisionError("a secret")

        service.engine.page = broken
        return await client.get("/v1/sequences")

    response = talk(run, conversation)
    assert response.status_code == 500
    assert ErrorBody.model_validate(response.json()).error.code == "defect"
    assert "secret" not in response.text


def test_a_token_comes_from_a_file_or_the_environment(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    variable = {"THROUGHTIME_TOKEN": "another-token"}
    assert read_token(tmp_path / "token", variable) == TOKEN
    assert read_token(None, variable) == "another-token"
    assert read_token(None, {}) is None


@pytest.mark.parametrize(
    "content", ["", "short", "a" * 1025, "two words", "größer als", "a\tb\tc\td\te"]
)
def test_what_is_no_token_is_refused(tmp_path, content):
    (tmp_path / "token").write_text(content)
    with pytest.raises(OptionError, match="expected a token"):
        read_token(tmp_path / "token", {})
    with pytest.raises(OptionError, match="expected a token"):
        read_token(None, {"THROUGHTIME_TOKEN": content})


def test_a_file_that_is_not_there_is_no_token(tmp_path):
    with pytest.raises(OptionError, match="No such file"):
        read_token(tmp_path / "none", {})


def test_clients_that_leave_in_the_middle_hold_nothing(run):
    async def conversation(client, service):
        asking = [
            asyncio.ensure_future(ask(client, step(f"s{number}", row(0), start=True)))
            for number in range(20)
        ]
        await asyncio.sleep(0)
        for each in asking[::2]:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        return service.held, service.batcher.waiting

    assert talk(run, conversation) == (0, 0)
