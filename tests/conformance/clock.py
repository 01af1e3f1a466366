"""A clock for replays and tests."""

from __future__ import annotations

import asyncio


class StepClock:
    """A clock that stands still until it is moved; who sleeps wakes when it has."""

    def __init__(self) -> None:
        self.us = 1_795_342_000_000_000
        self.ids = 0
        self.sleepers: list[tuple[int, asyncio.Future[None]]] = []
        # Set as soon as anybody sleeps.
        self.asleep = asyncio.Event()

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / 1e6

    def new_id(self) -> bytes:
        self.ids += 1
        return bytes(6) + b"\x70\x00\x80" + self.ids.to_bytes(7)

    async def sleep(self, seconds: float) -> None:
        done = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.us + int(seconds * 1e6), done))
        self.asleep.set()
        await done

    def advance(self, seconds: float) -> None:
        self.us += int(seconds * 1e6)
        for due, done in self.sleepers:
            if due <= self.us and not done.done():
                done.set_result(None)
        self.sleepers = [each for each in self.sleepers if each[0] > self.us]
