"""A rebuild of all projections, against raw SQLite taking in the rows that it writes.

Raw has its rows ready: spelled as text, of those to one row in one batch only the last, in key
order, and brings them in by executemany, table by table, in transactions of as many events, with
the same pragmas. The rebuild reads the log, decodes, folds and spells besides.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Generic

from benchmarks.changes import CHANGES_AN_EVENT, saves
from benchmarks.pairs import PAIRS, Figure, figure
from daemon.clock import SystemClock
from daemon.pool import Pool
from daemon.ports.store import LogReader
from daemon.projector import SqliteProjections
from daemon.projector.batch import fold_batch
from daemon.projector.file import open_file
from daemon.projector.rows import RowText
from daemon.projector.tables import Statements, create
from daemon.store.sqlite import SqliteStore
from events.envelope import NewEvent
from projections.folds import FOLDS
from projections.tables import Key, MemoryTables, Row, Rows, Table

JOBS = 20
EVENTS_PER_APPEND = 500

Writes = dict[Table[Any], dict[Key, Any]]
Work = list[list[tuple[str, list[tuple[Any, ...]]]]]


class Recording(MemoryTables):
    """Tables that remember the last write to each row, None where it was deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: Writes = {}

    def put(self, table: Table[Row], row: Row) -> None:
        super().put(table, row)
        self.writes.setdefault(table, {})[table.key_of(row)] = row

    def delete(self, table: Table[Row], *key: str | int) -> None:
        # What was never there costs nobody a statement.
        if self.get(table, *key) is not None:
            super().delete(table, *key)
            self.writes.setdefault(table, {})[key] = None

    def rows(self, table: Table[Row], *prefix: str | int) -> Rows[Row]:
        return _RecordingRows(self, table, prefix)


class _RecordingRows(Generic[Row]):
    """Rows of `Recording`, by the last member of their keys."""

    def __init__(self, tables: Recording, table: Table[Row], prefix: Key) -> None:
        self._tables = tables
        self._table = table
        self._prefix = prefix

    def __getitem__(self, last: Any) -> Row | None:
        return self._tables.get(self._table, *self._prefix, last)

    def __setitem__(self, last: Any, row: Row) -> None:
        self._tables.put(self._table, row)

    def take(self, last: Any) -> Row | None:
        row = self[last]
        self._tables.delete(self._table, *self._prefix, last)
        return row


async def measure(*, quick: bool) -> dict[str, Figure]:
    """Return `rebuild`, also in a quick run of a log that takes seconds: nobody waits for less."""
    count = 5_000 if quick else 10_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = await SqliteStore.open(folder / "log.db", SystemClock())
        await _fill(store, count)
        with closing(store.reader()) as reader:
            work = [_ready(writes) for writes in _batches(reader)]
        times = []
        for pair in range(PAIRS):
            took: dict[str, float] = {}
            for side in ("ours", "raw") if pair % 2 else ("raw", "ours"):
                # Deleted at once: what the system still writes of one would slow the next ones.
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    path = Path(place) / "projections.db"
                    took[side] = _raw(path, work) if side == "raw" else await _rebuild(path, store)
            times.append((took["ours"], took["raw"]))
        await store.close()
    return {"rebuild": figure(times, count * CHANGES_AN_EVENT)}


async def _fill(store: SqliteStore, count: int) -> None:
    clock = SystemClock()
    events = [
        NewEvent(id=clock.new_id(), stream=stream, fact=fact) for stream, fact in saves(JOBS, count)
    ]
    for first in range(0, len(events), EVENTS_PER_APPEND):
        await store.append(events[first : first + EVENTS_PER_APPEND])


def _batches(log: LogReader) -> list[Writes]:
    """Fold the log in memory; return what each batch wrote."""
    tables, at, found = Recording(), 0, []
    while at < log.head():
        at = fold_batch(FOLDS, tables, log, after=at, upto=log.head()).position
        found.append(tables.writes)
        tables.writes = {}
    return found


def _ready(writes: Writes) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Return (statement, its rows) for each table and kind of write."""
    made = []
    for table, rows in writes.items():
        sql, text = _spelling(table)
        put = [(*key, text.write(row)) for key, row in sorted(rows.items()) if row is not None]
        made += [(sql.put, put), (sql.delete, [key for key, row in rows.items() if row is None])]
    return made


@cache
def _spelling(table: Table[Any]) -> tuple[Statements, RowText[Any]]:
    return Statements(table.name, table.key), RowText(table.row)


def _raw(path: Path, work: Work) -> float:
    """Return the seconds that raw SQLite takes."""
    with closing(open_file(path)) as conn:
        for fold in FOLDS:
            for table in fold.tables:
                create(conn, table, table.name)
        started = time.perf_counter()
        for batch in work:
            conn.execute("BEGIN IMMEDIATE")
            for sql, rows in batch:
                conn.executemany(sql, rows)
            conn.execute("COMMIT")
        return time.perf_counter() - started


async def _rebuild(path: Path, store: SqliteStore) -> float:
    """Return the seconds from an empty file to an answer at the head."""
    pool = Pool()
    projections = await SqliteProjections.open(path, store, FOLDS, pool=pool, log_file=store.path)
    started = time.perf_counter()
    await projections.ask(lambda _: None)
    took = time.perf_counter() - started
    await projections.close()
    await pool.close()
    return took


if __name__ == "__main__":
    print(asyncio.run(measure(quick=True)))
