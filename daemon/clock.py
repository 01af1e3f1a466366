"""The one place that reads the clock and rolls the dice."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Final, Protocol

# Random bytes are asked of the system for so many ids at once: each call gives way to all
# other threads, and coming back may take milliseconds.
IDS_AHEAD: Final = 256


class Clock(Protocol):
    """Time and ids, as arguments: tests and the simulation bring their own."""

    def now_us(self) -> int:
        """Return the microseconds since 1970-01-01 UTC."""

    def monotonic_s(self) -> float:
        """Return seconds that never go back, for waits and durations."""

    def new_id(self) -> bytes:
        """Return 16 bytes, a UUIDv7: later ids sort after earlier ones."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The clock of the machine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._random: list[bytes] = []

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def new_id(self) -> bytes:
        # RFC 9562: 48 bits of milliseconds, then 12 bits that count within
        # the millisecond, so that ids made in a row stay in order.
        with self._lock:
            stamp = max(time.time_ns() * 4096 // 1_000_000, self._last + 1)
            self._last = stamp
            if not self._random:
                drawn = os.urandom(8 * IDS_AHEAD)
                self._random = [drawn[at : at + 8] for at in range(0, len(drawn), 8)]
            random = self._random.pop()
        head = (stamp >> 12) << 16 | 0x7000 | (stamp & 0xFFF)
        tail = int.from_bytes(random, "big") & (1 << 62) - 1 | 1 << 63
        return head.to_bytes(8, "big") + tail.to_bytes(8, "big")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
