"""A rebuild of the projections, against raw SQLite taking in the rows that it writes.

    python benchmarks/rebuild.py [folder]

Prints one JSON object on its last line. Two logs: `observed`, where each event holds 100
annotations of a job, and `delivered`, where each event is one webhook delivery; both go through
the product's own folds of jobs and streams. Raw has its rows ready, as text and in the order of
the log, and brings them in by executemany, table by table, in transactions of as many events, with
the same pragmas: every write of the folds (`ratio`, the figure to keep), or of those to one row in
one batch only the last (`ratio_last`), which is what the projector spares itself. The rebuild reads
the log, decodes, folds and encodes besides, on one core. Three pairs, taken in turn, so that what
else the machine does meets both; medians.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from daemon.clock import SystemClock
from daemon.ports.store import LogReader
from daemon.projector import SqliteProjections
from daemon.projector.batch import fold_batch
from daemon.projector.file import open_file
from daemon.projector.rows import RowText
from daemon.projector.tables import Statements, create
from daemon.store.sqlite import SqliteStore
from events.annotations import Shape
from events.envelope import NewEvent
from events.job import AnnotationsObserved, JobDiscovered
from events.registry import Fact
from events.server import DeliveryReceived
from projections.fold import Fold
from projections.jobs import JOBS_FOLD
from projections.streams import STREAMS_FOLD
from projections.tables import Key, MemoryTables, Row, Table

PAIRS = 3
FOLDS = (STREAMS_FOLD, JOBS_FOLD)
JOBS = 20
OBSERVATIONS, SHAPES = 1_000, 100
DELIVERIES = 60_000
EVENTS_PER_APPEND = 1_000
DATE = "2026-11-22T10:18:04.496224Z"

Write = tuple[Table[Any], Key, Any]


class Times(NamedTuple):
    """Seconds of one pair: ours, raw with every write, raw with the last ones."""

    ours: float
    every: float
    last: float


class Recording(MemoryTables):
    """Tables that remember each write, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Write] = []

    def put(self, table: Table[Row], row: Row) -> None:
        super().put(table, row)
        self.writes.append((table, table.key_of(row), row))

    def delete(self, table: Table[Row], *key: str | int) -> None:
        super().delete(table, *key)
        self.writes.append((table, key, None))


def observed() -> Iterator[tuple[str, Fact]]:
    """Yield jobs, then observations that each add SHAPES shapes to one of them."""
    for job in range(JOBS):
        yield f"job/main/{job}", JobDiscovered(task=1, start_frame=0, stop_frame=99)
    for number in range(OBSERVATIONS):
        shapes = tuple(shape(number * SHAPES + index) for index in range(SHAPES))
        yield f"job/main/{number % JOBS}", AnnotationsObserved(updated_date=DATE, added=shapes)


def shape(id: int) -> Shape:
    """Return a rectangle with two attributes, about 200 bytes."""
    return Shape(
        id=id,
        frame=id % 100,
        label="pedestrian",
        type="rectangle",
        points=(id * 0.37, id * 0.11, id * 0.37 + 41.25, id * 0.11 + 17.5),
        attributes={"occlusion": "partly", "pose": "walking"},
    )


def delivered() -> Iterator[tuple[str, Fact]]:
    """Yield webhook deliveries of JOBS jobs."""
    for number in range(DELIVERIES):
        yield (
            "server/main",
            DeliveryReceived(
                event="update:job",
                job=number % JOBS,
                updated_date=DATE,
                sender=7,
                body_hash=f"{number * 7919 % 2**32:064x}",
            ),
        )


async def fill(path: Path, facts: Iterator[tuple[str, Fact]]) -> SqliteStore:
    """Write a log."""
    clock = SystemClock()
    store = await SqliteStore.open(path, clock)
    events = [NewEvent(id=clock.new_id(), stream=stream, fact=fact) for stream, fact in facts]
    for first in range(0, len(events), EVENTS_PER_APPEND):
        await store.append(events[first : first + EVENTS_PER_APPEND])
    return store


def batches(log: LogReader) -> list[list[Write]]:
    """Fold the log in memory; return what each batch wrote."""
    tables, at, found = Recording(), 0, []
    while at < log.head():
        at = fold_batch(FOLDS, tables, log, after=at, upto=log.head()).position
        found.append(tables.writes)
        tables.writes = []
    return found


def last_only(writes: list[Write]) -> list[Write]:
    """Return the last write of each row."""
    return list({(table.name, key): (table, key, row) for table, key, row in writes}.values())


@cache
def spelling(table: Table[Any]) -> tuple[Statements, RowText[Any]]:
    """Return the statements of a table, and how its rows are spelled."""
    return Statements(table.name, table.key), RowText(table.row)


def ready(writes: list[Write]) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Return (statement, its rows) for each table and kind of write."""
    made: dict[str, list[tuple[Any, ...]]] = {}
    for table, key, row in writes:
        sql, text = spelling(table)
        if row is None:
            made.setdefault(sql.delete, []).append(key)
        else:
            made.setdefault(sql.put, []).append((*key, text.write(row)))
    return list(made.items())


def raw(path: Path, work: list[list[tuple[str, list[tuple[Any, ...]]]]]) -> float:
    """Return the seconds that raw SQLite takes."""
    with closing(open_file(path)) as conn:
        for fold in FOLDS:
            for table in fold.tables:
                create(conn, table, table.name)
        start = time.perf_counter()
        for batch in work:
            conn.execute("BEGIN IMMEDIATE")
            for sql, rows in batch:
                conn.executemany(sql, rows)
            conn.execute("COMMIT")
        return time.perf_counter() - start


async def rebuild(path: Path, store: SqliteStore, folds: Collection[Fold]) -> float:
    """Return the seconds from an empty file to an answer at the head."""
    start = time.perf_counter()
    projections = await SqliteProjections.open(path, store, folds)
    await projections.ask(lambda _: None)
    seconds = time.perf_counter() - start
    await projections.close()
    return seconds


async def measure(folder: Path, facts: Iterator[tuple[str, Fact]]) -> dict[str, float]:
    """Return events and rows a second, and the ratios."""
    store = await fill(folder / "log.db", facts)
    reader = store.reader()
    found = batches(reader)
    every, last = [ready(one) for one in found], [ready(last_only(one)) for one in found]
    writes = sum(len(one) for one in found)
    events = reader.head()
    times: list[Times] = []
    for pair in range(PAIRS):
        ours = await rebuild(folder / f"ours{pair}.db", store, FOLDS)
        on_disk = raw(folder / f"every{pair}.db", every), raw(folder / f"last{pair}.db", last)
        times.append(Times(ours, *on_disk))
    reader.close()
    await store.close()
    ours = statistics.median(one.ours for one in times)
    return {
        "events": events,
        "writes": writes,
        "events_per_s": round(events / ours),
        "writes_per_s": round(writes / ours),
        "ratio": _median(one.every / one.ours for one in times),
        "ratio_last": _median(one.last / one.ours for one in times),
    }


def _median(ratios: Iterable[float]) -> float:
    return round(statistics.median(ratios), 2)


async def main(folder: Path | None) -> None:
    found = {}
    for name, facts in (("observed", observed()), ("delivered", delivered())):
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            found[name] = await measure(Path(temporary), facts)
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
