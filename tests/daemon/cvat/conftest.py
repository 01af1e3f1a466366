"""Real servers on loopback, a clock that does not wait, and recorded traffic."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from daemon.cvat.client import CvatClient
from daemon.cvat.server import Limits, ServerConfig
from daemon.cvat.wire import open_wire

SAMPLES = Path(__file__).parents[2] / "samples" / "cvat"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class InstantClock:
    """A clock on which waiting takes no time; it remembers how long each wait was."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[int], Awaitable[None]] | None = None

    def now_us(self) -> int:
        return 1_795_000_000_000_000 + int(self.seconds * 1e6)

    def monotonic_s(self) -> float:
        return self.seconds

    def new_id(self) -> bytes:
        return bytes(16)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        if self.on_sleep is not None:
            await self.on_sleep(len(self.slept))


@dataclass
class Seen:
    """One request as the server got it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    raw_path: str

    def json(self) -> Any:
        return json.loads(self.body)


class Script:
    """A real server that answers each path from a list of answers; the last one stays."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._answers: dict[tuple[str, str], deque[Handler]] = defaultdict(deque)
        self.url = ""

    def on(self, method: str, path: str, *answers: Any) -> None:
        """Add answers: status, (status, JSON), (status, JSON, headers), "cut" or a handler."""
        self._answers[method, path].extend(map(_handler, answers))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        answers = self._answers[request.method, request.path]
        handler = answers.popleft() if len(answers) > 1 else answers[0] if answers else _missing
        body = await request.read()
        self.seen.append(
            Seen(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                body,
                request.raw_path,
            )
        )
        return await handler(request)

    def forget(self) -> None:
        self._answers.clear()

    def paths(self) -> list[str]:
        return [f"{seen.method} {seen.path}" for seen in self.seen]


async def _missing(request: web.Request) -> web.StreamResponse:
    return web.json_response({"detail": "Not found."}, status=404)


async def _cut(request: web.Request) -> web.StreamResponse:
    """Close the connection instead of answering."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _handler(answer: Any) -> Handler:
    if callable(answer):
        return answer
    if answer == "cut":
        return _cut
    status, document, headers, *_ = (
        *(answer if isinstance(answer, tuple) else [answer]),
        None,
        None,
    )

    async def handle(request: web.Request) -> web.StreamResponse:
        if document is None:
            return web.Response(status=status, headers=headers)
        return web.json_response(document, status=status, headers=headers)

    return handle


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Start servers on free ports of loopback; return their urls."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler, *, ssl: Any = None) -> str:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl).start()
        host, port = runner.addresses[0][:2]
        return f"{'https' if ssl else 'http'}://{host}:{port}"

    yield start

    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def script(serve: Callable[..., Awaitable[str]]) -> Script:
    script = Script()
    script.url = await serve(script.handle)
    return script


@pytest.fixture
def clock() -> InstantClock:
    return InstantClock()


@pytest.fixture
async def connect(clock: InstantClock) -> AsyncIterator[Callable[..., Awaitable[CvatClient]]]:
    """Make clients that wait on the instant clock, always the whole backoff (jitter is 1)."""
    clients: list[CvatClient] = []

    async def make(url: str, *, limits: dict[str, Any] | None = None, **config: Any) -> CvatClient:
        bounds = Limits(**{"read_s": 10, "total_s": 20, **(limits or {})})
        wire = await open_wire(
            ServerConfig("main", url, limits=bounds, **config), clock, jitter=lambda: 1.0
        )
        clients.append(CvatClient(wire))
        return clients[-1]

    yield make

    for client in clients:
        await client.close()


def recorded(version: str, name: str) -> Iterator[dict[str, Any]]:
    """Read a recording of a real server, exchange by exchange."""
    suffix = "" if version == "2.15" else f"-{version}"
    with gzip.open(SAMPLES / version / f"{name}{suffix}.jsonl.gz", "rt") as lines:
        yield from map(json.loads, lines)


@pytest.fixture
def recording() -> Callable[[str, str], list[dict[str, Any]]]:
    return lambda version, name: list(recorded(version, name))
