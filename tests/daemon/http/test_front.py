"""The process that speaks HTTP, and what it passes on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from config.settings import SERVER_NAME
from daemon import loops
from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from daemon.http import desk, listener
from daemon.http.front import answers, front, reading, wire
from daemon.http.front.wire import Limits
from tests.daemon.http.api_client import Served, served
from tests.daemon.http.conftest import SECRET, Daemon, delivery, here

SERVER = f"""
[servers.main]
url = "http://127.0.0.1:9"
webhook_secrets = ["{SECRET}"]
"""
LIMITS = Limits(64, 1_000_000, 10.0, 10.0)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def apart(folder: Path) -> AbstractAsyncContextManager[Served]:
    """Serve a data folder with a front in a process of its own, as the daemon does."""
    return served(folder, SERVER, desk.in_a_process)


async def post(daemon: Served, body: bytes) -> int:
    """Send a delivery as CVAT does; return the status."""
    headers = {SIGNATURE_HEADER: sign(body, SECRET)}
    url = f"{daemon.address}/webhooks/cvat/main"
    async with daemon.session.post(url, data=body, headers=headers) as answer:
        return answer.status


def fronts() -> list[int]:
    """Return the ids of the fronts that this process started."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    children = [int(one) for path in found for one in path.read_text().split()]
    return [one for one in children if b"daemon.http.front" in told(one, "cmdline")]


def told(process: int, what: str) -> bytes:
    """Return what the kernel tells of a process."""
    return Path(f"/proc/{process}/{what}").read_bytes()


def test_a_front_knows_the_names_that_servers_can_have():
    """It does not import the settings, which would take longer than all else at its start."""
    assert f"^{reading.SERVER.pattern}$" == SERVER_NAME


async def test_deliveries_and_other_requests_come_through_a_process_of_its_own(tmp_path: Path):
    """All of it once as it is in the field: process, sockets, signals."""
    async with apart(tmp_path) as daemon:
        statuses = [await post(daemon, delivery(id=number)) for number in (1, 2, 2)]
        health = await daemon.ask("/healthz")
        running = fronts()

        assert statuses == [204, 204, 204]
        assert health.status == 200
        assert await daemon.app.store.head() == 2
    assert (len(running), fronts()) == (1, [])


async def test_a_daemon_that_serves_takes_short_turns(tmp_path: Path):
    """A commit asks for the interpreter several times, and a fold would keep it for 5 ms each."""
    before_s = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.005)
        async with served(tmp_path, SERVER):
            during_s = sys.getswitchinterval()
    finally:
        sys.setswitchinterval(before_s)

    assert during_s == pytest.approx(loops.TURN_S)


async def test_a_front_that_dies_is_replaced_and_connections_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The port is the daemon's, so nobody is refused meanwhile."""
    monkeypatch.setattr(desk, "AGAIN_S", 0.0)
    with structlog.testing.capture_logs() as lines:
        async with apart(tmp_path) as daemon:
            (process,) = fronts()
            os.kill(process, signal.SIGKILL)
            status = await post(daemon, delivery(id=1))

            assert status == 204
            assert fronts() != [process]
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["front_ended"]


async def test_a_front_that_cannot_be_started_again_at_once_is_tried_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A machine without handles or memory for a moment must not cost the port for good."""
    tries = iter([False, True])

    async def start(*given: Any) -> None:
        if not next(tries):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        await here(*given)

    monkeypatch.setattr(desk, "AGAIN_S", 0.0)
    with structlog.testing.capture_logs() as lines:
        async with served(tmp_path, SERVER, start) as daemon:
            assert await post(daemon, delivery(id=1)) == 204

    errors = [line["event"] for line in lines if line["log_level"] == "error"]
    assert errors == ["front_not_started", "front_ended"]


async def test_a_front_that_never_gets_ready_keeps_the_daemon_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A daemon without a port would look alive and hear nothing."""

    async def start(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(desk, "READY_S", 0.01)
    monkeypatch.setattr(desk, "STOP_S", 0.0)
    monkeypatch.setattr(desk, "HEADS_S", 0.0)
    monkeypatch.setattr(desk, "END_S", 0.01)

    with pytest.raises(desk.FrontFailed, match="does not start"):
        async with served(tmp_path, SERVER, start):
            pass


async def test_a_front_has_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It speaks with strangers; what it does not know, nobody can have of it."""
    monkeypatch.setenv("LABELTRAIL_SERVERS__MAIN__TOKEN", "hush")
    async with apart(tmp_path):
        (process,) = fronts()
        environment = told(process, "environ")

        assert b"PATH=" in environment
        assert b"LABELTRAIL" not in environment


async def test_a_front_whose_daemon_is_gone_answers_that_it_cannot_and_ends(tmp_path: Path):
    """A daemon that was killed must leave no process behind that answers for it."""
    bound = listener.bind("127.0.0.1", 0)
    address = listener.address_of(bound)
    ours, theirs = socket.socketpair()
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    channel = wire.Channel(lambda kind, body: heard.put_nowait(kind), lambda: None)
    await channel.join(ours)
    serving = asyncio.create_task(front.serve(bound, theirs, tmp_path / "nobody", LIMITS))
    kinds = [await heard.get()]
    async with aiohttp.ClientSession() as session:
        url = f"{address}/webhooks/cvat/main"
        posting = asyncio.ensure_future(session.post(url, data=delivery()))
        kinds.append(await heard.get())
        channel.close()
        answer = await posting
        await asyncio.wait_for(serving, 10)

        assert kinds == [wire.READY, wire.DELIVERIES]
        assert (answer.status, answer.headers["Retry-After"]) == (503, str(answers.RETRY_AFTER_S))


async def test_a_site_that_does_not_answer_is_told_as_such(daemon: Daemon, tmp_path: Path):
    """A monitor must see a 503 rather than a connection that breaks."""
    daemon.site.unlink()

    async with daemon.session.get(f"{daemon.address}/healthz") as answer:
        assert answer.status == 503


async def test_nobody_can_say_that_they_are_somebody_else(daemon: Daemon):
    """Rates and /metrics go by the address that a request comes from."""
    with structlog.testing.capture_logs() as lines:
        headers = {wire.PEER_HEADER: "10.0.0.1"}
        async with daemon.session.get(f"{daemon.address}/nothing?a=%20b", headers=headers):
            pass

    assert [line["peer"] for line in lines if line["event"] == "request"] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: x\r\n\r\n", b" 405 "),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b" 404 "),
        (b"GET http://elsewhere/healthz HTTP/1.1\r\nHost: x\r\n\r\n", b" 200 "),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: \xff\r\n\r\n", b" 200 "),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: X-A\r\nX-A: 1\r\n\r\n", b" 200 "),
        (b"GET /healthz HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", b" 200 "),
    ],
)
async def test_odd_requests_are_answered_and_break_nothing(
    daemon: Daemon, sent: bytes, status: bytes
):
    """What is passed on is spelled anew, and the site must not choke on what strangers send."""
    with structlog.testing.capture_logs() as lines:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(daemon.address.split(":")[2])
        )
        writer.write(sent)
        answer = await reader.readline()
        writer.close()

    assert status in answer
    assert [line for line in lines if line["log_level"] == "error"] == []


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(daemon: Daemon):
    """curl does so with larger bodies, and waits a second otherwise."""
    body = delivery()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(daemon.address.split(":")[2]))
    writer.write(
        f"POST /webhooks/cvat/main HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        f"{SIGNATURE_HEADER}: {sign(body, SECRET)}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    told = await reader.readuntil(b"\r\n\r\n")
    writer.write(body)
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()

    assert told.startswith(b"HTTP/1.1 100 ")
    assert answer.startswith(b"HTTP/1.1 204 ")


async def test_what_a_front_brought_is_recorded_though_nobody_waits_any_more(tmp_path: Path):
    """A sender that gives up repeats it, and some never do."""
    async with apart(tmp_path) as daemon:
        body = delivery()
        port = int(daemon.address.split(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"{SIGNATURE_HEADER}: {sign(body, SECRET)}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(f"POST /webhooks/cvat/main HTTP/1.1\r\nHost: x\r\n{head}".encode() + body)
        await writer.drain()
        writer.close()
        await asyncio.wait_for(daemon.app.store.wait_beyond(0), 10)

        with closing(daemon.app.store.reader()) as reader:
            assert [row.type for row in reader.read()] == ["DeliveryReceived"]
