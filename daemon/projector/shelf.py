"""Tables of some folds at one position, in SQLite: a batch is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Final

from daemon.ports.store import LogReader
from daemon.projector.batch import fold_batch, no_garbage_collection
from daemon.projector.file import begin, disk_errors, open_temporary
from daemon.projector.pointers import Pointer
from daemon.projector.tables import SqliteTables, create
from daemon.projector.writer import Writer
from daemon.store.driver import sqlite3
from events.envelope import Recorded
from projections.fold import Fold

WRITE_BEHIND_ROWS_MIN: Final = 2_000
"""So many rows take longer to write than to hand over to the writer's thread."""

Moved = Callable[[sqlite3.Connection, Recorded], None]


class SqliteShelf:
    """Tables that come forward batch by batch.

    position  the last event that was folded; the rows of its batch may still be on their way
    moved     writes down the last event of a batch, within the batch's transaction
    writer    takes large batches that are not the last, while the next one is folded
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        folds: Collection[Fold],
        tables: SqliteTables,
        log: LogReader,
        *,
        position: int = 0,
        moved: Moved,
        writer: Writer | None = None,
    ) -> None:
        self._conn = conn
        self._folds = folds
        self._log = log
        self._moved = moved
        self._writer = writer
        self._sent: Future[None] | None = None
        self._stored = position  # What a failure leads back to.
        self.tables = tables
        self.tables.turn.begin, self.tables.turn.settle = self._begin, self.settle
        self.position = position

    def advance(self, upto: int) -> None:
        """Fold at most a batch of events, or none and raise."""
        try:
            with disk_errors(), no_garbage_collection():
                last = self._advance(upto)
        except BaseException:
            self._forget()
            raise
        self.position = last.position
        if self.position == upto:
            self.tables.trim()

    def _advance(self, upto: int) -> Recorded:
        last = fold_batch(self._folds, self.tables, self._log, after=self.position, upto=upto)
        if not (last.position < upto and self._write_behind(last)):
            self._write(last)
        return last

    def settle(self) -> None:
        """Wait until all that was folded is stored. Raises what kept it from that."""
        sent, self._sent = self._sent, None
        if sent is not None:
            try:
                sent.result()
            except BaseException:
                self._forget()
                raise
            self._stored = self.position
            self.tables.finish_readings()  # They look at the state before that.
            self.tables.settled()

    def _write(self, last: Recorded) -> None:
        self._begin()
        self.tables.flush()
        self._moved(self._conn, last)
        self._conn.execute("COMMIT")
        self._stored = last.position

    def _begin(self) -> None:
        """Write on this thread, from now to the end of the batch."""
        if not self._conn.in_transaction:
            self.settle()
            # Nobody can write who still reads a state that somebody else wrote on from.
            self.tables.finish_readings()
            begin(self._conn)

    def _write_behind(self, last: Recorded) -> bool:
        """Hand a large batch over; False: it is small, or partly written already."""
        few = self.tables.changes < WRITE_BEHIND_ROWS_MIN
        if self._writer is None or few or self._conn.in_transaction:
            return False
        statements = self.tables.spell()
        self.settle()
        self._sent = self._writer.write(statements, lambda conn: self._moved(conn, last))
        self.tables.sent()
        return True

    def _forget(self) -> None:
        """Go back to what is stored."""
        if self._conn.in_transaction:
            self._conn.execute("ROLLBACK")
        sent, self._sent = self._sent, None
        if sent is not None and sent.exception() is None:
            self._stored = self.position
        self.tables.forget()
        self.position = self._stored


def join(
    conn: sqlite3.Connection,
    folds: Collection[Fold],
    rows: Mapping[str, Pointer],
    log: LogReader,
    *,
    moved: Moved,
    writer: Writer,
) -> SqliteShelf:
    """Take up the tables that pointers speak of."""
    names = {
        table.name: rows[fold.name].table(table.name) for fold in folds for table in fold.tables
    }
    position = min(row.position for row in rows.values())
    tables = SqliteTables(conn, names, folds)
    return SqliteShelf(conn, folds, tables, log, position=position, moved=moved, writer=writer)


class PastShelf(SqliteShelf):
    """Tables in a temporary database of their own."""

    def __init__(self, folds: Collection[Fold], log: LogReader) -> None:
        conn = open_temporary()
        names = {table.name: table.name for fold in folds for table in fold.tables}
        for fold in folds:
            for table in fold.tables:
                create(conn, table, table.name)
        tables = SqliteTables(conn, names, folds)
        super().__init__(conn, folds, tables, log, moved=lambda _conn, _last: None)

    def close(self) -> None:
        self._conn.close()
