"""A process that dies at a call of its store, before or after the write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from daemon.ports.store import (
    NOTHING_EXPECTED,
    Appended,
    EventStore,
    LogIdentity,
    LogReader,
    OnAppend,
    StoreCondition,
)
from events.envelope import NewEvent


class ProcessDied(BaseException):
    """The process is gone. No `except Exception` may survive it."""


Step = Literal["append", "appended", "request"]


@dataclass
class Life:
    """What dies together.

    dies_at  the step, counted from 1, that is the last
    step     which steps are counted: appends before they are written, appends when they are on
             disk and nobody was told, or requests (each is two steps: on its way, and answered)
    """

    dies_at: int | None = None
    step: Step = "append"
    steps: int = 0
    dead: bool = False
    mourners: list[Callable[[], None]] = field(default_factory=list)

    def check(self) -> None:
        """Raise ProcessDied where the process is gone."""
        if self.dead:
            raise ProcessDied

    def reach(self, step: Step) -> None:
        """Come to a step; raise ProcessDied where it is the last."""
        self.check()
        if step != self.step:
            return
        self.steps += 1
        if self.steps == self.dies_at:
            self.dead = True
            for mourn in self.mourners:
                mourn()
            raise ProcessDied


class DyingStore:
    """An `EventStore` over another one that outlives it, as a file outlives its process."""

    def __init__(self, disk: EventStore, life: Life) -> None:
        self._disk = disk
        self._life = life

    async def append(
        self, events: Sequence[NewEvent], *, expects: Mapping[str, int] = NOTHING_EXPECTED
    ) -> Appended:
        self._life.reach("append")
        appended = await self._disk.append(events, expects=expects)
        self._life.reach("appended")
        return appended

    async def head(self) -> int:
        self._life.check()
        return await self._disk.head()

    async def version(self, stream: str) -> int:
        self._life.check()
        return await self._disk.version(stream)

    async def wait_beyond(self, position: int) -> int:
        self._life.check()
        return await self._disk.wait_beyond(position)

    async def position_at(self, time_us: int) -> int:
        self._life.check()
        return await self._disk.position_at(time_us)

    def identity(self) -> LogIdentity:
        return self._disk.identity()

    def condition(self) -> StoreCondition:
        return self._disk.condition()

    def hear(self, listener: OnAppend) -> None:
        self._disk.hear(listener)

    def reader(self) -> LogReader:
        self._life.check()
        return self._disk.reader()

    async def close(self) -> None:
        """The disk stays."""
