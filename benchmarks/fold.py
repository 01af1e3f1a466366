"""Replay of a log into state in memory, against scanning and decoding the same file.

Beside it, where the PyPI package `eventsourcing` is installed, how many times as many label changes
a second we replay as it does with one change an event.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.changes import CHANGES_AN_EVENT, saves
from benchmarks.pairs import Figure, compared
from daemon.clock import SystemClock
from daemon.ports.store import LogReader
from daemon.store.sqlite import SqliteStore
from events.envelope import NewEvent
from projections.jobs import JOBS_FOLD
from projections.tables import MemoryTables

JOBS = 20
EVENTS_PER_APPEND = 500


async def measure(*, quick: bool) -> dict[str, Figure]:
    """Return `fold`, and `fold_peer` where the peer is there."""
    count = 500 if quick else 5_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        clock = SystemClock()
        store = await SqliteStore.open(path, clock)
        events = [
            NewEvent(id=clock.new_id(), stream=stream, fact=fact)
            for stream, fact in saves(JOBS, count)
        ]
        for first in range(0, len(events), EVENTS_PER_APPEND):
            await store.append(events[first : first + EVENTS_PER_APPEND])
        changes = count * CHANGES_AN_EVENT
        reader = store.reader()
        figure = await asyncio.to_thread(
            compared, lambda: _timed(_fold, reader), lambda: _timed(_scan, reader), changes
        )
        reader.close()
        await store.close()
    peer = _peer(2_000 if quick else 10_000)
    if peer is None:
        return {"fold": figure}
    return {"fold": figure, "fold_peer": {"ratio": round(figure["per_s"] / peer, 1), "per_s": peer}}


def _timed(work: Callable[[LogReader], object], reader: LogReader) -> float:
    gc.collect()
    gc.disable()
    started = time.perf_counter()
    # Kept until the time is taken: to give the state's memory back is not part of making it.
    state = work(reader)
    took = time.perf_counter() - started
    del state
    gc.enable()
    return took


def _fold(reader: LogReader) -> MemoryTables:
    tables = MemoryTables()
    for recorded in reader.read():
        JOBS_FOLD.apply(tables, recorded, reader.fact(recorded))
    return tables


def _scan(reader: LogReader) -> None:
    for recorded in reader.read():
        reader.fact(recorded)


def _peer(changes: int) -> float | None:
    """Return the changes a second that `eventsourcing` replays, None where it is not installed."""
    try:
        from eventsourcing.application import Application
        from eventsourcing.domain import Aggregate, event
    except ImportError:
        return None

    class Shape(Aggregate):
        @event("Moved")
        def move(self, points: list[float]) -> None:
            self.points = points

    application = Application(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite",
                                   "SQLITE_DBNAME": ":memory:"})  # fmt: skip
    shape = Shape()
    for number in range(changes):
        shape.move([number * 1.37, number * 2.11, number * 3.7, number * 5.3])
    application.save(shape)
    started = time.perf_counter()
    application.repository.get(shape.id)
    return round(changes / (time.perf_counter() - started))
