"""Time that moves when a test says so, and an event loop on which all time is that time."""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

Answer = TypeVar("Answer")

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
TURNS = 50


class Stalled(RuntimeError):
    """Everything waits, and nothing that could end the waiting is under way."""


class FakeClock:
    """A `Clock` that stands still until it is moved; ids count up.

    Sleepers are parked on a heap. `advance` wakes them in order; on a `VirtualLoop` the clock
    jumps by itself to the next one whenever nothing else is left to do.
    """

    def __init__(self, start_us: int = START_US) -> None:
        self._start_us = start_us
        self._now_us = 0
        self._ids = count(1)
        self._order = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_us(self) -> int:
        return self._start_us + self._now_us

    def monotonic_s(self) -> float:
        return self._now_us / 1_000_000

    def new_id(self) -> bytes:
        stamp = self.now_us() // 1_000
        head = stamp << 16 | 0x7000
        return head.to_bytes(8, "big") + (1 << 63 | next(self._ids)).to_bytes(8, "big")

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        at_us = self._now_us + max(0, round(seconds * 1_000_000))
        heapq.heappush(self._sleepers, (at_us, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move on, and let everybody whose time has come do what they do."""
        end_us = self._now_us + round(seconds * 1_000_000)
        while (due_us := self.next_us()) is not None and due_us <= end_us:
            self.move(due_us)
            for _ in range(TURNS):
                await asyncio.sleep(0)
        self.move(end_us)

    def next_us(self) -> int | None:
        """Return when the next sleeper wakes, None where nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def move(self, to_us: int) -> None:
        """Jump, and wake all whose time has come."""
        self._now_us = max(self._now_us, to_us)
        while self._sleepers and self._sleepers[0][0] <= self._now_us:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: where the loop would, the clock jumps instead."""

    clock: FakeClock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None and timeout <= 0:
            return []
        due = [self.clock.next_us()] if self.clock.next_us() is not None else []
        if timeout is not None:
            due.append(round(self.clock.monotonic_s() * 1_000_000 + timeout * 1_000_000) + 1)
        if not due:
            raise Stalled("everything waits for something that nobody does")
        self.clock.move(min(filter(None, due)))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop without real time, sockets or threads: the same run again is the same run."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        selector = _JumpingSelector()
        selector.clock = clock
        super().__init__(selector)

    def time(self) -> float:
        return self._clock.monotonic_s()

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run at once, on this thread."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as exc:
            future.set_exception(exc)
        return future


def run_virtual(clock: FakeClock, main: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run a coroutine to its end on a loop of its own, in no time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main())
