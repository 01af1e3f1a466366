"""The sandbox's sockets: one server for requests, one client for webhooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, web

BODY_BYTES_MAX = 256 * 1024 * 1024
# CVAT waits this long for a receiver of a webhook.
RECEIVER_TIMEOUT_S = 10.0
# CVAT keeps at most this much of what a receiver answers.
ANSWER_BYTES_MAX = 1024 * 1024
SHUTDOWN_S = 1.0

Dispatch: TypeAlias = Callable[
    [str, str, str, Mapping[str, str], bytes], Awaitable[tuple[int, dict[str, str], bytes]]
]


class Edge:
    """Turns HTTP into calls of `dispatch`."""

    def __init__(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch
        self.runner: web.ServerRunner | None = None

    async def start(self, port: int) -> int:
        """Listen on loopback; returns the port."""
        server = web.Server(self._handle)
        self.runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", port)
        await site.start()
        [address] = self.runner.addresses
        return int(address[1])

    async def stop(self) -> None:
        """Close the socket and all connections."""
        if self.runner is not None:
            await self.runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await _body(request)
        try:
            status, headers, content = await self.dispatch(
                request.method, request.path, request.query_string, request.headers, body
            )
        except ConnectionError:
            if request.transport is not None:
                request.transport.abort()
            # Nobody reads this any more; the server wants an answer all the same.
            return web.Response(status=500)
        response = web.Response(status=status, body=content or None)
        for name, value in headers.items():
            for line in value.split("\n"):
                response.headers.add(name, line) if name == "Set-Cookie" else (
                    response.headers.__setitem__(name, line)
                )
        return response


async def _body(request: web.BaseRequest) -> bytes:
    parts = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise web.HTTPRequestEntityTooLarge(BODY_BYTES_MAX, size)
        parts.append(part)
    return b"".join(parts)


class Sender:
    """Posts webhook deliveries."""

    def __init__(self) -> None:
        self.session: ClientSession | None = None

    async def send(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Post one delivery; raises TimeoutError or OSError where no answer came."""
        if self.session is None:
            timeout = ClientTimeout(total=RECEIVER_TIMEOUT_S)
            self.session = ClientSession(timeout=timeout, cookie_jar=DummyCookieJar())
        try:
            async with self.session.post(url, data=body, headers=headers) as response:
                answer = await response.content.read(ANSWER_BYTES_MAX)
                return response.status, answer.decode("utf-8", "replace")
        except TimeoutError:
            raise
        except ClientError as exc:
            raise ConnectionError(str(exc)) from exc

    async def close(self) -> None:
        """Close all connections."""
        if self.session is not None:
            await self.session.close()
