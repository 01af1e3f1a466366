"""Tables of some folds at one position, in SQLite: a batch is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection

from daemon.ports.store import LogReader
from daemon.projector.batch import fold_batch
from daemon.projector.file import open_temporary, transaction
from daemon.projector.tables import SqliteTables, create
from daemon.store.driver import sqlite3
from events.envelope import Recorded
from projections.fold import Fold


class SqliteShelf:
    """Tables that come forward batch by batch.

    moved  writes down the last event of a batch, within the batch's transaction
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        folds: Collection[Fold],
        tables: SqliteTables,
        log: LogReader,
        *,
        position: int = 0,
        moved: Callable[[Recorded], None],
    ) -> None:
        self._conn = conn
        self._folds = folds
        self._log = log
        self._moved = moved
        self.tables = tables
        self.position = position

    def advance(self, upto: int) -> None:
        """Fold at most a batch of events, or none and raise."""
        try:
            with transaction(self._conn):
                last = fold_batch(
                    self._folds, self.tables, self._log, after=self.position, upto=upto
                )
                self.tables.flush()
                self._moved(last)
        except BaseException:
            self.tables.forget()
            raise
        self.position = last.position


class PastShelf(SqliteShelf):
    """Tables in a temporary database of their own."""

    def __init__(self, folds: Collection[Fold], log: LogReader) -> None:
        conn = open_temporary()
        names = {table.name: table.name for fold in folds for table in fold.tables}
        for fold in folds:
            for table in fold.tables:
                create(conn, table, table.name)
        tables = SqliteTables(conn, names, folds)
        super().__init__(conn, folds, tables, log, moved=lambda _: None)

    def close(self) -> None:
        self._conn.close()
