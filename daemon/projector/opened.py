"""The tables as another process reads them, while the daemon writes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from daemon.ports.projections import ProjectionsFailed, TablesFile
from daemon.projector.file import disk_errors
from daemon.projector.pointers import Pointers
from daemon.projector.tables import SqliteTables
from daemon.projector.view import View
from daemon.store.driver import BUSY_MS, sqlite3
from projections.fold import Fold
from projections.tables import Tables


@contextmanager
def opened(file: TablesFile, folds: Collection[Fold]) -> Iterator[Tables]:
    """Yield the live tables as they were committed last; all stand at one position.

    Raises ProjectionsFailed where they stand before the file's, are not those of today's code, or
    cannot be read.
    """
    with disk_errors(), closing(_connect(file.path)) as conn:
        # One transaction is one view, however much is written meanwhile.
        conn.execute("BEGIN")
        rows = Pointers(conn).all("live")
        late = [
            fold.name for fold in folds if fold.name not in rows or not rows[fold.name].fits(fold)
        ]
        if late or any(row.position < file.position for row in rows.values()):
            raise ProjectionsFailed("the tables are not those of this release", folds=late)
        names = {
            table.name: rows[fold.name].table(table.name) for fold in folds for table in fold.tables
        }
        view = View(SqliteTables(conn, names, folds))
        try:
            yield view
        finally:
            view.close()


def _connect(path: Path) -> sqlite3.Connection:
    conn = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    conn.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    return conn
