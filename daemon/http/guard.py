"""What stands between a socket and aiohttp: not too many connections, none that says nothing.

aiohttp times out idle connections between two requests, but waits for ever for the first one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Retry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)
_END_OF_HEAD: Final = b"\r\n\r\n"


class Guard:
    """Makes the protocols of one listening socket.

    inner            makes aiohttp's protocol for a connection
    connections_max  one more is answered with 503 and closed
    head_s           how long the head of the first request may take
    """

    def __init__(
        self, inner: Callable[[], asyncio.Protocol], *, connections_max: int, head_s: float
    ) -> None:
        self.inner = inner
        self.connections_max = connections_max
        self.head_s = head_s
        self.connections = 0
        self.silent: set[asyncio.Protocol] = set()
        self._spoken = asyncio.Event()

    async def all_spoken(self, limit_s: float) -> None:
        """Wait until every open connection has sent the head of a request, for a limited time.

        aiohttp closes those that have not when it stops, and a delivery on its way would be lost.
        """
        # What the kernel had accepted becomes a connection of ours in a turn or two of the loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.silent:
                    self._spoken.clear()
                    await self._spoken.wait()

    def spoke(self, connection: asyncio.Protocol) -> None:
        """Note that a connection has sent the head of its first request, or is gone."""
        self.silent.discard(connection)
        self._spoken.set()

    def __call__(self) -> asyncio.Protocol:
        return _Guarded(self)


class _Guarded(asyncio.Protocol):
    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tail = b""

    def connection_made(self, transport: Any) -> None:
        self._guard.connections += 1
        if self._guard.connections > self._guard.connections_max:
            transport.write(_BUSY)
            transport.close()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._guard.head_s, transport.abort)
        self._guard.silent.add(self)
        self._inner = self._guard.inner()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._timer is not None:
            self._look_for_end_of_head(data)
        if self._inner is not None:
            self._inner.data_received(data)

    def _look_for_end_of_head(self, data: bytes) -> None:
        assert self._timer is not None
        if _END_OF_HEAD in self._tail + data:
            self._timer.cancel()
            self._timer = None
            self._guard.spoke(self)
        self._tail = (self._tail + data)[1 - len(_END_OF_HEAD) :]

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.connections -= 1
        self._guard.spoke(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()
