"""The client speaks as two real servers were spoken to, and walks lists that move under it."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from daemon.cvat.client import CvatClient
from daemon.ports.cvat import (
    AnswerTooLarge,
    CvatApi,
    CvatError,
    Forbidden,
    NotFound,
    Refused,
    ServerTrouble,
    Unauthorized,
)

ERRORS = {400: Refused, 401: Unauthorized, 403: Forbidden, 404: NotFound}


async def rows(walk: Any) -> list[dict]:
    return [dict(row) async for row in walk]


async def read(body: Any) -> Any:
    return json.loads(await body)


# (method, path, query keys) of a recorded request → the same by our client.
CALLS: list[tuple[str, str, set[str], Callable[..., Any]]] = [
    ("GET", r"/api/server/about", set(), lambda c, *_: c.about()),
    ("GET", r"/api/users/self", set(), lambda c, *_: c.self_user()),
    ("GET", r"/api/users", {"search"}, lambda c, q, b: rows(c.users(q["search"]))),
    ("GET", r"/api/jobs/(\d+)", set(), lambda c, q, b, n: c.job(n)),
    (
        "GET",
        r"/api/jobs/(\d+)/annotations",
        set(),
        lambda c, q, b, n: read(c.job_annotations(n)),
    ),
    ("GET", r"/api/jobs/(\d+)/data/meta", set(), lambda c, q, b, n: c.job_meta(n)),
    (
        "PATCH",
        r"/api/jobs/(\d+)/annotations",
        {"action"},
        lambda c, q, b, n: c.patch_annotations(n, q["action"], b),
    ),
    ("PUT", r"/api/jobs/(\d+)/annotations", set(), lambda c, q, b, n: c.put_annotations(n, b)),
    ("PATCH", r"/api/jobs/(\d+)", set(), lambda c, q, b, n: c.patch_job(n, b)),
    ("GET", r"/api/issues", {"job_id"}, lambda c, q, b: c.job_issues(int(q["job_id"]))),
    ("GET", r"/api/comments", {"job_id"}, lambda c, q, b: c.job_comments(int(q["job_id"]))),
    ("GET", r"/api/tasks/(\d+)", set(), lambda c, q, b, n: c.task(n)),
    ("POST", r"/api/tasks", set(), lambda c, q, b: c.create_task(b)),
    ("PATCH", r"/api/tasks/(\d+)", set(), lambda c, q, b, n: c.patch_task(n, b)),
    ("DELETE", r"/api/tasks/(\d+)", set(), lambda c, q, b, n: c.delete_task(n)),
    ("GET", r"/api/tasks/(\d+)/data/meta", set(), lambda c, q, b, n: c.task_meta(n)),
    ("GET", r"/api/labels", {"task_id"}, lambda c, q, b: c.task_labels(int(q["task_id"]))),
    ("GET", r"/api/labels", {"project_id"}, lambda c, q, b: c.project_labels(int(q["project_id"]))),
    ("POST", r"/api/projects", set(), lambda c, q, b: c.create_project(b)),
    ("PATCH", r"/api/projects/(\d+)", set(), lambda c, q, b, n: c.patch_project(n, b)),
    ("DELETE", r"/api/projects/(\d+)", set(), lambda c, q, b, n: c.delete_project(n)),
    (
        "GET",
        r"/api/webhooks",
        {"project_id"},
        lambda c, q, b: rows(c.webhooks(project=int(q["project_id"]))),
    ),
    ("POST", r"/api/webhooks", set(), lambda c, q, b: c.create_webhook(b)),
    ("POST", r"/api/webhooks/(\d+)/ping", set(), lambda c, q, b, n: c.ping_webhook(n)),
    ("GET", r"/api/webhooks/(\d+)/deliveries", set(), lambda c, q, b, n: rows(c.deliveries(n))),
]


def call_for(exchange: dict) -> tuple[Callable[[CvatClient], Any], set[str]] | None:
    """Find how our client makes a recorded request; None for what it never asks."""
    query = {key: value for key, value in exchange["query"] if key != "page_size"}
    body = (exchange["request_body"] or {}).get("json")
    for method, path, keys, call in CALLS:
        found = re.fullmatch(path, exchange["path"])
        if method == exchange["method"] and found and keys == set(query):
            numbers = [int(number) for number in found.groups()]
            return partial(_made, call, query, body, numbers), keys
    return None


def _made(call: Callable[..., Any], query: dict, body: Any, numbers: list[int], client: Any) -> Any:
    return call(client, query, body, *numbers)


async def outcome(made: Any) -> Any:
    """Return what a call gives, or the kind of error that it raises."""
    try:
        return await made
    except CvatError as error:
        return type(error)


@pytest.mark.parametrize("version", ["2.15", "2.73"])
async def test_every_recorded_exchange_is_made_and_read_as_it_was(
    recording, script, connect, version
):
    """Same method, path, query and body as the real client; same result or the error it means."""
    client = await connect(script.url)
    made: set[str] = set()
    for exchange in recording(version, "sync-daemon"):
        if (known := call_for(exchange)) is None:
            continue
        call, keys = known
        status = exchange["status"]
        answer = (exchange["response_body"] or {}).get("json")
        if isinstance(answer, dict) and answer.get("next"):
            answer = {**answer, "next": None}
        script.on(exchange["method"], exchange["path"], (status, answer))

        found = await outcome(call(client))

        expected = answer["results"] if isinstance(found, list) else answer
        assert found == (expected if status < 300 else ERRORS[status])
        sent = script.seen[-1]
        assert (sent.method, sent.path) == (exchange["method"], exchange["path"])
        assert {k: sent.query[k] for k in keys} == {
            k: v for k, v in exchange["query"] if k != "page_size"
        }
        if exchange["request_body"] is not None:
            assert sent.json() == exchange["request_body"]["json"]
        made.add(f"{sent.method} {re.sub(r'[0-9]+', 'N', sent.path)} {sorted(keys)}")
        script.forget()

    assert len(made) >= 23


@pytest.mark.parametrize("version", ["2.15", "2.73"])
async def test_event_names_are_strings_whatever_form_the_server_lists_them_in(
    recording, script, connect, version
):
    """2.15 lists strings, 2.73 objects; the strings are what a webhook is made of."""
    (answer,) = (
        exchange["response_body"]["json"]
        for exchange in recording(version, "sync-daemon")
        if exchange["path"] == "/api/webhooks/events" and ["type", "project"] in exchange["query"]
    )
    script.on("GET", "/api/webhooks/events", (200, answer))
    client = await connect(script.url)

    events = await client.webhook_events("project")

    assert {"update:job", "create:task", "delete:project"} <= events
    assert len(events) == len(answer["events"])


def test_the_client_is_what_handlers_were_promised():
    """mypy reads this: the class fits the port, or the build fails."""
    promised: type[CvatApi] = CvatClient

    assert promised is CvatClient


# Lists that move.


class Moving:
    """A list of jobs as CVAT serves it: JsonLogic filter, sort, pages; some change meanwhile."""

    def __init__(self, jobs: dict[int, str]) -> None:
        self.jobs = jobs
        self.between: list[Callable[[], None]] = []
        self.asked: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        if len(self.asked) > 1 and self.between:
            self.between.pop(0)()
        logic = json.loads(request.query.get("filter", '{"and": []}'))
        found = [
            {"id": number, "updated_date": date}
            for number, date in self.jobs.items()
            if self._holds(logic, {"id": number, "updated_date": date})
        ]
        assert request.query["sort"] == "updated_date,id"
        found.sort(key=lambda job: (job["updated_date"], job["id"]))
        page, size = int(request.query.get("page", 1)), int(request.query["page_size"])
        rows = found[(page - 1) * size : page * size]
        more = "http://elsewhere.invalid/" if len(found) > page * size else None
        return web.json_response({"count": len(found), "next": more, "results": rows})

    def _holds(self, logic: dict, job: dict) -> bool:
        ((name, args),) = logic.items()
        if name in ("and", "or"):
            parts = [self._holds(arg, job) for arg in args]
            return all(parts) if name == "and" else any(parts)
        left, right = job[args[0]["var"]], args[1]
        return {"==": left == right, ">": left > right, ">=": left >= right}[name]


def date(second: int) -> str:
    return f"2026-11-22T10:18:{second:02}.000001Z"


async def test_a_job_that_moves_to_the_end_hides_no_other(serve, connect):
    """With numbered pages the next one would begin a row too late."""
    moving = Moving({number: date(number) for number in range(1, 11)})
    moving.between = [
        lambda: moving.jobs.update({1: date(50), 2: date(51)}),
        lambda: moving.jobs.update({3: date(52)}),
    ]
    client = await connect(await serve(moving.handle), limits={"page_size": 3})

    found = await rows(client.jobs())

    assert {job["id"] for job in found} == set(range(1, 11))
    assert [job["id"] for job in found][-3:] == [1, 2, 3]
    assert [job["updated_date"] for job in found] == sorted(job["updated_date"] for job in found)


async def test_more_jobs_of_one_date_than_fit_on_a_page_are_all_found(serve, connect):
    """Renaming one label gives all jobs of a project the same date, to the microsecond."""
    moving = Moving({number: date(7) for number in range(1, 24)})
    client = await connect(await serve(moving.handle), limits={"page_size": 5})

    found = await rows(client.jobs(since=date(7)))

    assert [job["id"] for job in found] == list(range(1, 24))
    assert len(moving.asked) == 5


async def test_jobs_are_walked_from_a_date_on_within_a_project_and_a_task(serve, connect):
    """The cursor of polling is a date; what happened at that very moment belongs to it."""
    moving = Moving({1: date(1), 2: date(2), 3: date(3)})
    client = await connect(await serve(moving.handle))

    found = await rows(client.jobs(since=date(2), project=4, task=5))

    assert [job["id"] for job in found] == [2, 3]
    assert (moving.asked[0]["project_id"], moving.asked[0]["task_id"]) == ("4", "5")


async def test_a_list_that_never_ends_is_given_up(script, connect):
    """A server gone wrong must not hold the daemon for ever."""
    page = {"count": 9, "next": "http://x", "results": [{"id": 1, "updated_date": date(1)}]}
    for path in ("/api/jobs", "/api/users"):
        script.on("GET", path, (200, page))
    client = await connect(script.url, limits={"pages_max": 5})

    for walk in (client.jobs(), client.users("x")):
        with pytest.raises(ServerTrouble, match="does not end"):
            await rows(walk)

    assert len(script.seen) == 10


@pytest.mark.parametrize("results", [None, {}, [1], [{"id": "1"}], [{"id": 1}]], ids=range(5))
async def test_a_page_of_something_else_is_trouble(script, connect, results):
    """Skipping it would call jobs unchanged that nobody looked at."""
    script.on("GET", "/api/jobs", (200, {"next": "http://x", "results": results}))
    client = await connect(script.url)

    with pytest.raises(ServerTrouble):
        await rows(client.jobs())


@pytest.mark.parametrize("walk", ["jobs", "issues"])
async def test_a_page_of_more_than_was_asked_for_is_trouble(serve, connect, walk):
    """A server that sends a million rows a page, and never the last one, would fill our memory."""
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        sent += 1
        row = {"job": 1, "updated_date": date(1)}
        rows = [{"id": sent * 1_000 + number, **row} for number in range(4)]
        return web.json_response({"next": "http://x", "results": rows})

    client = await connect(await serve(flood), limits={"page_size": 3})

    with pytest.raises(ServerTrouble, match="not a page"):
        await rows(getattr(client, walk)())


async def test_a_page_that_is_larger_than_any_list_is_dropped_while_it_is_read(serve, connect):
    """Decoded it takes twenty times as much, and it is decoded between two deliveries."""

    async def large(request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=gzip.compress(b"[]," * 10_000), headers={"Content-Encoding": "gzip"}
        )

    client = await connect(await serve(large), limits={"page_bytes_max": 20_000})

    with pytest.raises(AnswerTooLarge):
        await rows(client.jobs())


async def test_deliveries_are_walked_from_the_newest_down_to_the_last_known(script, connect):
    """New ones push others to the next page meanwhile: those come once."""

    def page(*numbers: int) -> tuple[int, dict]:
        return 200, {"next": "http://x", "results": [{"id": n} for n in numbers]}

    script.on("GET", "/api/webhooks/3/deliveries", page(9, 8, 7), page(8, 7, 6), page(5, 4, 3))
    client = await connect(script.url)

    found = await rows(client.deliveries(3, after=4))

    assert [delivery["id"] for delivery in found] == [9, 8, 7, 6, 5]
    assert [seen.query["page"] for seen in script.seen] == ["1", "2", "3"]


async def test_labels_of_all_pages_are_read(script, connect):
    """A label that is missing would make its shapes unknown."""
    one = {"next": "http://elsewhere.invalid/", "results": [{"id": 1}]}
    script.on("GET", "/api/labels", (200, one), (200, {"next": None, "results": [{"id": 2}]}))
    client = await connect(script.url)

    assert await client.job_labels(7) == [{"id": 1}, {"id": 2}]

    assert [(seen.query["job_id"], seen.query["page"]) for seen in script.seen] == [
        ("7", "1"),
        ("7", "2"),
    ]


async def test_annotations_come_and_go_as_bytes(script, connect):
    """They can be large: they are decoded and encoded elsewhere, and no byte is touched."""
    raw = b'{"shapes": [{"points": [0.1, 1e300]}],  "tags": []}'

    async def exact(request: web.Request) -> web.StreamResponse:
        return web.Response(body=raw, content_type="application/json")

    script.on("GET", "/api/jobs/7/annotations", exact)
    script.on("PATCH", "/api/jobs/7/annotations", (200, {}))
    client = await connect(script.url)

    assert await client.job_annotations(7) == raw
    await client.patch_annotations(7, "create", raw)

    assert script.seen[-1].body == raw
    assert script.seen[-1].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("job", ["7/../../users", "7?x=1"])
async def test_only_a_number_becomes_part_of_a_path(script, connect, job):
    """Ids come from logs and deliveries."""
    client = await connect(script.url)

    with pytest.raises(ValueError, match="format code"):
        await client.job(job)

    assert script.seen == []
