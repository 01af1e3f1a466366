"""The process that speaks HTTP, and what it passes on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import structlog

from config.settings import SERVER_NAME
from daemon.app import App, open_app
from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from daemon.http import desk, listener
from daemon.http.front import front, reading, wire
from daemon.http.front.wire import Limits
from daemon.store.sqlite import SqliteStore
from events.server import DeliveryReceived
from tests.daemon.http.conftest import SECRET, Daemon, delivery

SETTINGS = f"""
[data]
folder = "data"
[http]
port = 0
[servers.main]
url = "http://127.0.0.1:9"
webhook_secrets = ["{SECRET}"]
"""
LIMITS = Limits(64, 1_000_000, 10.0, 10.0)


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[App]:
    """Serve a data folder with a front in a process of its own."""
    (folder / "labeltrail.toml").write_text(SETTINGS)
    async with (
        open_app(folder / "labeltrail.toml", actor="daemon") as app,
        listener.listening(app) as app.address,
    ):
        yield app


async def post(app: App, body: bytes) -> int:
    headers = {SIGNATURE_HEADER: sign(body, SECRET)}
    url = f"{app.address}/webhooks/cvat/main"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as answer,
    ):
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
    async with listening(tmp_path) as app, aiohttp.ClientSession() as session:
        statuses = [await post(app, delivery(id=number)) for number in (1, 2, 2)]
        async with session.get(f"{app.address}/healthz") as health:
            healthy = await health.text()
        running = fronts()

        assert statuses == [204, 204, 204]
        assert (health.status, bool(healthy)) == (200, True)
        assert await app.store.head() == 2
    assert (len(running), fronts()) == (1, [])


async def test_a_front_that_dies_is_replaced_and_connections_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The port is the daemon's, so nobody is refused meanwhile."""
    monkeypatch.setattr(desk, "AGAIN_S", 0.0)
    with structlog.testing.capture_logs() as lines:
        async with listening(tmp_path) as app:
            (process,) = fronts()
            os.kill(process, signal.SIGKILL)
            status = await post(app, delivery(id=1))

            assert status == 204
            assert fronts() != [process]
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["front_ended"]


async def test_a_front_has_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It speaks with strangers; what it does not know, nobody can have of it."""
    monkeypatch.setenv("LABELTRAIL_SERVERS__MAIN__TOKEN", "hush")
    async with listening(tmp_path):
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
        assert (answer.status, answer.headers["Retry-After"]) == (503, str(front.RETRY_AFTER_S))


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
    async with listening(tmp_path) as app:
        body = delivery()
        port = int((app.address or "").split(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"{SIGNATURE_HEADER}: {sign(body, SECRET)}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(f"POST /webhooks/cvat/main HTTP/1.1\r\nHost: x\r\n{head}".encode() + body)
        await writer.drain()
        writer.close()
        assert isinstance(app.store, SqliteStore)
        await asyncio.wait_for(app.store.wait_beyond(0), 10)

        (row,) = app.store.reader().read()
        assert row.type == DeliveryReceived.__name__
