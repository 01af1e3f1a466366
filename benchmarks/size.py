"""How many bytes of the log's file one label change takes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.changes import CHANGES_AN_EVENT, saves
from daemon.clock import SystemClock
from daemon.store.sqlite import SqliteStore
from events.envelope import NewEvent
from events.job import AnnotationsObserved

JOBS = 20
EVENTS_PER_APPEND = 100


async def measure(*, quick: bool) -> dict[str, dict[str, float]]:
    """Return `bytes_per_change`."""
    count = 1_000 if quick else 5_000
    clock = SystemClock()
    events = [
        NewEvent(id=clock.new_id(), stream=stream, fact=fact, actor="main/17", evidence="webhook")
        for stream, fact in saves(JOBS, count)
    ]
    worked = [
        event
        for event in events
        if isinstance(event.fact, AnnotationsObserved) and not event.fact.baseline
    ]
    ids = {event.id for event in worked}
    opening = [event for event in events if event.id not in ids]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        before = await _written(path, opening)
        after = await _written(path, worked)
    changes = len(worked) * CHANGES_AN_EVENT
    return {"bytes_per_change": {"bytes": round((after - before) / changes, 1)}}


async def _written(path: Path, events: list[NewEvent]) -> int:
    """Append to a log, close it, and return its size."""
    store = await SqliteStore.open(path, SystemClock())
    for first in range(0, len(events), EVENTS_PER_APPEND):
        await store.append(events[first : first + EVENTS_PER_APPEND])
    await store.close()
    return path.stat().st_size  # noqa: ASYNC240 - nothing else runs
