"""Between rows of the events table and `Recorded`: names for numbers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from daemon.store.driver import sqlite3
from daemon.store.schema import TABLES
from events.envelope import Recorded

if TYPE_CHECKING:
    from daemon.store.placing import Row

NAMES_KEPT_MAX: Final = 100_000

COLUMNS: Final = ", ".join(TABLES["events"])
_MARKS: Final = f"({', '.join('?' * len(TABLES['events']))})"
INSERT: Final = f"INSERT INTO events ({COLUMNS}) VALUES {_MARKS}"  # noqa: S608
ROWS_AT_ONCE_MAX: Final = 128

_WIDTH: Final = len(TABLES["events"])
_STREAM, _TYPE = [list(TABLES["events"]).index(name) for name in ("stream", "type")]


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


def insert(
    conn: sqlite3.Connection,
    made: Sequence[Row],
    streams: Mapping[str, int],
    types: Mapping[str, int],
) -> None:
    """Write rows of the table, with numbers for their names.

    The interpreter is given away at every step of a statement, and getting it back from a busy
    event loop takes up to milliseconds. So many rows go in by one statement in one step.
    """
    for start in range(0, len(made), ROWS_AT_ONCE_MAX):
        some = made[start : start + ROWS_AT_ONCE_MAX]
        values: list[Any] = list(chain.from_iterable(some))
        for at, numbers in ((_STREAM, streams), (_TYPE, types)):
            values[at::_WIDTH] = [numbers[name] for name in values[at::_WIDTH]]
        conn.execute(f"{INSERT}{f', {_MARKS}' * (len(some) - 1)}", values)


def recorded(row: tuple[Any, ...], streams: Names, types: Names) -> Recorded:
    """Turn a row of the table, its columns in COLUMNS order, into the event."""
    return recorded_from(row, streams[row[1]], types[row[4]])


def recorded_from(row: tuple[Any, ...], stream: str, type: str) -> Recorded:
    """Turn the fields of an event into the event, with its names where a row has numbers."""
    return Recorded(
        position=row[0],
        stream=stream,
        version=row[2],
        id=row[3],
        type=type,
        schema=row[5],
        recorded_at=row[6],
        occurred_at=row[7],
        actor=row[8],
        # msgspec leaves a default out only where a member *is* the default, not an equal text. Rows
        # of the projections carry the evidence, and must be spelled alike live and in a replay.
        evidence=sys.intern(row[9]),  # type: ignore[arg-type]
        correlation=row[10],
        causation=row[11],
        codec=row[12],
        payload=row[13],
        leaf=row[14],
    )
