"""One exchange with a server: what is repeated, what is not, and what it may cost."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from aiohttp import web

from daemon.cvat.server import LegacyToken, Limits
from daemon.cvat.wire import Call, Stream, timeout_of
from daemon.ports.cvat import (
    AnswerTooLarge,
    CvatError,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    Refused,
    ServerMoved,
    ServerTrouble,
    ServerUnreachable,
    Throttled,
    Unauthorized,
    waited_s,
)

JOB = "/api/jobs/7"
ANNOTATIONS = "/api/jobs/7/annotations"
DOCUMENT = {"version": 0, "tags": [], "shapes": [], "tracks": []}


# What is repeated.


async def test_a_read_is_repeated_until_the_server_is_well_again(script, connect, clock):
    """A restart of CVAT is not an incident of ours."""
    script.on("GET", JOB, 503, 502, 504, (200, {"id": 7}))
    client = await connect(script.url)

    job = await client.job(7)

    assert job == {"id": 7}
    assert clock.slept == [0.5, 1.0, 2.0]
    assert waited_s.get() == sum(clock.slept)


async def test_a_read_survives_connections_that_break(script, connect):
    """An idle connection may be closed by the server in the moment we use it."""
    script.on("GET", JOB, "cut", "cut", "cut", (200, {"id": 7}))
    client = await connect(script.url)

    assert await client.job(7) == {"id": 7}


async def test_a_read_is_given_up_after_the_allowed_attempts(script, connect, clock):
    """A job that CVAT cannot read any more answers 500 for ever."""
    script.on("GET", JOB, (500, {"detail": "boom"}))
    client = await connect(script.url)

    with pytest.raises(ServerTrouble) as trouble:
        await client.job(7)

    assert len(script.seen) == 4
    assert trouble.value.facts["status"] == 500
    assert trouble.value.facts["reason"] == "boom"


@pytest.mark.parametrize("answer", [500, 502, 504, 408, "cut"], ids=range(5))
async def test_a_write_without_an_answer_is_unknown_and_not_repeated(script, connect, answer):
    """CVAT may answer 500 to what it has committed; a second POST would make a second task."""
    script.on("POST", "/api/tasks", answer)
    client = await connect(script.url)

    with pytest.raises(OutcomeUnknown):
        await client.create_task({"name": "x"})

    assert script.paths() == ["POST /api/tasks"]


async def test_a_write_that_takes_too_long_is_unknown(script, connect):
    """The server may still be working on it."""
    asked = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    script.on("PATCH", JOB, never)
    client = await connect(script.url, limits={"read_s": 0.05})

    with pytest.raises(OutcomeUnknown):
        await client.patch_job(7, {"state": "completed"})

    assert asked.is_set()
    assert len(script.seen) == 1


async def test_a_write_whose_answer_breaks_off_is_unknown(script, connect):
    """The status came, the ids of the new shapes did not."""

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"shapes": [')
        request.transport.abort()
        return response

    script.on("PATCH", ANNOTATIONS, half)
    client = await connect(script.url)

    with pytest.raises(OutcomeUnknown):
        await client.patch_annotations(7, "create", DOCUMENT)


async def test_a_refused_write_is_known_not_to_have_happened(script, connect):
    """400 comes with the server's words, cut to one line."""
    script.on("PATCH", ANNOTATIONS, (400, ["spec_id `944` is invalid"]))
    client = await connect(script.url)

    with pytest.raises(Refused, match="spec_id `944` is invalid"):
        await client.patch_annotations(7, "update", DOCUMENT)


async def test_replacing_all_annotations_of_a_job_is_repeated(script, connect):
    """The second time changes nothing that the first one did not."""
    script.on("PUT", ANNOTATIONS, 502, (200, DOCUMENT))
    client = await connect(script.url)

    assert await client.put_annotations(7, DOCUMENT) == DOCUMENT

    assert [seen.json() for seen in script.seen] == [DOCUMENT, DOCUMENT]


@pytest.mark.parametrize("last", [502, 404, 400, 429], ids=str)
async def test_a_write_that_may_have_happened_stays_unknown_whatever_comes_after(
    script, connect, last
):
    """The first attempt may have been carried out although the next one was refused."""
    script.on("PUT", ANNOTATIONS, 502, last)
    client = await connect(script.url)

    with pytest.raises(OutcomeUnknown):
        await client.put_annotations(7, DOCUMENT)


async def test_a_server_that_is_not_there_is_unreachable_also_for_a_write(connect, clock):
    """No connection, no request: nothing is unknown."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        client = await connect(f"http://127.0.0.1:{closed.getsockname()[1]}")

        with pytest.raises(ServerUnreachable):
            await client.create_task({"name": "x"})

    assert len(clock.slept) == 3


# 429.


async def test_too_many_requests_are_repeated_after_the_time_the_server_asks_for(
    script, connect, clock
):
    """A throttled write was not carried out, so it may be repeated too."""
    script.on("POST", "/api/tasks", (429, {}, {"Retry-After": "17"}), (201, {"id": 1}))
    client = await connect(script.url)

    assert await client.create_task({"name": "x"}) == {"id": 1}

    assert clock.slept == [17.0]


async def test_a_retry_after_may_be_a_date(script, connect, clock):
    """RFC 9110 allows both forms."""
    then = datetime.fromtimestamp(clock.now_us() / 1e6 + 40, UTC)
    headers = {"Retry-After": format_datetime(then, usegmt=True)}
    script.on("GET", JOB, (503, {}, headers), (200, {}))
    client = await connect(script.url)

    await client.job(7)

    assert clock.slept == [40.0]


@pytest.mark.parametrize("text", ["-5", "soon", "9" * 400, "Mon, 99 Foo 2026", "٣"])
async def test_a_retry_after_that_is_nonsense_is_not_obeyed(script, connect, clock, text):
    """A server, or what stands before it, must not put us to sleep for years."""
    script.on("GET", JOB, (429, {}, {"Retry-After": text}))
    client = await connect(script.url)

    with pytest.raises(Throttled):
        await client.job(7)

    assert sum(clock.slept) <= 3.5


async def test_a_wait_beyond_the_limit_is_the_callers_to_decide(script, connect, clock):
    """The error says how long the server wants to be left alone."""
    script.on("GET", JOB, (429, {}, {"Retry-After": "3600"}))
    client = await connect(script.url)

    with pytest.raises(Throttled) as throttled:
        await client.job(7)

    assert throttled.value.facts["wait_s"] == 3600.0
    assert clock.slept == []


# What an answer may cost.


async def test_an_endless_answer_is_cut_off_at_the_limit(script, connect):
    """A server gone wrong, or somebody in its place, must not fill our memory."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            sent += 65_536

    script.on("GET", ANNOTATIONS, endless)
    client = await connect(script.url, limits={"annotation_bytes_max": 1 << 20})

    with pytest.raises(AnswerTooLarge):
        await client.job_annotations(7)

    assert len(script.seen) == 1
    assert sent < 16 << 20


async def test_a_compressed_answer_counts_as_what_it_becomes(script, connect):
    """64 MiB of zeros travel as 64 KiB."""
    bomb = gzip.compress(bytes(64 << 20), compresslevel=1)

    async def explode(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    script.on("GET", JOB, explode)
    client = await connect(script.url, limits={"answer_bytes_max": 1 << 20})

    with pytest.raises(AnswerTooLarge):
        await client.job(7)


async def test_a_write_whose_answer_is_too_large_is_unknown(script, connect):
    """It was carried out, but with which ids is not known."""
    script.on("PATCH", JOB, (200, {"pad": "x" * 2_000}))
    client = await connect(script.url, limits={"answer_bytes_max": 1_000})

    with pytest.raises(OutcomeUnknown):
        await client.patch_job(7, {})


def test_an_upload_may_take_longer_the_more_it_sends():
    """A video over a slow line takes hours; a silent server is noticed all the same."""
    limits = Limits(total_s=60, read_s=30, upload_bytes_per_s_min=1_000)
    body = Stream(lambda: pytest.fail("read"), 3_600_000, "video/mp4")

    timeout = timeout_of(Call("POST", "/api/tasks/5/data", body=body), limits)

    assert (timeout.total, timeout.sock_read) == (3_660, 30)
    assert timeout_of(Call("GET", JOB), limits).total == 60


async def test_no_more_requests_run_at_once_than_allowed(script, connect):
    """CVAT is somebody's server; a scan must not occupy all of its workers."""
    running, most = 0, 0
    full = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        running -= 1
        return web.json_response({})

    for number in range(12):
        script.on("GET", f"/api/jobs/{number}", slow)
    client = await connect(script.url, limits={"concurrency": 3})

    await asyncio.gather(*(client.job(number) for number in range(12)))

    assert most == 3


async def test_a_cancelled_request_gives_its_place_back(script, connect):
    """Shutting down, or giving up on a job, must not starve the others."""
    asked = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    script.on("GET", JOB, never)
    script.on("GET", "/api/jobs/8", (200, {"id": 8}))
    client = await connect(script.url, limits={"concurrency": 1})
    stuck = asyncio.create_task(client.job(7))
    await asked.wait()

    stuck.cancel()

    with pytest.raises(asyncio.CancelledError):
        await stuck
    assert await client.job(8) == {"id": 8}


# What an answer means.


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, Refused), (401, Unauthorized), (403, Forbidden), (404, NotFound), (409, Refused)],
)
async def test_each_refusal_is_an_error_of_its_own(script, connect, status, error):
    """403 means that it exists, 404 that it is gone: only one of them ends a job."""
    script.on("GET", JOB, (status, {"detail": "Not now."}))
    client = await connect(script.url)

    with pytest.raises(error) as refusal:
        await client.job(7)

    assert type(refusal.value) is error
    assert refusal.value.facts == {
        "server": "main",
        "method": "GET",
        "path": JOB,
        "status": status,
        "reason": "Not now.",
    }


async def test_the_servers_words_are_one_short_printable_line(script, connect):
    """They go into logs and terminals."""
    words = {"name": ["\x1b[31mred\n" * 500], "labels": [{"color": ["bad"]}]}
    script.on("POST", "/api/tasks", (400, words))
    client = await connect(script.url)

    with pytest.raises(Refused) as refusal:
        await client.create_task({})

    reason = refusal.value.facts["reason"]
    assert reason.startswith("name: [31mred [31mred")
    assert reason.isprintable()
    assert len(reason) == 300


async def test_a_refusal_nested_a_thousand_deep_is_a_refusal(script, connect):
    """The deepest JSON that is decoded at all must not overflow what reads its words."""
    deep = b"[" * 1_020 + b'"no"' + b"]" * 1_020

    async def nest(request: web.Request) -> web.StreamResponse:
        return web.Response(status=400, body=deep, content_type="application/json")

    script.on("GET", JOB, nest)
    client = await connect(script.url)

    with pytest.raises(Refused):
        await client.job(7)


async def test_a_page_of_html_is_not_repeated_as_a_reason(script, connect):
    """It comes from a proxy or a debug server, explains nothing and may show settings."""

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="<h1>SECRET_KEY</h1>", content_type="text/html")

    script.on("GET", JOB, page)
    client = await connect(script.url)

    with pytest.raises(NotFound) as refusal:
        await client.job(7)

    assert "reason" not in refusal.value.facts


async def test_a_write_whose_answer_cannot_be_read_is_unknown(script, connect):
    """201 and a page of a proxy: there may be a task."""
    script.on("POST", "/api/tasks", (201, ["no", "object"]))
    client = await connect(script.url)

    with pytest.raises(OutcomeUnknown):
        await client.create_task({})


@pytest.mark.parametrize("text", ["<html>Log in</html>", "", "[1]", "{", '"x"'])
async def test_an_answer_that_is_no_object_says_so(script, connect, text):
    """The address of the web interface answers 200 with a page to everything."""

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type="text/html")

    script.on("GET", JOB, page)
    client = await connect(script.url)

    with pytest.raises(ServerTrouble):
        await client.job(7)


async def test_a_redirect_is_not_followed(script, serve, connect):
    """Whoever can redirect us would be sent our credentials."""
    lured: list[str] = []

    async def lure(request: web.Request) -> web.StreamResponse:
        lured.append(request.path)
        return web.json_response({"id": 7})

    other = await serve(lure)
    script.on("GET", JOB, (302, {}, {"Location": f"{other}/api/jobs/7?token=once"}))
    client = await connect(script.url, credentials=LegacyToken("session-key"))

    with pytest.raises(ServerMoved) as moved:
        await client.job(7)

    assert lured == []
    assert moved.value.facts["target"] == "http://127.0.0.1"


@pytest.mark.parametrize("seed", range(8))
async def test_no_answer_does_more_than_be_an_error_of_ours(script, connect, seed):
    """Whatever a server, a proxy or somebody in between sends, callers can tell what it means."""
    chance = random.Random(seed)

    async def anything(request: web.Request) -> web.StreamResponse:
        bodies = (
            b"[" * 900,
            b"[" * 900 + b"]" * 900,
            b"\xff" * 9,
            b'{"a": "\\ud800"}',
            b"1e999",
            chance.randbytes(40),
            b"",
        )
        types = ("application/json", "text/html", "nonsense", "text/plain; charset=nope")
        headers = {
            "Content-Type": chance.choice(types),
            "Retry-After": chance.choice(("", "1", "never")),
            "Location": chance.choice(("", "//[", "http://[::1")),
        }
        status = chance.choice((200, 201, 204, 301, 304, 400, 401, 404, 418, 429, 500, 599))
        return web.Response(status=status, body=chance.choice(bodies), headers=headers)

    script.on("GET", JOB, anything)
    client = await connect(script.url)

    for _ in range(25):
        with pytest.raises(CvatError):
            await client.job(7)
