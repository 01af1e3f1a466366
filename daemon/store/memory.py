"""The log in a list: the same promises as on disk, except the disk.

For tests, the simulation and dry runs.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson

from daemon.clock import Clock
from daemon.ports.store import (
    NOTHING_EXPECTED,
    Appended,
    LogIdentity,
    OnAppend,
    StoreClosed,
    StoreCondition,
)
from daemon.store.follow import Followers
from daemon.store.packing import Packed, fact_of, outline_of, unpack
from daemon.store.placing import Head, Known, Placing
from daemon.store.prepare import prepare
from daemon.store.rows import recorded_from
from events.envelope import NewEvent, Recorded
from events.registry import Fact

SALT_BYTES: Final = 16
ID_BYTES: Final = 16


class _Log:
    """The rows and their indexes; also the ledger that placing asks."""

    def __init__(self) -> None:
        self.rows: list[Recorded] = []
        self.streams: dict[str, list[Recorded]] = {}
        self.by_id: dict[bytes, Recorded] = {}
        self.blobs: dict[bytes, Packed] = {}

    def version(self, stream: str) -> int:
        return len(self.streams.get(stream, ()))

    def known(self, id: bytes) -> Known | None:
        row = self.by_id.get(id)
        return Known(row.position, row.stream, row.type) if row else None

    def extend(self, placed: Placing) -> None:
        self.blobs |= placed.blobs
        recorded = [recorded_from(row, row[1], row[4]) for row in placed.rows]
        for row in recorded:
            self.by_id[row.id] = row
            self.streams.setdefault(row.stream, []).append(row)
        # Last, so that a reader in another thread finds whatever its rows lead to.
        self.rows += recorded


class MemoryStore:
    """An EventStore in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._log = _Log()
        self._head = Head()
        self._followers = Followers(0)
        self._salt = os.urandom(SALT_BYTES)
        self._listeners: list[OnAppend] = []
        self._id = os.urandom(ID_BYTES)
        self._closed = False

    async def append(
        self, events: Sequence[NewEvent], *, expects: Mapping[str, int] = NOTHING_EXPECTED
    ) -> Appended:
        batch = await prepare(events, expects, self._salt)
        if self._closed:
            raise StoreClosed("the log is closed", hint="nothing was written")
        placing = Placing(self._log, self._head, self._clock.now_us())
        appended = placing.place(batch)
        if not appended.repeated:
            self._log.extend(placing)
            self._head = placing.head
            self._followers.moved(self._head.position)
            for listener in self._listeners:
                listener(events, 0.0)
        return appended

    async def head(self) -> int:
        return self._head.position

    async def version(self, stream: str) -> int:
        return self._log.version(stream)

    async def wait_beyond(self, position: int) -> int:
        return await self._followers.beyond(position)

    async def position_at(self, time_us: int) -> int:
        return bisect_right(self._log.rows, time_us, key=lambda row: row.recorded_at)

    def identity(self) -> LogIdentity:
        return LogIdentity(self._id, 1)

    def condition(self) -> StoreCondition:
        return StoreCondition()

    def hear(self, listener: OnAppend) -> None:
        self._listeners.append(listener)

    def reader(self) -> MemoryReader:
        return MemoryReader(self._log)

    async def close(self) -> None:
        self._closed = True
        self._followers.close()


class MemoryReader:
    """A LogReader over the list."""

    def __init__(self, log: _Log) -> None:
        self._log = log

    def read(
        self,
        *,
        after: int = 0,
        upto: int | None = None,
        stream: str | None = None,
        prefix: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Recorded]:
        last = self.head() if upto is None else min(upto, self.head())
        left = last if limit is None else limit
        rows = self._log.rows if stream is None else self._log.streams.get(stream, [])
        first = bisect_right(rows, after, key=lambda row: row.position)
        for index in range(first, len(rows)):
            row = rows[index]
            if left <= 0 or row.position > last:
                return
            if prefix is None or row.stream.startswith(prefix):
                left -= 1
                yield row

    def fact(self, recorded: Recorded) -> Fact:
        return fact_of(recorded, self._blob)

    def outline(self, recorded: Recorded) -> Fact:
        return outline_of(recorded, self._blob)

    def event(self, id: bytes) -> Recorded | None:
        return self._log.by_id.get(id)

    def head(self) -> int:
        return len(self._log.rows)

    def streams(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        for name in sorted(list(self._log.streams)):
            if name.startswith(prefix):
                yield name, self._log.version(name)

    def close(self) -> None:
        pass

    def _blob(self, name: str) -> object:
        return orjson.loads(unpack(*self._log.blobs[bytes.fromhex(name)]))
