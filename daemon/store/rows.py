"""Between rows of the events table and `Recorded`: names for numbers."""

from __future__ import annotations

from typing import Any, Final

from daemon.store.driver import sqlite3
from daemon.store.schema import TABLES
from events.envelope import Recorded

NAMES_KEPT_MAX: Final = 100_000

COLUMNS: Final = ", ".join(TABLES["events"])
INSERT: Final = f"INSERT INTO events ({COLUMNS}) VALUES ({', '.join('?' * len(TABLES['events']))})"  # noqa: S608


class Names:
    """Stream or type names by their number, read once each."""

    def __init__(self, conn: sqlite3.Connection, table: str) -> None:
        self._conn = conn
        self._sql = f"SELECT name FROM {table} WHERE id = ?"  # noqa: S608
        self._kept: dict[int, str] = {}

    def __getitem__(self, number: int) -> str:
        name = self._kept.get(number)
        return self._look_up(number) if name is None else name

    def _look_up(self, number: int) -> str:
        found = self._conn.execute(self._sql, (number,)).fetchone()
        if found is None:
            raise KeyError(number)
        if len(self._kept) >= NAMES_KEPT_MAX:
            self._kept.clear()
        self._kept[number] = found[0]
        return str(found[0])


def recorded(row: tuple[Any, ...], streams: Names, types: Names) -> Recorded:
    """Turn a row of the table, its columns in COLUMNS order, into the event."""
    position, stream, version, id, type, *rest = row
    return recorded_from((position, streams[stream], version, id, types[type], *rest))


def recorded_from(row: tuple[Any, ...]) -> Recorded:
    """Turn the fields of an event, names instead of numbers, into the event."""
    (
        position,
        stream,
        version,
        id,
        type,
        schema,
        recorded_at,
        occurred_at,
        actor,
        evidence,
        correlation,
        causation,
        codec,
        payload,
        leaf,
    ) = row
    return Recorded(
        position=position,
        stream=stream,
        version=version,
        id=id,
        type=type,
        schema=schema,
        recorded_at=recorded_at,
        occurred_at=occurred_at,
        actor=actor,
        evidence=evidence,
        correlation=correlation,
        causation=causation,
        codec=codec,
        payload=payload,
        leaf=leaf,
    )
