"""The short way of a delivery: a request that can be read at one look, answered without aiohttp.

Nearly all are such ones, and aiohttp's parser, task, request and response took three quarters of
the front's time for each. A connection begins here. At the first request that is anything else, or
that leaves a doubt, it becomes one of aiohttp's for good, with every byte that is not answered
yet. So nothing is refused here, and what HTTP is in its odd corners is known in one place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

from daemon.cvat.signatures import SIGNATURE_HEADER
from daemon.http.front.answers import spelled
from daemon.http.front.reading import FOLDER, SERVER
from daemon.http.front.wire import Answer

HEAD_BYTES_MAX: Final = 4 * 1024
BODY_BYTES_MAX: Final = 16 * 1024  # others are seldom, and should not be copied on their way
FIELDS_MAX: Final = 64
# So long the rest of a request is waited for here: most senders write head and body one by one.
REST_S: Final = 0.1

# A name, a colon, one space, a value of visible ASCII: as every client writes it, and as no two
# programs read it differently. Possessive, so that no bytes are looked at twice.
_NAME: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_VALUE: Final = rb"[!-~](?:[ -~]*+(?<! ))?"
_FIELDS: Final = re.compile(rb"(%b): (%b)\r\n" % (_NAME, _VALUE))
_HEAD: Final = re.compile(
    rb"POST %b(%b) HTTP/1\.1\r\n((?:%b: %b\r\n){1,%d}+)\r\n"
    % (FOLDER.encode(), SERVER.pattern.encode(), _NAME, _VALUE, FIELDS_MAX)
)
_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,5}")
_SIGNATURE: Final = SIGNATURE_HEADER.lower().encode()
# They change how a request is read, or answered. `Connection` may say what holds anyway.
_NOT_HERE: Final = frozenset(
    {
        b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer", b"proxy-connection",
        b"sec-websocket-key1",
    }
)  # fmt: skip


class Seen(NamedTuple):
    """A delivery's head. The body begins and ends at these bytes of what came."""

    server: str
    signature: bytes | None
    begin: int
    end: int


def seen(came: bytes, *, bytes_max: int) -> Seen | None:
    """Return the delivery that bytes begin with, None where that is not plain to see.

    bytes_max  the most that a body may have
    """
    head = _HEAD.match(came, 0, HEAD_BYTES_MAX)
    if head is None:
        return None
    fields = _FIELDS.findall(came, *head.span(2))
    named = {name.lower(): value for name, value in fields}
    # Twice the same name is forbidden for some and strange for all.
    if len(named) < len(fields) or b"host" not in named or not _NOT_HERE.isdisjoint(named):
        return None
    if named.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    length = named.get(b"content-length", b"")
    if not _LENGTH.fullmatch(length) or int(length) > min(bytes_max, BODY_BYTES_MAX):
        return None
    return Seen(head[1].decode(), named.get(_SIGNATURE), head.end(), head.end() + int(length))


class Deliver(Protocol):
    """Has the daemon record a delivery; `told` is called with the answer, once."""

    def __call__(
        self,
        server: str,
        peer: str | None,
        signature: bytes | None,
        body: bytes,
        told: Callable[[Answer], None],
    ) -> None: ...


class Quick:
    """Makes the protocols of connections.

    usual        makes aiohttp's protocol for a connection
    bytes_max    the most that a body may have
    keepalive_s  how long a connection may be idle
    """

    def __init__(
        self,
        usual: Callable[[], asyncio.Protocol],
        deliver: Deliver,
        *,
        bytes_max: int,
        keepalive_s: float,
    ) -> None:
        self.usual = usual
        self.deliver = deliver
        self.bytes_max = bytes_max
        self.keepalive_s = keepalive_s
        self.open: set[_Connection] = set()  # those that are not aiohttp's
        self.ending = False
        self._left = asyncio.Event()

    def __call__(self) -> asyncio.Protocol:
        return _Connection(self)

    def leave(self, connection: _Connection) -> None:
        """Note that a connection is gone, or aiohttp's."""
        self.open.discard(connection)
        self._left.set()

    async def end(self, limit_s: float) -> None:
        """Close all that is idle at once, all else once it is answered, within a time."""
        self.ending = True
        for connection in list(self.open):
            connection.close_if_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.open:
                    self._left.clear()
                    await self._left.wait()
        for connection in list(self.open):
            connection.abort()


class _Connection(asyncio.Protocol):
    """A connection: idle, in the middle of a request, waiting for its answer, or aiohttp's."""

    def __init__(self, of: Quick) -> None:
        self._of = of
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._peer: str | None = None
        self._usual: asyncio.Protocol | None = None
        self._came = b""  # and is not worked on
        self._asked = False  # for an answer, which is waited for
        self._full = False  # too much that is sent is not read
        self._idle: asyncio.TimerHandle | None = None
        self._idle_until_s = 0.0
        self._rest: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._peer = _address(transport.get_extra_info("peername"))
        self._of.open.add(self)
        self._wait_idle()

    def data_received(self, data: bytes) -> None:
        if self._usual is not None:
            self._usual.data_received(data)
        elif self._asked:
            # It does not wait for its answer. One piece is kept, the network keeps the others.
            self._came += data
            self._transport.pause_reading()
        else:
            self._look(self._came + data)

    def eof_received(self) -> bool | None:
        return self._usual.eof_received() if self._usual is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._transport = None
        if self._usual is not None:
            self._usual.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._usual is not None:
            self._usual.pause_writing()
            return
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._usual is not None:
            self._usual.resume_writing()
            return
        self._full = False
        self._go_on()

    def close_if_idle(self) -> None:
        """Close unless a request is here."""
        if not self._asked and not self._came:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _look(self, came: bytes) -> None:
        """Work on what is there, as far as that can be."""
        self._came = came
        found = seen(came, bytes_max=self._of.bytes_max)
        if found is None or len(came) > found.end:
            self._hand_over()
        elif len(came) == found.end:
            self._deliver(found, came)
        elif self._rest is None:
            self._rest = self._loop.call_later(REST_S, self._hand_over)

    def _deliver(self, found: Seen, came: bytes) -> None:
        self._came = b""
        self._stop_waiting_for_rest()
        self._asked = True
        body = came[found.begin :]
        self._of.deliver(found.server, self._peer, found.signature, body, self._answered)

    def _answered(self, answer: Answer) -> None:
        self._asked = False
        if self._transport is None:
            return  # It hung up. The delivery is recorded all the same.
        self._transport.write(spelled(answer))
        if self._of.ending:
            self._transport.close()
            return
        self._idle_until_s = self._loop.time() + self._of.keepalive_s
        if self._came:
            self._go_on()

    def _go_on(self) -> None:
        """Work on what came meanwhile, and read on, unless something is still to be waited for."""
        if self._asked or self._full:
            return
        self._transport.resume_reading()
        if self._came:
            self._look(self._came)

    def _hand_over(self) -> None:
        """Make this a connection of aiohttp."""
        self._leave()
        if self._of.ending:
            self._transport.close()
            return
        came, self._came = self._came, b""
        self._usual = self._of.usual()
        self._usual.connection_made(self._transport)
        self._usual.data_received(came)

    def _wait_idle(self) -> None:
        self._idle_until_s = self._loop.time() + self._of.keepalive_s
        self._idle = self._loop.call_at(self._idle_until_s, self._end_idle)

    def _end_idle(self) -> None:
        if self._asked or self._came:
            self._wait_idle()
        elif self._idle_until_s > self._loop.time():
            self._idle = self._loop.call_at(self._idle_until_s, self._end_idle)
        else:
            self._transport.close()

    def _stop_waiting_for_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _leave(self) -> None:
        self._stop_waiting_for_rest()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._of.leave(self)


def _address(peer: object) -> str | None:
    """Return a peer's address as aiohttp's `remote` tells it."""
    if isinstance(peer, (list, tuple)):
        return str(peer[0])
    return None if peer is None else str(peer)
