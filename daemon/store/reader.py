"""Reading the log in SQLite, beside the writer and without holding it up."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson

from daemon.ports.store import StoreClosed
from daemon.store import rows
from daemon.store.driver import number, open_reader, reading
from daemon.store.packing import UnreadablePayload, fact_of, outline_of, unpack
from events.envelope import STREAM_BYTES_MAX, Recorded
from events.registry import Fact

# A batch is read whole and the statement ended, so that a slow consumer
# never keeps the WAL from being reset.
BATCH_EVENTS_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 8 * 2**20

_SELECT: Final = f"SELECT {rows.COLUMNS} FROM events"  # noqa: S608
# Longer than any name may be and made of the last character: sorts after all that begin so.
_PREFIX_END: Final = "\U0010ffff" * (STREAM_BYTES_MAX // 4 + 1)


class SqliteReader:
    """A LogReader with a read-only connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Whoever read for a client that went away may still be at it when the reader is closed,
        # and SQLite crashes where a connection is closed under a statement.
        self._using = threading.RLock()
        self._closed = False
        self._conn = open_reader(path)
        self._streams = rows.Names(self._conn, "streams")
        self._types = rows.Names(self._conn, "types")

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
        if stream is not None and not stream.startswith(prefix or ""):
            return
        with reading(self._path):
            if stream is None and not prefix:
                yield from self._all(after, last, left)
            else:
                yield from self._picked(self._positions(after, last, stream, prefix, left))

    def fact(self, recorded: Recorded) -> Fact:
        return fact_of(recorded, self._blob)

    def outline(self, recorded: Recorded) -> Fact:
        return outline_of(recorded, self._blob)

    def event(self, id: bytes) -> Recorded | None:
        with reading(self._path), self._open():
            found = self._conn.execute(f"{_SELECT} WHERE id = ?", (id,)).fetchone()
            return rows.recorded(found, self._streams, self._types) if found else None

    def head(self) -> int:
        return self._number("SELECT max(position) FROM events")

    def version(self, stream: str) -> int:
        """Return the version of a stream, 0 if it was never written."""
        return self._number(
            "SELECT max(version) FROM events"
            " WHERE stream = (SELECT id FROM streams WHERE name = ?)",
            stream,
        )

    def position_at(self, time_us: int) -> int:
        """Return the last position recorded at or before a time.

        Recorded times never decrease, so halving the range finds it without an index.
        """
        low, high = 0, self.head()
        while low < high:
            middle = (low + high + 1) // 2
            if self._recorded_at(middle) <= time_us:
                low = middle
            else:
                high = middle - 1
        return low

    def streams(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        names = "SELECT id, name FROM streams WHERE name BETWEEN ? AND ? ORDER BY name"
        last = "SELECT max(version) FROM events WHERE stream = ?"
        with reading(self._path):
            with self._open():
                found = self._conn.execute(names, _prefix_range(prefix)).fetchall()
            for id, name in found:
                with self._open():
                    version = number(self._conn, last, id)
                yield name, version

    def close(self) -> None:
        with self._using:
            self._closed = True
            self._conn.close()

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Keep the connection open meanwhile. Raises StoreClosed."""
        with self._using:
            if self._closed:
                raise StoreClosed("the reader was closed")
            yield

    def _all(self, after: int, last: int, left: int) -> Iterator[Recorded]:
        sql = f"{_SELECT} WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
        while after < last and left > 0:
            batch = self._batch(sql, (after, last, min(left, BATCH_EVENTS_MAX)))
            if not batch:
                return
            yield from batch
            left -= len(batch)
            after = batch[-1].position

    def _picked(self, positions: array[int]) -> Iterator[Recorded]:
        done = 0
        while done < len(positions):
            some = positions[done : done + BATCH_EVENTS_MAX]
            sql = f"{_SELECT} WHERE position IN ({','.join('?' * len(some))}) ORDER BY position"
            batch = self._batch(sql, tuple(some))
            if not batch:
                return
            yield from batch
            done += len(batch)

    def _positions(
        self, after: int, last: int, stream: str | None, prefix: str | None, left: int
    ) -> array[int]:
        # Read from the index over (stream, version) alone, eight bytes for each event.
        first, end = (stream, stream) if stream is not None else _prefix_range(prefix or "")
        with self._open():
            found = self._conn.execute(
                "SELECT position FROM events"
                " WHERE stream IN (SELECT id FROM streams WHERE name BETWEEN ? AND ?)"
                " AND +position > ? AND +position <= ?",
                (first, end, after, last),
            )
            return array("q", sorted(position for (position,) in found)[: max(left, 0)])

    def _batch(self, sql: str, values: tuple[object, ...]) -> list[Recorded]:
        batch: list[Recorded] = []
        size = 0
        with self._open():
            cursor = self._conn.execute(sql, values)
            for row in cursor:
                batch.append(event := rows.recorded(row, self._streams, self._types))
                size += len(event.payload)
                if size > BATCH_BYTES_MAX:
                    break
            cursor.close()
        return batch

    def _blob(self, name: str) -> object:
        sql = "SELECT codec, value FROM blobs WHERE name = ?"
        with reading(self._path), self._open():
            row = self._conn.execute(sql, (bytes.fromhex(name),)).fetchone()
        if row is None:
            raise UnreadablePayload("a value stored aside is missing", blob=name)
        return orjson.loads(unpack(*row))

    def _recorded_at(self, position: int) -> int:
        return self._number("SELECT recorded_at FROM events WHERE position = ?", position)

    def _number(self, sql: str, *values: object) -> int:
        with reading(self._path), self._open():
            return number(self._conn, sql, *values)


def _prefix_range(prefix: str) -> tuple[str, str]:
    return prefix, prefix + _PREFIX_END
