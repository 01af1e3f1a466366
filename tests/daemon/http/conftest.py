"""A webhook receiver on a real socket, over a real log in memory."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from config.settings import Http
from daemon.app import UnknownServer
from daemon.clock import SystemClock
from daemon.cvat.signatures import SIGNATURE_HEADER, sign
from daemon.http.bodies import Bodies
from daemon.http.front import front
from daemon.http.front.wire import Limits
from daemon.http.health import Readyz
from daemon.http.listener import address_of, bind, in_front, make_site
from daemon.http.receiver import Receiver
from daemon.http.requests import Requests
from daemon.metrics import Metrics
from daemon.ports.store import EventStore
from daemon.projector import MemoryProjections
from daemon.store.memory import MemoryStore
from events.registry import Fact
from events.server import DeliveryReceived
from projections.folds import FOLDS

SECRET = "the secret in force"
OLD_SECRET = "the secret before"


class HeldClock(SystemClock):
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 1_000.0

    def monotonic_s(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


async def here(bound: socket.socket, site: Path, limits: Limits, pair: socket.socket) -> None:
    """Run a front in this process: all of it but the process."""
    await front.serve(bound.dup(), pair, site, limits)


@dataclass
class Daemon:
    """What a test holds: the address, the log, and what was heard of deliveries."""

    address: str
    site: Path
    store: EventStore
    projections: MemoryProjections
    clock: HeldClock
    receiver: Receiver
    folder: Path
    session: aiohttp.ClientSession
    heard: list[tuple[str, DeliveryReceived]] = field(default_factory=list)

    async def post(
        self,
        body: bytes,
        *,
        server: str = "main",
        secret: str | None = SECRET,
        signature: str | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a delivery as CVAT does."""
        headers = {"Content-Type": "application/json"}
        if signature is not None or secret is not None:
            headers[SIGNATURE_HEADER] = signature or sign(body, secret or "")
        url = f"{self.address}/webhooks/cvat/{server}"
        async with self.session.post(url, data=body, headers=headers) as answer:
            await answer.read()
            return answer

    def facts(self) -> list[Fact]:
        """Return every fact in the log."""
        reader = self.store.reader()
        return [reader.fact(row) for row in reader.read()]


Start = Callable[..., AbstractAsyncContextManager[Daemon]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Return what starts a receiver, with other limits or another store where a test wants."""

    @asynccontextmanager
    async def started(store: EventStore | None = None, **limits: Any) -> AsyncIterator[Daemon]:
        clock = HeldClock()
        kept = store or MemoryStore(clock)
        projections = MemoryProjections(kept, FOLDS)
        bodies = Bodies(tmp_path, clock, keep_days=30, bytes_max=1_000_000)
        heard: list[tuple[str, DeliveryReceived]] = []

        def secrets(server: str) -> list[str]:
            if server != "main":
                raise UnknownServer("no such server is declared", server=server)
            return [SECRET, OLD_SECRET]

        receiver = Receiver(
            kept,
            projections,
            clock,
            secrets=secrets,
            on_delivery=lambda server, fact: heard.append((server, fact)),
            bodies=bodies,
        )
        http = Http(port=0, **limits)
        bound = bind(http.host, http.port)
        address = address_of(bound)
        requests = Requests(Metrics())
        site = make_site(requests, Readyz(kept, projections), http)
        place = tmp_path / "socket"
        try:
            async with (
                in_front(receiver, requests, site, place, bound, http, here),
                aiohttp.ClientSession() as session,
            ):
                at = place.with_name(f"{place.name}-http")
                yield Daemon(
                    address, at, kept, projections, clock, receiver, tmp_path, session, heard
                )
        finally:
            await asyncio.to_thread(bodies.close)
            if not projections._closed:
                await projections.close()
            await kept.close()

    return started


@pytest.fixture
async def daemon(start: Start) -> AsyncIterator[Daemon]:
    """Return a receiver with the usual limits."""
    async with start() as running:
        yield running


def delivery(event: str = "update:job", **resource: Any) -> bytes:
    """Return a body as CVAT 2.15 writes it."""
    job = {"id": 7, "task_id": 3, "project_id": 2, "updated_date": "2026-11-22T10:00:00.000001Z"}
    kind = event.partition(":")[2]
    return json.dumps(
        {
            "event": event,
            kind: job | resource,
            "sender": {"id": 5, "username": "anna"},
            "before_update": {"updated_date": "2026-11-22T09:00:00Z"},
            "webhook_id": 1,
        }
    ).encode()


def reordered(body: bytes) -> bytes:
    """Return the same document as a redelivery sends it: read from storage, keys in any order."""
    return json.dumps(dict(reversed(json.loads(body).items())), separators=(", ", ":")).encode()


Wait = Callable[[], Awaitable[None]]
