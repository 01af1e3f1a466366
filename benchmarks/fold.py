"""Replay of a log into state in memory, against scanning and decoding the same file.

Beside it the PyPI package `eventsourcing` with the same label changes, one an event
(`benchmarks.peer`): how many times as fast we are.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks import peer
from benchmarks.changes import CHANGES_AN_EVENT, saves
from benchmarks.pairs import Figure, compared
from daemon.clock import SystemClock
from daemon.ports.store import LogReader
from daemon.store.sqlite import SqliteStore
from events.envelope import NewEvent
from projections.jobs_fold import JOBS_FOLD
from projections.tables import MemoryTables

JOBS = 20
EVENTS_PER_APPEND = 500
TURNS = 3


async def measure(*, quick: bool) -> dict[str, Figure]:
    """Return `fold`, and `fold_peer` where the peer is there."""
    count = 300 if quick else 5_000
    installed = peer.environment(install=not quick)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = await SqliteStore.open(folder / "log.db", SystemClock())
        await _fill(store, count)
        with closing(store.reader()) as reader:
            figures = await asyncio.to_thread(_measured, reader, count, installed, folder)
        await store.close()
    return figures


async def _fill(store: SqliteStore, count: int) -> None:
    clock = SystemClock()
    events = [
        NewEvent(id=clock.new_id(), stream=stream, fact=fact) for stream, fact in saves(JOBS, count)
    ]
    for first in range(0, len(events), EVENTS_PER_APPEND):
        await store.append(events[first : first + EVENTS_PER_APPEND])


def _measured(
    reader: LogReader, count: int, installed: Path | None, folder: Path
) -> dict[str, Figure]:
    changes = count * CHANGES_AN_EVENT
    found = {
        "fold": compared(
            lambda: _timed(_fold, reader), lambda: _timed(_scan, reader), changes, turns=TURNS
        )
    }
    if installed is not None:
        with peer.replaying(installed, folder, JOBS, count) as replay:
            found["fold_peer"] = compared(lambda: _replayed(reader), replay, changes)
    return found


def _replayed(reader: LogReader) -> float:
    """Return the mean of some replays: together they do not take as long as one of the peer."""
    return statistics.fmean(_timed(_fold, reader) for _ in range(TURNS))


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
        JOBS_FOLD.apply(tables, recorded, reader.outline(recorded))
    return tables


def _scan(reader: LogReader) -> None:
    for recorded in reader.read():
        reader.fact(recorded)


if __name__ == "__main__":
    print(asyncio.run(measure(quick=True)))
