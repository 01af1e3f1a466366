"""Durable appends through the store, against raw SQLite writing the same rows.

For 1 event an append, 64 appends of 1 event at once, and 1,000 events an append. Both sides write
the same tables with the same triggers and pragmas. Raw has its rows ready, commits each append by
itself, one after the other, and checkpoints by SQLite's own rule. Closing counts on both sides:
whoever checkpoints late does not win by it.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.pairs import PAIRS, Figure, figure
from daemon.clock import SystemClock
from daemon.store import rows, schema
from daemon.store.driver import open_writer
from daemon.store.placing import Head, Placing
from daemon.store.prepare import prepare
from daemon.store.sqlite import SqliteStore
from events.envelope import NewEvent
from events.registry import Fact, event

STREAMS = 8
# (name, events an append, appends at once, appends in all)
SIZES = [("append_1", 1, 1, 1_500), ("append_64", 1, 64, 6_400), ("append_1000", 1_000, 1, 60)]


@event("BenchmarkShapeMoved")
class ShapeMoved(Fact, kw_only=True):
    """A change of about 370 bytes, as a moved shape makes."""

    job: int
    frame: int
    shape: str
    kind: str
    label: str
    points_before: list[float]
    points_after: list[float]
    attributes: dict[str, str]
    source: str


class Rows:
    """A ledger of nothing, for rows that raw SQLite is to write."""

    def version(self, stream: str) -> int:
        return 0

    def known(self, id: bytes) -> None:
        return None


def made(clock: SystemClock, number: int) -> NewEvent:
    """Return one event; coordinates and ids do not repeat, so nothing packs unduly well."""
    box = [number * 1.37 % 1920, number * 2.11 % 1080, number * 3.7 % 1920, number * 5.3 % 1080]
    fact = ShapeMoved(
        job=number % STREAMS,
        frame=number,
        shape=clock.new_id().hex(),
        kind="rectangle",
        label="pedestrian",
        points_before=box,
        points_after=[value + 0.25 for value in box],
        attributes={"occluded": "false", "pose": "standing", "group": str(number)},
        source="manual",
    )
    return NewEvent(
        id=clock.new_id(),
        stream=f"job/main/{number % STREAMS}",
        fact=fact,
        actor="main/17",
        evidence="webhook",
        correlation=clock.new_id(),
    )


Groups = Iterator[list[list[NewEvent]]]


def groups(clock: SystemClock, events: int, at_once: int, count: int) -> Groups:
    """Yield the appends that are sent at once, each made just before, as a handler does."""
    number = 0
    for _ in range(count // at_once):
        group = []
        for _ in range(at_once):
            group.append([made(clock, number + k) for k in range(events)])
            number += events
        yield group


async def through_store(folder: Path, sent: Groups) -> float:
    """Return the seconds that the store took."""
    store = await SqliteStore.open(folder / "log.db", SystemClock())
    took = 0.0
    for group in sent:
        started = time.perf_counter()
        if len(group) == 1:
            await store.append(group[0])
        else:
            await asyncio.gather(*[store.append(one) for one in group])
        took += time.perf_counter() - started
    started = time.perf_counter()
    await store.close()
    return took + time.perf_counter() - started


async def through_sqlite(folder: Path, sent: Groups) -> float:
    """Return the seconds that SQLite alone took."""
    clock = SystemClock()
    conn = open_writer(folder / "raw.db")
    meta = schema.prepare_log(conn, folder / "raw.db")
    conn.execute("PRAGMA wal_autocheckpoint = 1000")
    streams = {f"job/main/{number}": number + 1 for number in range(STREAMS)}
    conn.executemany("INSERT INTO streams (name, id) VALUES (?, ?)", streams.items())
    conn.execute("INSERT INTO types (id, name) VALUES (1, 'BenchmarkShapeMoved')")
    placing = Placing(Rows(), Head(), clock.now_us())
    took = 0.0
    for append in (append for group in sent for append in group):
        placing.rows.clear()
        placing.place(await prepare(append, {}, meta.salt))
        ready = [(r[0], streams[r[1]], *r[2:4], 1, *r[5:]) for r in placing.rows]
        started = time.perf_counter()
        conn.execute("BEGIN IMMEDIATE")
        conn.executemany(rows.INSERT, ready)
        conn.execute("COMMIT")
        took += time.perf_counter() - started
    started = time.perf_counter()
    conn.close()
    return took + time.perf_counter() - started


async def measure(*, quick: bool) -> dict[str, Figure]:
    """Return `append_1`, `append_64` and `append_1000`."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, events, at_once, count in SIZES:
            less = 8 if quick else 1
            found[name] = await _measured(Path(folder), events, at_once, count // less)
    return found


async def _measured(folder: Path, events: int, at_once: int, count: int) -> Figure:
    clock = SystemClock()
    sides = [through_store, through_sqlite]
    times = []
    for pair in range(PAIRS):
        took = [0.0, 0.0]
        for side in (0, 1) if pair % 2 else (1, 0):
            place = Path(tempfile.mkdtemp(dir=folder))
            took[side] = await sides[side](place, groups(clock, events, at_once, count))
            shutil.rmtree(place)
        times.append((took[0], took[1]))
    return figure(times, events * count)
