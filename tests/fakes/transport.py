"""The client's HTTP without sockets: what it would send goes straight into the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from daemon.cvat.client import CvatClient
from daemon.cvat.server import BasicLogin, ServerConfig
from daemon.cvat.wire import Wire
from daemon.sandbox import Sandbox

Pause = Callable[[], Awaitable[None]]
Overhear = Callable[[str, str], None]


class _Content:
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for first in range(0, len(self._body), size):
            yield self._body[first : first + size]


class _Response:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = CIMultiDict(headers)
        self.content = _Content(body)
        self.content_type = self.headers.get("Content-Type", "").partition(";")[0]


class _Session:
    """As much of `aiohttp.ClientSession` as the client's wire uses."""

    def __init__(self, sandbox: Sandbox, pause: Pause, overhear: Overhear) -> None:
        self._sandbox = sandbox
        self._pause = pause
        self._overhear = overhear

    @asynccontextmanager
    async def request(
        self, method: str, url: URL, *, data: Any, headers: Mapping[str, str], **_: Any
    ) -> AsyncIterator[_Response]:
        body = data or b""
        if not isinstance(body, bytes):
            body = b"".join([piece async for piece in body])
        await self._pause()
        try:
            answer = await self._sandbox.dispatch(
                method, url.path, url.raw_query_string, headers, body
            )
        except ConnectionError as exc:
            raise aiohttp.ServerDisconnectedError from exc
        self._overhear(method, url.path)
        await self._pause()
        yield _Response(*answer)

    async def close(self) -> None:
        """Nothing is held."""


def client_of(
    sandbox: Sandbox,
    login: BasicLogin,
    *,
    pause: Pause,
    overhear: Overhear = lambda method, path: None,
    name: str = "main",
) -> CvatClient:
    """Return a client whose requests reach the sandbox by a call.

    pause     awaited before and after the server does its work
    overhear  called with method and path when the server has done it
    """
    config = ServerConfig(name=name, url="http://cvat.test:8080", credentials=login)
    session: Any = _Session(sandbox, pause, overhear)
    return CvatClient(Wire(config, session, sandbox.clock, jitter=lambda: 0.5))
