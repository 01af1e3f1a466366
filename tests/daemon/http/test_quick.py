"""The short way of a delivery: what takes it, and that nobody can tell which way one went."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web

from daemon.clock import SystemClock
from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from daemon.http.front import answers, front, quick
from daemon.http.front.wire import Answer
from events.registry import Fact
from events.server import DeliveryRefused
from tests.daemon.http.conftest import SECRET, Daemon, Start, delivery
from tests.daemon.http.test_webhook import SlowStore

BYTES_MAX = 2_000
MUTATIONS = 300
SEED = 20261130
RESET = b"(reset)"


def request(
    body: bytes = b"{}",
    *,
    line: str = "POST /webhooks/cvat/main HTTP/1.1",
    fields: Sequence[str] = (),
    length: str | None = None,
    secret: str = SECRET,
) -> bytes:
    """Return a request as CVAT's client spells it, with some fields more."""
    head = [
        line,
        "Host: here:8787",
        "User-Agent: python-requests/2.32.2",
        "Accept-Encoding: gzip, deflate",
        "Accept: */*",
        "Connection: keep-alive",
        f"{SIGNATURE_HEADER}: {sign(body, secret)}",
        f"Content-Length: {len(body)}" if length is None else length,
        "Content-Type: application/json",
        *fields,
    ]
    lines = [one for one in head if one]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


PLAIN = {
    "as CVAT sends it": request(),
    "no signature": request().replace(b"X-Signature-256", b"X-Other"),
    "lower-case names": request().replace(b"Content-Length", b"content-length"),
    "through a proxy": request(fields=["X-Forwarded-For: 10.0.0.1, 10.0.0.2"]),
    "nothing of connections": request().replace(b"Connection: keep-alive\r\n", b""),
    "a wrong signature": request(secret="wrong"),
    "the largest body": request(b"x" * BYTES_MAX),
}
DOUBTFUL = {
    "another method": request(line="PUT /webhooks/cvat/main HTTP/1.1"),
    "a method in lower case": request(line="post /webhooks/cvat/main HTTP/1.1"),
    "HTTP/1.0": request(line="POST /webhooks/cvat/main HTTP/1.0"),
    "absolute-form": request(line="POST http://here/webhooks/cvat/main HTTP/1.1"),
    "a query": request(line="POST /webhooks/cvat/main?a=b HTTP/1.1"),
    "a fragment": request(line="POST /webhooks/cvat/main#a HTTP/1.1"),
    "an escaped path": request(line="POST /webhooks/cvat/m%61in HTTP/1.1"),
    "two spaces": request(line="POST  /webhooks/cvat/main HTTP/1.1"),
    "a name that no server has": request(line="POST /webhooks/cvat/Main HTTP/1.1"),
    "another path": request(line="POST /healthz HTTP/1.1"),
    "no length": request(length=""),
    "two lengths that differ": request(fields=["Content-Length: 3"]),
    "two lengths that agree": request(fields=["Content-Length: 2"]),
    "a length with a sign": request(length="Content-Length: +2"),
    "a length of two": request(length="Content-Length: 2, 2"),
    "a length in digits of another script": request(length="Content-Length: \xb2"),
    "a length with an underscore": request(b"x" * 10, length="Content-Length: 1_0"),
    "a length with zeros before it": request(length="Content-Length: 002"),
    "a negative length": request(length="Content-Length: -2"),
    "no body": request(b""),
    "a body too large": request(b"x" * (BYTES_MAX + 1)),
    "a length beyond all measure": request(length=f"Content-Length: {'9' * 400}"),
    "two signatures": request(fields=[f"{SIGNATURE_HEADER}: {sign(b'{}', SECRET)}"]),
    "no host": request().replace(b"Host: here:8787\r\n", b""),
    "two hosts": request(fields=["Host: there"]),
    "chunked": request(b"2\r\n{}\r\n0\r\n\r\n", length="Transfer-Encoding: chunked"),
    "chunked with a length": request(fields=["Transfer-Encoding: chunked"]),
    "an encoding nobody knows": request(fields=["Transfer-Encoding: x"]),
    "an encoding behind a tab": request(fields=["Transfer-Encoding:\tchunked"]),
    "asks first": request(fields=["Expect: 100-continue"]),
    "asks for something else": request(fields=["Upgrade: websocket"]),
    "an old websocket": request(fields=["Sec-WebSocket-Key1: x"]),
    "what old proxies are told": request(fields=["Proxy-Connection: close"]),
    "the last one": request().replace(b"keep-alive", b"close"),
    "names a field of the hop": request().replace(b"keep-alive", b"keep-alive, x-signature-256"),
    "a folded field": request(fields=["X-A: a\r\n b"]),
    "a line that begins with a space": request(fields=[" X-A: a"]),
    "a space before the colon": request(fields=["X-A : a"]),
    "no space behind it": request(fields=["X-A:a"]),
    "two spaces behind it": request(fields=["X-A:  a"]),
    "a space at the end": request(fields=["X-A: a "]),
    "an empty value": request(fields=["X-A: "]),
    "an empty name": request(fields=[": a"]),
    "no colon": request(fields=["X-A"]),
    "a name with a space": request(fields=["X A: a"]),
    "a name that is not ASCII": request(fields=["X-\xe4: a"]),
    "a value that is not ASCII": request(fields=["X-A: \xe4"]),
    "a NUL": request(fields=["X-A: a\0b"]),
    "a tab": request(fields=["X-A: a\tb"]),
    "a bare carriage return": request(fields=["X-A: a\rContent-Length: 9"]),
    "a bare line feed": request(fields=["X-A: a\nContent-Length: 9"]),
    "lines that end in line feeds": request().replace(b"\r\n", b"\n"),
    "a head that ends in line feeds": request().replace(b"\r\n\r\n", b"\n\n"),
    "an empty line first": b"\r\n" + request(),
    "a head as long as a letter": request(fields=[f"X-A: {'a' * quick.HEAD_BYTES_MAX}"]),
    "a field too long": request(fields=[f"X-A: {'a' * front.HEAD_BYTES_MAX}"]),
    "more fields than anybody needs": request(fields=[f"X-{n}: a" for n in range(64)]),
    "too many fields": request(fields=[f"X-{n}: a" for n in range(200)]),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 30 + b"\r\n\r\n",
}

MORE = {
    "two at once": request() + request(b'{"event": "ping"}'),
    "something behind it": request() + b"GET / HTTP/1.1\r\n\r\n",
    "a byte too many": request() + b"x",
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_plain_to_see_is_seen(name: str):
    """Or else the short way would be for benchmarks only."""
    came = PLAIN[name]

    found = quick.seen(came, bytes_max=BYTES_MAX)

    assert found is not None
    assert (found.server, found.end) == ("main", len(came))
    assert found.begin == came.index(b"\r\n\r\n") + 4


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_leaves_a_doubt_is_not_taken(name: str):
    """Where two programs may read a head differently, one of them can be fooled."""
    assert quick.seen(DOUBTFUL[name], bytes_max=BYTES_MAX) is None


@pytest.mark.parametrize("cut", range(0, 300, 7))
def test_no_beginning_of_a_request_is_taken_for_a_whole_one(cut: int):
    """The network cuts where it likes."""
    found = quick.seen(request()[:cut], bytes_max=BYTES_MAX)

    assert found is None or found.end > cut


def test_a_hostile_head_is_looked_at_in_no_time():
    """A pattern that tries each way to read a line would stop the front for seconds."""
    spaces = b"X-A: " + b"a " * 2_000 + b"\x00"
    names = b"x" * 4_000
    lines = b"".join(b"a: b\r\n" for _ in range(600))
    clock = SystemClock()
    began_s = clock.monotonic_s()

    for tail in (spaces, names, lines):
        for _ in range(100):
            assert quick.seen(PLAIN["as CVAT sends it"][:60] + tail, bytes_max=BYTES_MAX) is None

    assert clock.monotonic_s() - began_s < 1.0


async def test_both_ways_give_the_same_answers_records_and_lines(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    """Which way a request goes depends on how the network cuts it: nobody may be able to tell."""
    known = [*PLAIN.values(), *DOUBTFUL.values(), *MORE.values()]
    requests = [*known, *mutated(random.Random(SEED))]
    ours = await taken(start, requests, "whole")
    monkeypatch.setattr(quick, "seen", lambda came, *, bytes_max: None)
    theirs = await taken(start, requests, "whole")

    for sent, mine, other in zip(requests, ours[0], theirs[0], strict=True):
        assert mine == other, f"seed {SEED}: {sent!r}"
    assert ours[1:] == theirs[1:]


@pytest.mark.parametrize("pieces", ["head and body", "bytes"])
async def test_both_ways_give_the_same_answers_to_pieces(
    start: Start, monkeypatch: pytest.MonkeyPatch, pieces: str
):
    """The texts of aiohttp's answers quote as much as came together, so statuses are compared."""
    requests = [*PLAIN.values(), *DOUBTFUL.values()]
    ours, *_ = await taken(start, requests, pieces)
    monkeypatch.setattr(quick, "seen", lambda came, *, bytes_max: None)
    theirs, *_ = await taken(start, requests, pieces)

    for sent, mine, other in zip(requests, ours, theirs, strict=True):
        # Who is refused in the middle of a head may lose the answer: the kernel decides.
        if RESET not in mine + other:
            assert statuses(mine) == statuses(other), sent


def statuses(answered: bytes) -> list[bytes]:
    """Return the statuses of all answers."""
    return re.findall(rb"HTTP/1\.[01] (\d+) ", answered)


def mutated(dice: random.Random) -> list[bytes]:
    """Return requests with a slip or two in their heads."""
    odd = [b"\r\n", b"\n", b"\r", b" ", b":", b"\t", b"\0", b"0", b"content-length: 1\r\n", b"\xff"]
    found = []
    for number in range(MUTATIONS):
        sent = bytearray(request(delivery(id=number + 1)))
        for _ in range(dice.randint(1, 2)):
            at = dice.randrange(sent.index(b"{"))
            match dice.randrange(4):
                case 0:
                    sent[at:at] = dice.choice(odd)
                case 1:
                    sent[at] = dice.randrange(256)
                case 2:
                    del sent[at : at + dice.randint(1, 20)]
                case _:
                    sent[at:at] = sent[at : at + dice.randint(1, 60)]
        found.append(bytes(sent))
    return found


Taken = tuple[list[bytes], list[Fact], int, list[str]]


async def taken(start: Start, requests: Sequence[bytes], pieces: str) -> Taken:
    """Return all that was answered, what was recorded, and the lines that tell of it."""
    limits = {"body_bytes_max": BYTES_MAX, "request_s": 2.0, "keepalive_s": 1.0}
    with structlog.testing.capture_logs() as lines:
        async with start(connections_max=1_000, **limits) as daemon:
            answered = await asyncio.gather(*(said(daemon, one, pieces) for one in requests))
            await daemon.receiver.refusals.flush()
            facts = daemon.facts()
    refused = sum(fact.count for fact in facts if isinstance(fact, DeliveryRefused))
    received = [fact for fact in facts if not isinstance(fact, DeliveryRefused)]
    told = [line for line in lines if line["event"] != "deliveries"]
    return answered, sorted(received, key=repr), refused, sorted(map(without_ms, told))


def without_ms(line: Any) -> str:
    """Return a line without how long it took."""
    return repr(sorted((name, value) for name, value in line.items() if name != "ms"))


async def said(daemon: Daemon, sent: bytes, pieces: str) -> bytes:
    """Send bytes; return all that comes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(daemon.address.split(":")[2]))
    head, end, body = sent.partition(b"\r\n\r\n")
    parts = {"whole": [sent], "head and body": [head + end, body], "bytes": cut(sent)}
    came = b""
    try:
        for part in parts[pieces]:
            writer.write(part)
            await asyncio.sleep(0.001)
        while part := await reader.read(65_536):
            came += part
    except ConnectionError:
        came += RESET
    writer.close()
    return re.sub(rb"Date: [^\r]+", b"Date: today", came)


def cut(sent: bytes) -> list[bytes]:
    """Return a request in pieces: the first bytes one by one, then larger ones."""
    return [sent[:1], sent[1:2], *(sent[at : at + 200] for at in range(2, len(sent), 200))]


@pytest.mark.parametrize("pieces", ["whole", "head and body"])
async def test_a_connection_of_deliveries_never_becomes_aiohttps(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, pieces: str
):
    """Without this the short way could be closed, and no other test would see it."""

    def usual(_server: web.Server) -> None:
        raise AssertionError("not the short way")

    monkeypatch.setattr(web.Server, "__call__", usual)
    reader, writer = await connected(daemon)
    for number in (1, 2, 3):
        head, end, body = request(delivery(id=number)).partition(b"\r\n\r\n")
        for part in [head + end + body] if pieces == "whole" else [head + end, body]:
            writer.write(part)
            await asyncio.sleep(0.01)
        assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()

    assert len(daemon.facts()) == 3


async def test_a_body_that_does_not_come_soon_is_waited_for_by_aiohttp(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    """One clock for slow bodies is enough, and it answers 408."""
    monkeypatch.setattr(quick, "REST_S", 0.0)
    async with start(request_s=0.2) as daemon:
        reader, writer = await connected(daemon)
        writer.write(request(delivery())[:-5])

        assert b" 408 " in await reader.readline()
        assert daemon.facts() == [DeliveryRefused(reason="too slow")]
        writer.close()


async def test_who_does_not_wait_for_an_answer_gets_all_of_them_in_turn(start: Start):
    """What comes behind a delivery on its way is kept, and other requests may be among it."""
    store = SlowStore()
    async with start(store) as daemon:
        reader, writer = await connected(daemon)
        writer.write(request(delivery(id=1)))
        await store.asked.wait()
        writer.write(request(delivery(id=2)))
        await asyncio.sleep(0.01)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + request(delivery(id=3)))
        await asyncio.sleep(0.01)
        store.synced.set()

        heads = [await reader.readuntil(b"\r\n\r\n") for _ in range(2)]
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readuntil(b"ok\n")
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

        assert [head.split()[1] for head in heads] == [b"204", b"204", b"200", b"204"]
        assert len(daemon.facts()) == 3


class Pipe:
    """A transport that remembers what is asked of it."""

    def __init__(self) -> None:
        self.sent = b""
        self.asked: list[str] = []

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return "10.0.0.1", 80

    def write(self, sent: bytes) -> None:
        self.sent += sent

    def __getattr__(self, name: str) -> Any:
        return lambda: self.asked.append(name)


class Deliveries:
    """Stands for the way to the daemon."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def __call__(self, server: str, peer: Any, signature: Any, body: bytes, told: Any) -> None:
        self.waiting.append(told)


def opened(deliveries: Deliveries, keepalive_s: float = 10.0) -> tuple[quick.Quick, Any, Pipe]:
    """Return a connection of the short way, over a pipe."""
    made = quick.Quick(_nobody, deliveries, bytes_max=BYTES_MAX, keepalive_s=keepalive_s)
    connection, pipe = made(), Pipe()
    connection.connection_made(pipe)  # type: ignore[arg-type]
    return made, connection, pipe


def _nobody() -> asyncio.Protocol:
    raise AssertionError("not the short way")


async def test_who_sends_without_waiting_is_read_no_further(monkeypatch: pytest.MonkeyPatch):
    """Memory is for labels: one piece of the network's is kept, and it waits with the rest."""
    deliveries = Deliveries()
    _, connection, pipe = opened(deliveries)

    connection.data_received(request())
    connection.data_received(request())
    paused = [*pipe.asked]
    deliveries.waiting[0](Answer(0, 204))

    assert paused == ["pause_reading"]
    assert pipe.asked == ["pause_reading", "resume_reading"]
    assert len(deliveries.waiting) == 2


async def test_who_does_not_read_answers_is_read_no_further():
    """Answers that nobody takes would pile up."""
    deliveries = Deliveries()
    _, connection, pipe = opened(deliveries)

    connection.data_received(request())
    connection.pause_writing()
    connection.data_received(request())
    deliveries.waiting[0](Answer(0, 204))
    taken = len(deliveries.waiting)
    connection.resume_writing()

    assert (taken, len(deliveries.waiting)) == (1, 2)
    assert pipe.asked[-1] == "resume_reading"


async def test_an_answer_for_who_hung_up_goes_nowhere():
    """The delivery is recorded all the same; its sender will hear of that when it repeats it."""
    deliveries = Deliveries()
    made, connection, pipe = opened(deliveries)

    connection.data_received(request())
    connection.connection_lost(None)
    deliveries.waiting[0](Answer(0, 204))

    assert (pipe.sent, made.open) == (b"", set())


async def test_an_idle_connection_is_closed_and_one_that_waits_is_not():
    """A handle costs memory; a delivery that takes long is no reason to hang up."""
    deliveries = Deliveries()
    _, idle, idle_pipe = opened(deliveries, keepalive_s=0.02)
    _, waiting, waiting_pipe = opened(deliveries, keepalive_s=0.02)
    waiting.data_received(request())

    await asyncio.sleep(0.1)

    assert idle_pipe.asked == ["close"]
    assert waiting_pipe.asked == []
    deliveries.waiting[0](Answer(0, 204))
    await asyncio.sleep(0.1)
    assert waiting_pipe.asked == ["close"]
    idle.connection_lost(None)
    waiting.connection_lost(None)


async def test_a_stop_waits_for_answers_and_closes_what_is_idle():
    """A restart must not cost a sender its answer: older servers never ask again."""
    deliveries = Deliveries()
    made, idle, idle_pipe = opened(deliveries)
    waiting, pipe = made(), Pipe()
    waiting.connection_made(pipe)  # type: ignore[arg-type]
    waiting.data_received(request())
    ending = asyncio.create_task(made.end(10.0))
    await asyncio.sleep(0)
    first = ([*idle_pipe.asked], [*pipe.asked])
    idle.connection_lost(None)
    deliveries.waiting[0](Answer(0, 204))
    closed = [*pipe.asked]
    waiting.connection_lost(None)
    await ending

    assert first == (["close"], [])
    assert (closed, pipe.sent[:13]) == (["close"], b"HTTP/1.1 204 ")


async def test_a_stop_waits_no_longer_than_it_may():
    """A disk that hangs must not keep the service from its end."""
    made, connection, pipe = opened(Deliveries())
    connection.data_received(request())

    await made.end(0.01)

    assert pipe.asked == ["abort"]
    connection.connection_lost(None)


async def test_a_delivery_on_its_way_is_answered_before_the_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    """The same with the whole daemon around it."""
    store = SlowStore()
    async with start(store) as daemon:
        reader, writer = await connected(daemon)
        writer.write(request(delivery()))
        await store.asked.wait()
        asyncio.get_running_loop().call_later(0.1, store.synced.set)

    assert b" 204 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize(
    "answer", [Answer(0, 204), Answer(0, 401, "no\n"), Answer(0, 503, "not now\n")]
)
async def test_both_spellings_of_an_answer_are_alike(answer: Answer):
    """Whoever debugs a sender should not have to know of two ways."""

    async def handle(_request: web.BaseRequest) -> web.Response:
        return answers.response(answer, close=False)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
    told = await reader.readuntil(b"\r\n\r\n") + answer.text.encode()
    writer.close()
    await runner.cleanup()

    assert re.sub(rb"Date: [^\r]+", b"", answers.spelled(answer)) == re.sub(
        rb"Date: [^\r]+", b"", told
    )


async def connected(daemon: Daemon) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection."""
    return await asyncio.open_connection("127.0.0.1", int(daemon.address.split(":")[2]))


async def test_a_mistake_of_ours_closes_one_connection_and_is_told_without_words_of_the_body(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a loop writes by itself about an exception quotes it, and it may hold anything."""
    words = "ann@example.com"

    def mistaken(came: bytes, *, bytes_max: int) -> None:
        raise KeyError(words)

    with structlog.testing.capture_logs() as lines:
        with monkeypatch.context() as patched:
            patched.setattr(quick, "seen", mistaken)
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await daemon.post(delivery(id=1))
        answer = await daemon.post(delivery(id=2))

    assert answer.status == 204
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["error"]) == ("front_failed", "KeyError")
    assert "mistaken" in line["where"]
    assert words not in str(lines)
