"""`Tables` in SQLite: what a batch writes stays in memory until it is committed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, get_type_hints

import msgspec

from daemon.projector.rows import RowText
from daemon.store.driver import sqlite3
from projections.fold import Fold
from projections.tables import Key, Row, Rows, Table

KNOWN_BYTES_MAX: Final = 32 * 2**20
"""Text of the rows of one table that stay decoded in memory; decoded they take about the double."""

FOLLOWING_BYTES_MAX: Final = 2**20
"""The same while the tables are up to the log: they grow for months, and memory must not."""

ENTRY_BYTES: Final = 200
"""What a row in memory counts for beside its text: its key, and its place in a dict."""

ROWS_AT_ONCE: Final = (1_000, 100, 10, 1)
"""Rows of one statement, the most first. After each the interpreter is asked for again, and a
thread that is folding gives it back after milliseconds: few statements are no more than work.
"""

Statement = tuple[str, Sequence[Sequence[Any]]]
"""SQL, and the values for each time that it is to run."""

NOTHING: Final[Mapping[Key, Any]] = {}

_UNKNOWN: Final = object()


class _Reading:
    """Rows of a statement that is still running."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows

    def next(self) -> tuple[Any, ...] | None:
        return next(self._rows, None)

    def finish(self) -> None:
        """Read the rest into memory, since the table is about to change."""
        self._rows = iter(list(self._rows))


class StoredTable(Generic[Row]):
    """One table of ours in one of SQLite's, with the rows that were met last.

    Its rows have a rowid: without one, scans run twice as fast, but rows of 1 kB under random
    keys go in at a quarter of the speed (15 k/s instead of 60 k/s).
    """

    def __init__(self, conn: sqlite3.Connection, table: Table[Row], name: str, turn: Turn) -> None:
        self._conn = conn
        self._table = table
        self._turn = turn
        self._text = RowText(table.row)
        self._sql = Statements(name, table.key)
        # None in these: there is no such row.
        self._met: dict[Key, Row | None] = {}
        self._dirty: dict[Key, Row | None] = {}  # Those of them that SQLite does not have so.
        self._row_bytes = 0  # Of the rows read or written last, on the average.
        self._asked = False  # Nobody asks for rows of a history one by one: none is kept.
        self._on_the_way = False  # Some rows that are called stored are only being written.
        self._readings: set[_Reading] = set()

    @property
    def changes(self) -> int:
        """Return how many rows SQLite does not have as they are now."""
        return len(self._dirty)

    def get(self, key: Key) -> Row | None:
        self._asked = True
        row: Any = self._met.get(key, _UNKNOWN)
        return self._read(key) if row is _UNKNOWN else row

    def put(self, row: Row) -> None:
        self.put_at(self._table.key_of(row), row)

    def put_at(self, key: Key, row: Row) -> None:
        self._met[key] = self._dirty[key] = row

    def delete(self, key: Key) -> None:
        if self._met.get(key, _UNKNOWN) is not None:  # None: it is known that it is not there.
            self._met[key] = self._dirty[key] = None

    def scan(self, prefix: Key, start: Key) -> Iterator[Row]:
        if self._on_the_way:
            self._turn.settle()
        if self._dirty:
            self._turn.begin()
            self.flush()
        sql = self._sql.scan(len(prefix), len(start))
        reading = _Reading(self._conn.execute(sql, (*prefix, *start)))
        self._readings.add(reading)
        try:
            while (found := reading.next()) is not None:
                # As in memory: what was changed or deleted since the scan began shows.
                row: Any = self._met.get(found[:-1], _UNKNOWN)
                if row is _UNKNOWN:
                    row = self._text.read(found[-1])
                if row is not None:
                    yield row
        finally:
            self._readings.discard(reading)

    def spell(self) -> list[Statement]:
        """Return what brings the changes into SQLite, in key order, which spares it many a page."""
        keys = sorted(self._dirty)
        rows = [self._dirty[key] for key in keys]
        texts = self._text.write_all([row for row in rows if row is not None])
        self._row_bytes = sum(map(len, texts)) // max(len(texts), 1)
        put: list[Any] = []
        gone: list[Any] = []
        spelled = iter(texts)
        for key, row in zip(keys, rows, strict=True):
            if row is None:
                gone += key
            else:
                put += key
                put.append(next(spelled))
        width = len(self._table.key)
        return [
            *_cut(self._sql.put_many, put, width + 1),
            *_cut(self._sql.delete_many, gone, width),
        ]

    def sent(self, *, on_the_way: bool) -> None:
        """Count what was spelled as stored: it is, or will be."""
        self._on_the_way = on_the_way
        written, self._dirty = self._dirty, {}
        self._let_go(but=written)

    def settled(self) -> None:
        """Hear that nothing is on the way any more."""
        self._on_the_way = False
        self._let_go()

    def finish_readings(self) -> None:
        """Read what running scans have before them into memory."""
        for reading in self._readings:
            reading.finish()

    def flush(self) -> None:
        """Write what changed."""
        if self._dirty:
            self.finish_readings()
            run(self._conn, self.spell())
            self.sent(on_the_way=False)

    def forget(self) -> None:
        """Drop what was not committed, and all that was known."""
        self._dirty = {}
        self._met = {}
        self._on_the_way = False

    def _read(self, key: Key) -> Row | None:
        found = self._conn.execute(self._sql.get, key).fetchone()
        row = None if found is None else self._text.read(found[0])
        if found is not None:
            self._row_bytes = max(self._row_bytes, len(found[0]))
        self._let_go()
        self._met[key] = row
        return row

    def trim(self) -> None:
        """Keep little of what was met, now that the tables are up to the log."""
        self._let_go(FOLLOWING_BYTES_MAX)

    def _let_go(
        self, bytes_max: int | None = None, *, but: Mapping[Key, Row | None] = NOTHING
    ) -> None:
        """Forget what was met where it is much, but for some rows and those that are only here."""
        if self._readings or self._on_the_way:
            return
        clean_bytes = (len(self._met) - len(self._dirty)) * (self._row_bytes + ENTRY_BYTES)
        if not self._asked:
            self._met = dict(self._dirty)
        elif clean_bytes > (KNOWN_BYTES_MAX if bytes_max is None else bytes_max):
            self._met = {**but, **self._dirty}


class StoredRows(Generic[Row]):
    """`Rows` of one table: its rows, under the rest of their keys."""

    def __init__(self, stored: StoredTable[Row], prefix: Key) -> None:
        self._stored = stored
        self._prefix = prefix

    def __getitem__(self, last: Any) -> Row | None:
        return self._stored.get((*self._prefix, last))

    def __setitem__(self, last: Any, row: Row) -> None:
        self._stored.put_at((*self._prefix, last), row)

    def take(self, last: Any) -> Row | None:
        key = (*self._prefix, last)
        row = self._stored.get(key)
        self._stored.delete(key)
        return row


@dataclass
class Turn:
    """What a table calls on before it writes by itself, and before it reads.

    begin   be in a transaction, on the connection of the tables
    settle  wait until nothing is on its way into SQLite
    """

    begin: Callable[[], None] = lambda: None
    settle: Callable[[], None] = lambda: None


def run(conn: sqlite3.Connection, statements: Iterable[Statement]) -> None:
    """Run statements."""
    for sql, values in statements:
        conn.executemany(sql, values)


def _cut(sql: Callable[[int], str], values: list[Any], width: int) -> Iterator[Statement]:
    """Yield statements that take the values of many rows, so many values to a row."""
    done = 0
    for rows in ROWS_AT_ONCE:
        step = rows * width
        upto = len(values) - (len(values) - done) % step
        if upto > done:
            yield sql(rows), [values[at : at + step] for at in range(done, upto, step)]
        done = upto


class Statements:
    """The SQL of one table. Names are our own folds', never input."""

    def __init__(self, name: str, key: tuple[str, ...]) -> None:
        self._name, self._key = name, key
        self._scans: dict[tuple[int, int], str] = {}
        columns, marks = _columns(key), _marks(len(key))
        where = f"WHERE ({columns}) = ({marks})"
        self.get = f'SELECT row FROM "{name}" {where}'  # noqa: S608
        self.delete = f'DELETE FROM "{name}" {where}'  # noqa: S608
        self.put = self._put(1)
        # Long, so they are made where they are needed.
        self.put_many = cache(self._put)
        self.delete_many = cache(self._delete)

    def scan(self, prefix: int, start: int) -> str:
        """Return a statement with so many members that must be equal, and then be no less."""
        if (prefix, start) not in self._scans:
            self._scans[prefix, start] = self._scan(prefix, start)
        return self._scans[prefix, start]

    def _put(self, rows: int) -> str:
        columns, row = _columns(self._key), f"({_marks(len(self._key) + 1)})"
        return (
            f'INSERT INTO "{self._name}" ({columns}, row)'  # noqa: S608
            f" VALUES {', '.join([row] * rows)}"
            f" ON CONFLICT ({columns}) DO UPDATE SET row = excluded.row"
        )

    def _delete(self, rows: int) -> str:
        columns, key = _columns(self._key), f"({_marks(len(self._key))})"
        return (
            f'DELETE FROM "{self._name}"'  # noqa: S608
            f" WHERE ({columns}) IN (VALUES {', '.join([key] * rows)})"
        )

    def _scan(self, prefix: int, start: int) -> str:
        equal, rest = self._key[:prefix], self._key[prefix : prefix + start]
        terms = [f'"{member}" = ?' for member in equal]
        if rest:
            terms.append(f"({_columns(rest)}) >= ({_marks(start)})")
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        columns = _columns(self._key)
        return f'SELECT {columns}, row FROM "{self._name}"{where} ORDER BY {columns}'  # noqa: S608


class SqliteTables:
    """`Tables` on one connection. Nothing is committed here."""

    def __init__(self, conn: sqlite3.Connection, names: Mapping[str, str], folds: Collection[Fold]):
        """Join tables to those of SQLite.

        names  table name → name of the SQLite table
        """
        self.turn = Turn()
        self._stored: dict[str, StoredTable[Any]] = {
            table.name: StoredTable(conn, table, names[table.name], self.turn)
            for fold in folds
            for table in fold.tables
        }

    def get(self, table: Table[Row], *key: str | int) -> Row | None:
        row: Row | None = self._stored[table.name].get(key)
        return row

    def put(self, table: Table[Row], row: Row) -> None:
        self._stored[table.name].put(row)

    def delete(self, table: Table[Row], *key: str | int) -> None:
        self._stored[table.name].delete(key)

    def scan(self, table: Table[Row], *prefix: str | int, start: Key = ()) -> Iterator[Row]:
        return self._stored[table.name].scan(prefix, start)

    def rows(self, table: Table[Row], *prefix: str | int) -> Rows[Row]:
        return StoredRows(self._stored[table.name], prefix)

    def flush(self) -> None:
        """Write what changed."""
        self._each(StoredTable.flush)

    @property
    def changes(self) -> int:
        """Return how many rows SQLite does not have as they are now."""
        return sum(one.changes for one in self._stored.values())

    def spell(self) -> list[Statement]:
        """Return what brings the changes into SQLite."""
        changed = [one for one in self._stored.values() if one.changes]
        return [statement for one in changed for statement in one.spell()]

    def sent(self) -> None:
        """Count as stored what was spelled and is on its way."""
        for one in self._stored.values():
            if one.changes:
                one.sent(on_the_way=True)

    def settled(self) -> None:
        """Hear that nothing is on the way any more."""
        self._each(StoredTable.settled)

    def finish_readings(self) -> None:
        """Read what running scans have before them into memory."""
        self._each(StoredTable.finish_readings)

    def trim(self) -> None:
        """Keep little of what was met, now that the tables are up to the log."""
        self._each(StoredTable.trim)

    def forget(self) -> None:
        """Drop what was not written, after a rollback."""
        self._each(StoredTable.forget)

    def _each(self, act: Callable[[StoredTable[Any]], None]) -> None:
        for stored in self._stored.values():
            act(stored)


def create(conn: sqlite3.Connection, table: Table[Any], name: str) -> None:
    """Make the SQLite table: the key's members as columns, then the whole row as JSON."""
    # Imported on use: it costs 0.17 s, and tables are made seldom.
    import sqlite_utils

    columns = _types(table)
    assert "row" not in columns, f"{table.name}: a key member cannot be called 'row'"
    sqlite_utils.Database(conn).table(name).create(
        {**columns, "row": str}, pk=table.key, not_null=[*columns, "row"], strict=True
    )


@cache  # Types do not change, and each table is made several times.
def _types(table: Table[Any]) -> dict[str, type]:
    """Return the types of a table's key."""
    hints = get_type_hints(table.row)
    return {member: _type(table, member, hints[member]) for member in table.key}


def _type(table: Table[Any], member: str, hint: Any) -> type:
    found = msgspec.inspect.type_info(hint)
    match found:
        case msgspec.inspect.IntType():
            return int
        case msgspec.inspect.StrType():
            return str
        case msgspec.inspect.LiteralType(values=values) if all(isinstance(v, str) for v in values):
            return str
    # SQLite sorts by the column's type, memory by the value's: only here are they the same.
    raise TypeError(f"{table.name}.{member}: a key member is a str or an int, not {found}")


def _columns(members: tuple[str, ...]) -> str:
    return ", ".join(f'"{member}"' for member in members)


def _marks(count: int) -> str:
    return ", ".join("?" * count)
