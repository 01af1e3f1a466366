"""What the front does with requests, from the first connection to the last answer."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from daemon.crash import crash
from daemon.cvat.signatures import SIGNATURE_HEADER
from daemon.http.front import wire
from daemon.http.front.answers import NOT_NOW, response
from daemon.http.front.quick import Quick
from daemon.http.front.reading import BodyUnread, read_body, server_of
from daemon.http.front.wire import Answer, Channel, Delivery, Limits
from daemon.http.guard import Guard

BACKLOG: Final = 1_024
STOP_S: Final = 5.0
HEADS_S: Final = 1.0  # how long a stop waits for the first word on connections that were accepted
LINGER_S: Final = 0.5  # how long the rest of a refused body is read and thrown away
HEAD_BYTES_MAX: Final = 8_190
GROUP_MAX: Final = 64
LARGE_BYTES_MIN: Final = 16 * 1024  # a larger body goes at once, so that no frame is large

# RFC 9110, 7.6.1: they are about one connection, not about the request.
_OF_THE_HOP: Final = (
    hdrs.CONNECTION, hdrs.KEEP_ALIVE, hdrs.PROXY_AUTHENTICATE, hdrs.PROXY_AUTHORIZATION,
    hdrs.TE, hdrs.TRAILER, hdrs.TRANSFER_ENCODING, hdrs.UPGRADE, hdrs.EXPECT, wire.PEER_HEADER,
)  # fmt: skip
# What aiohttp's client would add of its own.
_NOT_OURS: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


async def serve(bound: socket.socket, pair: socket.socket, site: Path, limits: Limits) -> None:
    """Serve on a listening socket until the daemon says stop, or is gone.

    pair  leads to the daemon's desk
    site  the socket of the daemon's site, for all that is no delivery
    """
    front = Front(site, limits)
    await front.channel.join(pair)
    loop = asyncio.get_running_loop()
    handler_before = loop.get_exception_handler()
    loop.set_exception_handler(front.failed)
    server = web.Server(
        front.handle,
        access_log=None,
        # What was passed on ends there too. A delivery that was read is recorded all the same.
        handler_cancellation=True,
        keepalive_timeout=limits.keepalive_s,
        lingering_time=LINGER_S,
        # A signature is over what was sent, and nothing is unpacked for a stranger.
        auto_decompress=False,
        logger=front.logger,
        max_line_size=HEAD_BYTES_MAX,
        max_field_size=HEAD_BYTES_MAX,
    )
    runner = web.ServerRunner(server, shutdown_timeout=STOP_S)
    await runner.setup()
    quick = Quick(
        server, front.deliver, bytes_max=limits.body_bytes_max, keepalive_s=limits.keepalive_s
    )
    guard = Guard(quick, connections_max=limits.connections_max, head_s=limits.request_s)
    listening = await loop.create_server(guard, sock=bound, backlog=BACKLOG)
    try:
        front.channel.send(wire.READY)
        await front.stopping.wait()
    finally:
        listening.close()
        await guard.all_spoken(HEADS_S)
        await asyncio.gather(quick.end(STOP_S), runner.cleanup())
        await front.close()
        loop.set_exception_handler(handler_before)


class Front:
    """The handler of all requests."""

    def __init__(self, site: Path, limits: Limits) -> None:
        self.channel = Channel(self.hear, self.lost)
        self.stopping = asyncio.Event()
        self.logger = logging.Logger("front")
        self.logger.addHandler(_Told(self.channel))
        self._limits = limits
        self._numbers = count()
        self._group: list[Delivery] = []  # those of this turn of the loop
        self._waiting: dict[int, Callable[[Answer], None]] = {}
        self._gone = False
        self._site = site
        self._others: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close both ways to the daemon."""
        self.channel.close()
        if self._others is not None:
            await self._others.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        if request.method == hdrs.METH_CONNECT:
            return _refused_tunnel()
        if hdrs.EXPECT in request.headers:
            await _expected(request)
        server = server_of(request)
        if server is None:
            return await self._pass_on(request)
        given = request.headers.get(SIGNATURE_HEADER)
        signature = None if given is None else given.encode("utf-8", "surrogateescape")
        body, unread = b"", None
        try:
            body = await read_body(
                request, bytes_max=self._limits.body_bytes_max, seconds=self._limits.request_s
            )
        except BodyUnread as exc:
            unread = exc.why
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.deliver(server, request.remote, signature, body, partial(_settle, answer), unread)
        return response(await answer, close=unread is not None)

    def deliver(
        self,
        server: str,
        peer: str | None,
        signature: bytes | None,
        body: bytes,
        told: Callable[[Answer], None],
        unread: wire.Unread | None = None,
    ) -> None:
        """Pass a delivery on to the daemon, together with those of this turn of the loop.

        told  is called with the answer, once
        """
        if self._gone:
            told(NOT_NOW)
            return
        if not self._group:
            asyncio.get_running_loop().call_soon(self._send)
        number = next(self._numbers)
        self._waiting[number] = told
        self._group.append(Delivery(number, server, peer, signature, body, unread))
        if len(self._group) == GROUP_MAX or len(body) > LARGE_BYTES_MIN:
            self._send()

    def _send(self) -> None:
        group, self._group = self._group, []
        if group:
            self.channel.send(wire.DELIVERIES, group)

    def hear(self, kind: bytes, body: bytes) -> None:
        """Take a frame."""
        if kind == wire.STOP:
            self.stopping.set()
            return
        for answer in wire.decode_answers(body):
            told = self._waiting.pop(answer.number, None)
            if told is not None:
                told(answer)

    def failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell the daemon of a mistake of ours that nobody caught; its connection is closed."""
        exc = context.get("exception")
        told = crash(exc) if exc else {"error": context["message"], "where": ""}
        self.channel.send(wire.FAILED, told)

    def lost(self) -> None:
        """Answer those who wait: nobody else will."""
        self._gone = True
        self.stopping.set()
        waiting, self._waiting = self._waiting, {}
        for told in waiting.values():
            told(NOT_NOW)

    async def _pass_on(self, request: web.BaseRequest) -> web.StreamResponse:
        """Have the daemon's site answer, piece by piece as it does."""
        headers = _passed(request.headers)
        headers[wire.PEER_HEADER] = request.remote or ""
        response: web.StreamResponse | None = None
        self._others = self._others or _client(self._site)
        try:
            async with self._others.request(
                request.method,
                _address(request),
                headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(
                    status=answer.status, reason=answer.reason, headers=_passed(answer.headers)
                )
                if answer.headers.get(hdrs.CONNECTION, "").lower() == "close":
                    response.force_close()
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
        except aiohttp.ClientError:
            if response is None:
                return web.Response(status=503, text="not now\n")
            # Half an answer must not look like a whole one.
            if request.transport is not None:
                request.transport.abort()
        assert response is not None
        return response


class _Told(logging.Handler):
    """Tells the daemon of requests that are no HTTP, in a word, and of mistakes of ours.

    aiohttp writes an error with a traceback for each, and quotes what was sent: anybody could fill
    the disk, and a header with a slip in it may hold a secret.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        exc = record.exc_info[1] if record.exc_info else None
        if isinstance(exc, HttpProcessingError | web.RequestPayloadError):
            self._channel.send(wire.BAD_REQUEST, type(exc).__name__)
        else:
            told = crash(exc) if exc else {"error": record.msg, "where": ""}
            self._channel.send(wire.FAILED, told)


def _refused_tunnel() -> web.Response:
    """Refuse CONNECT: what follows it is no HTTP any more."""
    answer = web.Response(status=405, text="no tunnels here\n")
    answer.force_close()
    return answer


def _client(site: Path) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(site), limit=0),
        # The front's own limits hold for whoever asked, and the site's for what it does.
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=_NOT_OURS,
    )


async def _expected(request: web.BaseRequest) -> None:
    """Let a client go on that asks before it sends its body."""
    asked = request.headers[hdrs.EXPECT].lower()
    if asked == "100-continue" and request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _address(request: web.BaseRequest) -> URL:
    """Return where the daemon's site has what was asked for, spelled as it was."""
    asked = request.rel_url
    path = asked.raw_path if asked.raw_path.startswith("/") else f"/{asked.raw_path}"
    return URL.build(
        scheme="http",
        host="daemon",
        path=path,
        query_string=asked.raw_query_string,
        encoded=True,
    )


def _passed(headers: Any) -> CIMultiDict[str]:
    """Return what goes on to the other side."""
    passed = CIMultiDict(headers)
    named = ",".join(headers.getall(hdrs.CONNECTION, ())).split(",")
    for name in (*_OF_THE_HOP, *map(str.strip, named)):
        passed.popall(name, None)
    return passed


def _settle(waiting: asyncio.Future[Answer], answer: Answer) -> None:
    if not waiting.done():  # cancelled by whoever hung up
        waiting.set_result(answer)
