"""`/api/v1` over real sockets: who may ask, what is answered, and what everything is limited by."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import re
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from openapi_schema_validator import OAS31Validator

from daemon import operations
from daemon.app import App
from daemon.http.api import api, offered
from daemon.http.api.openapi import description
from daemon.operations.registry import Json, _operations, operation
from daemon.tokens import Tokens
from events.dataset import DatasetOpened
from events.server import DeliveryRefused
from tests.daemon.http.api_client import Served, served

ROOT = Path(__file__).parents[3]
REFUSED = DeliveryRefused(reason="signature")


class HangArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the test's own operation does."""

    fail: bool = False
    first: bool = False
    big: int = 0
    follow: bool = False


class Hung:
    """What the operation of the tests saw."""

    began = asyncio.Event()
    ended = asyncio.Event()
    actor = ""


@operation("hang", args=HangArgs)
async def hang(app: App, args: HangArgs) -> AsyncGenerator[Json, None]:
    """Do what a test asks for."""
    Hung.actor = app.actor
    try:
        if args.first:
            yield {"kind": "first", "text": "\ud800", "number": float("nan")}
        if args.fail:
            raise RuntimeError("a secret name in a message")
        for number in range(args.big):
            yield {"kind": "big", "number": number, "text": "x" * 1_000_000}
        Hung.began.set()
        if not args.big:
            await asyncio.Event().wait()
    finally:
        Hung.ended.set()


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """Return a daemon that offers the operation of the tests besides its own."""
    monkeypatch.setitem(api.OPERATIONS, "/api/v1/hang", "hang")
    monkeypatch.setattr(api, "OFFERED", {**offered.OFFERED, "hang": "read"})
    Hung.began, Hung.ended, Hung.actor = asyncio.Event(), asyncio.Event(), ""
    async with served(tmp_path) as running:
        yield running


# Who may ask


async def test_nothing_is_served_without_a_token_and_the_refusal_tells_nothing(daemon: Served):
    """Whether a path exists, or a token was almost right, is nobody's business."""
    daemon.token()
    paths = ["/api/v1/status", "/api/v1/openapi.json", "/api/v1/events", "/api/v1/none", "/api/"]
    wrong = [
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        f"Bearer labeltrail_{'x' * 43}",
        "Bearer " + "é" * 54,
    ]
    given: list[dict[str, str]] = [{}, *({"Authorization": one} for one in wrong)]

    answers = [await daemon.ask(path, headers=headers) for path in paths for headers in given]

    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].headers["WWW-Authenticate"] == 'Bearer realm="labeltrail"'
    assert answers[0].headers["Content-Type"].startswith("application/problem+json")
    assert (answers[0].json["message"], answers[0].json["facts"]) == ("a valid token is needed", {})


async def test_a_token_in_the_query_is_no_token(daemon: Served):
    """Addresses end up in the log lines of every proxy."""
    token = daemon.token()

    answer = await daemon.ask(f"/api/v1/status?access_token={token}&token={token}")

    assert answer.status == 401


async def test_a_read_token_may_not_write_and_a_write_token_may_read(daemon: Served):
    """A dashboard's token cannot resolve a conflict."""
    reader, writer = daemon.token(), daemon.token("bot", "write")

    refused = await daemon.ask("/api/v1/resolve", reader, "POST", json={"id": "c1"})
    allowed = await daemon.ask("/api/v1/resolve", writer, "POST", json={"id": "c1"})
    read = await daemon.ask("/api/v1/status", writer)

    assert refused.status == 403
    assert refused.json["facts"] == {"scope": "read", "scope_needed": "write"}
    assert (allowed.status, allowed.json["error"]) == (400, "BadArguments")
    assert read.status == 200


async def test_a_revoked_token_is_refused_from_the_next_request_on(daemon: Served):
    """Who leaves is out."""
    token = daemon.token()
    before = await daemon.ask("/api/v1/status", token)

    Tokens(daemon.app.folder).revoke("reader")

    assert before.status == 200
    assert (await daemon.ask("/api/v1/status", token)).status == 401


async def test_the_token_is_the_author(daemon: Served):
    """The log names who did something, not that it came over HTTP."""
    token = daemon.token("ci.bot")

    await daemon.ask("/api/v1/hang?big=1", token)

    assert Hung.actor == "token/ci.bot"


async def test_a_damaged_file_of_tokens_lets_nobody_in(daemon: Served):
    """It is our trouble, so it is a 503 and not the client's mistake."""
    token = daemon.token()
    Tokens(daemon.app.folder).path.write_text("[")

    answer = await daemon.ask("/api/v1/status", token)

    assert (answer.status, answer.json["error"]) == (503, "TokensUnreadable")


# What is answered


async def test_an_operation_is_answered_as_one_document(daemon: Served):
    """`curl | jq` is how most people meet an API."""
    await daemon.record("server/main", REFUSED, REFUSED)

    answer = await daemon.ask("/api/v1/log?types=DeliveryRefused&last=1", daemon.token())

    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json["exit_code"] == 0
    assert [(one["position"], one["fact"]) for one in answer.json["objects"]] == [
        (2, {"reason": "signature"})
    ]


async def test_the_same_as_lines_ends_with_a_line_that_says_so(daemon: Served):
    """An answer without its last line was cut off."""
    await daemon.record("server/main", REFUSED)

    answer = await daemon.ask(
        "/api/v1/log", daemon.token(), headers={"Accept": "application/x-ndjson"}
    )

    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert [line["kind"] for line in answer.lines] == ["event", "exit"]


async def test_a_repeated_name_of_the_query_is_a_list(daemon: Served):
    """The one convention of queries that needs no escaping."""
    await daemon.record("server/main", REFUSED)
    await daemon.record(
        "dataset/pets", DatasetOpened(media_type="image", format="fiftyone", metadata={})
    )

    both = await daemon.ask(
        "/api/v1/log?types=DeliveryRefused&types=DatasetOpened&facts=false", daemon.token()
    )
    twice = await daemon.ask("/api/v1/log?last=1&last=2", daemon.token("other"))

    assert [one["type"] for one in both.json["objects"]] == ["DeliveryRefused", "DatasetOpened"]
    assert "fact" not in both.json["objects"][0]
    assert (twice.status, twice.json["facts"]) == (400, {"argument": "last"})


PROBLEMS = [
    ("GET", "/api/v1/log?lsat=1", 400, "BadArguments"),
    ("GET", "/api/v1/log?last=many", 400, "BadArguments"),
    ("GET", "/api/v1/status?whatever=1", 400, "BadArguments"),
    ("GET", "/api/v1/log?follow=1", 400, "BadArguments"),
    ("GET", "/api/v1/at?target=pets", 400, "BadArguments"),
    ("GET", "/api/v1/at?moment=soon&target=pets", 400, "UnknownMoment"),
    ("GET", "/api/v1/at?moment=@1&target=pets", 404, "UnknownTarget"),
    ("GET", "/api/v1/run.info?dataset=a&key=b", 404, "UnknownRun"),
    ("GET", "/api/v1/show?what=@99", 404, "UnknownThing"),
    ("POST", "/api/v1/load", 400, "BadArguments"),
    ("POST", "/api/v1/resolve", 400, "BadArguments"),
    ("GET", "/api/v1/load", 405, "WrongMethod"),
    ("DELETE", "/api/v1/log", 405, "WrongMethod"),
    ("POST", "/api/v1/events", 405, "WrongMethod"),
    ("GET", "/api/v1/", 404, "NoSuchPath"),
    ("GET", "/api/v1/token.ls", 404, "NotOffered"),
    ("POST", "/api/v1/export", 404, "NotOffered"),
    ("POST", "/api/v1/../v1/export", 404, "NotOffered"),
    ("GET", "/api/v1/no.such", 404, "NoSuchPath"),
]


async def test_what_cannot_be_answered_is_a_problem_object(daemon: Served):
    """A program branches on the status and the word, a person reads message and hint."""
    token = daemon.token("bot", "write")

    answers = [await daemon.ask(path, token, method) for method, path, _, _ in PROBLEMS]

    found = [(answer.status, answer.json["error"]) for answer in answers]
    assert found == [(status, error) for _, _, status, error in PROBLEMS]
    for answer in answers:
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert answer.json["status"] == answer.status
        assert answer.json["type"] == f"urn:labeltrail:error:{answer.json['error']}"
        assert answer.json["title"] == answer.json["message"]
    allowed = [answer.headers["Allow"] for answer in answers if answer.status == 405]
    assert allowed == ["POST", "GET, POST", "GET"]


async def test_differences_are_fine_and_say_so(daemon: Served):
    """`diff` and `pending` found what they were asked for: that is no error over HTTP."""
    await daemon.record(
        "dataset/pets", DatasetOpened(media_type="image", format="fiftyone", metadata={})
    )

    answer = await daemon.ask("/api/v1/pending?dataset=pets", daemon.token())

    assert (answer.status, answer.json) == (200, {"objects": [], "exit_code": 0})


async def test_values_that_json_has_no_word_for_are_spelled(daemon: Served):
    """FiftyOne exports hold NaN, and CVAT may hold half a surrogate pair."""
    lines = {"Accept": "application/x-ndjson"}

    answer = await daemon.ask("/api/v1/hang?first=1&big=1", daemon.token(), headers=lines)

    assert answer.lines[0] == {
        "kind": "first",
        "text": "\ud800",
        "number": {"$numberDouble": "NaN"},
    }


async def test_a_mistake_of_ours_is_500_and_its_message_stays_with_us(daemon: Served):
    """A message may quote what a label or a person is called."""
    before = await daemon.ask("/api/v1/hang?fail=1", daemon.token())
    within = await daemon.ask(
        "/api/v1/hang?fail=1&first=1",
        daemon.token("other"),
        headers={"Accept": "application/x-ndjson"},
    )

    assert (before.status, before.json["error"]) == (500, "Crashed")
    assert (within.status, within.lines[-1]["error"]) == (200, "Crashed")
    assert b"secret name" not in before.body + within.body


# Limits


async def test_an_answer_that_is_too_large_for_a_document_is_given_in_lines(daemon: Served):
    """A document is held in memory until it is whole; lines are not."""
    token = daemon.token()

    document = await daemon.ask("/api/v1/hang?big=9", token)
    lines = await daemon.ask("/api/v1/hang?big=9", token, headers={"Accept": api.LINES})

    assert (document.status, document.json["error"]) == (422, "AnswerTooLarge")
    assert "application/x-ndjson" in document.json["hint"]
    assert (lines.status, len(lines.lines)) == (200, 10)


async def test_a_body_that_is_too_large_is_refused_while_it_is_read(tmp_path: Path):
    """Told beforehand or not."""

    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield b" " * 512

    async with served(tmp_path, "body_bytes_max = 1024\n") as daemon:
        token = daemon.token()

        told = await daemon.ask("/api/v1/log", token, "POST", data=b" " * 2_000)
        untold = await daemon.ask("/api/v1/log", token, "POST", data=endless())

    assert [told.status, untold.status] == [413, 413]
    assert told.json["facts"] == {"bytes_max": 1024}


async def test_a_body_that_does_not_come_is_given_up(tmp_path: Path):
    """A connection that says nothing holds a place."""

    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"{"
        await asyncio.Event().wait()

    async with served(tmp_path, "request_s = 0.2\n") as daemon:
        answer = await daemon.ask("/api/v1/log", daemon.token(), "POST", data=slow())

    assert (answer.status, answer.json["error"]) == (408, "BodyTooSlow")


async def test_a_token_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path):
    """A script gone wild does not take the daemon from its users."""
    async with served(tmp_path, "[api]\nrequests_per_s = 0.5\nburst = 3\n") as daemon:
        token = daemon.token()
        statuses = [(await daemon.ask("/api/v1/status", token)).status for _ in range(3)]
        refused = await daemon.ask("/api/v1/status", token)
        daemon.clock.seconds += 2
        later = await daemon.ask("/api/v1/status", token)

    assert statuses == [200, 200, 200]
    assert (refused.status, refused.headers["Retry-After"]) == (429, "2")
    assert later.status == 200


async def test_guessing_is_slowed_down_too(tmp_path: Path):
    """An address has a rate of its own, before any token is looked at."""
    async with served(tmp_path, "[api]\nburst = 2\n") as daemon:
        statuses = [(await daemon.ask("/api/v1/status", "x" * 54)).status for _ in range(3)]

    assert statuses == [401, 401, 429]


async def test_more_operations_than_allowed_at_one_time_are_told_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, daemon: Served
):
    """Each holds memory and a reader of the log."""
    monkeypatch.setitem(daemon.app.settings.api.__dict__, "operations_max", 1)
    token = daemon.token()
    first = asyncio.ensure_future(daemon.ask("/api/v1/hang", token))
    await Hung.began.wait()

    second = await daemon.ask("/api/v1/status", token)
    first.cancel()
    await Hung.ended.wait()

    assert (second.status, second.json["error"]) == (503, "Busy")
    assert second.headers["Retry-After"] == "5"


async def test_an_operation_that_takes_too_long_is_cancelled(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
):
    """Everything has a limit."""
    monkeypatch.setattr(api, "READ_S", 0.05)

    answer = await daemon.ask("/api/v1/hang", daemon.token())

    assert (answer.status, answer.json["error"]) == (504, "TookTooLong")
    assert Hung.ended.is_set()


async def test_a_client_that_goes_away_cancels_its_operation(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
):
    """Nobody waits for the answer any more."""
    monkeypatch.setattr(api, "GONE_EVERY_S", 0.01)
    asking = asyncio.ensure_future(daemon.ask("/api/v1/hang", daemon.token()))
    await Hung.began.wait()

    asking.cancel()

    await asyncio.wait_for(Hung.ended.wait(), 5)


async def test_a_stop_ends_operations_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A client that follows something must not hold up a restart."""
    monkeypatch.setitem(api.OPERATIONS, "/api/v1/hang", "hang")
    monkeypatch.setattr(api, "OFFERED", {**offered.OFFERED, "hang": "read"})
    Hung.began = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        async with served(tmp_path) as daemon:
            daemon.session, own = session, daemon.session
            await own.close()
            asking = asyncio.ensure_future(daemon.ask("/api/v1/hang", daemon.token()))
            await Hung.began.wait()
        answer = await asking

    assert (answer.status, answer.json["error"]) == (503, "Stopping")


# Pages of other origins


async def test_no_page_of_another_origin_may_ask_unless_the_settings_name_it(tmp_path: Path):
    """A page that somebody visits must not read the log with their network's rights."""
    named, other = "https://dash.example.com", "https://evil.example.com"
    async with served(tmp_path, f'[api]\ncors_origins = ["{named}"]\n') as daemon:
        token = daemon.token()
        asked = await daemon.ask("/api/v1/log", method="OPTIONS", headers={"Origin": named})
        refused = await daemon.ask("/api/v1/log", method="OPTIONS", headers={"Origin": other})
        answers = [
            await daemon.ask("/api/v1/status", token, headers={"Origin": origin})
            for origin in (named, other)
        ]

    assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (204, named)
    assert (refused.status, "Access-Control-Allow-Origin" in refused.headers) == (401, False)
    assert [answer.headers.get("Access-Control-Allow-Origin") for answer in answers] == [
        named,
        None,
    ]


# The description


def _all_operations() -> set[str]:
    for module in pkgutil.iter_modules(operations.__path__):
        importlib.import_module(f"daemon.operations.{module.name}")
    return {
        name
        for name, found in _operations.items()
        if found.run.__module__.startswith("daemon.operations.")
    }


def test_every_operation_is_offered_or_withheld_for_a_reason():
    """A new operation must not become reachable, or be forgotten, by accident."""
    decided = set(offered.OFFERED) | set(offered.WITHHELD)
    assert decided == _all_operations(), "decide in daemon/http/api/offered.py and docs/http-api.md"
    assert not set(offered.OFFERED) & set(offered.WITHHELD)


def test_what_writes_needs_the_scope_to_write():
    """One wrong word in the table would hand every reader a pen."""
    writing = {name for name in offered.OFFERED if _all_operations() and _operations[name].writes}

    assert {name for name, scope in offered.OFFERED.items() if scope == "write"} == writing


async def test_the_description_is_valid_and_names_every_route(daemon: Served):
    """Clients are generated from it; OpenAPI 3.1 with all its `$ref`s."""
    answer = await daemon.ask("/api/v1/openapi.json", daemon.token())

    found = answer.json
    routes = {f"/api/v1/{name}" for name in offered.OFFERED}
    assert set(found["paths"]) == routes | {"/api/v1/events", "/api/v1/openapi.json"}
    assert found == description()
    for schema in found["components"]["schemas"].values():
        OAS31Validator.check_schema(schema)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', answer.body.decode()))
    assert names <= set(found["components"]["schemas"])
    for one in (one for path in found["paths"].values() for one in path.values()):
        assert one["summary"].endswith(".")
        assert set(one["responses"]) == {"200", "default"}
        for parameter in one.get("parameters", ()):
            assert parameter["in"] in ("query", "header")
            OAS31Validator.check_schema(parameter["schema"])
    ids = [one["operationId"] for path in found["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))


async def test_answers_fit_their_own_description(daemon: Served):
    """What is generated from it has to read what is sent."""
    await daemon.record("server/main", REFUSED)
    token = daemon.token()
    found = description()

    def validator(name: str) -> OAS31Validator:
        components = {"components": found["components"]}
        return OAS31Validator({"$ref": f"#/components/schemas/{name}", **components})

    document = await daemon.ask("/api/v1/log", token)
    problem = await daemon.ask("/api/v1/show?what=@9", token)

    validator("Document").validate(document.json)
    validator("Problem").validate(problem.json)
    with pytest.raises(Exception, match="is a required property"):
        validator("Problem").validate(document.json)


def test_the_documentation_names_the_paths_that_there_are():
    """A page that names other paths than the code is worse than none."""
    text = (ROOT / "docs/http-api.md").read_text()

    named = set(re.findall(r"/api/v1/([a-z][a-z.-]*[a-z])", text))
    tabled = set(re.findall(r"^\| `([a-z.]+)` \|", text, re.MULTILINE))
    assert named <= set(offered.OFFERED) | {"events", "openapi.json"}
    assert tabled == set(offered.OFFERED) | set(offered.WITHHELD)
