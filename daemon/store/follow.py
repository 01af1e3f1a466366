"""Waking those who wait for the log to grow."""

from __future__ import annotations

import asyncio

from daemon.ports.store import StoreClosed


class Followers:
    """The head as the event loop knows it, and the futures that wait for it to move."""

    def __init__(self, head: int) -> None:
        self.head = head
        self._closed = False
        self._waiting: set[asyncio.Future[None]] = set()

    def moved(self, head: int) -> None:
        """Tell that the log ends here now."""
        self.head = max(self.head, head)
        self._wake()

    def close(self) -> None:
        """Wake all; who waits for more gets StoreClosed."""
        self._closed = True
        self._wake()

    async def beyond(self, position: int) -> int:
        """Wait until the head lies beyond a position, and return the head."""
        while self.head <= position:
            if self._closed:
                raise StoreClosed("the log was closed while it was followed")
            await self._next()
        return self.head

    async def _next(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
