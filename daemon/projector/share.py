"""A share of the folds, in a process of the pool: it reads the log itself, and folds it into new
tables in the file of the projections, batch by batch.

Whoever rebuilds waits for its start, so it imports no more than it needs.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from daemon.ports.projections import ProjectionsFailed
from daemon.projector.file import TablesDamaged, disk_errors, is_damage, open_file
from daemon.projector.pointers import Pointers
from daemon.projector.shelf import SqliteShelf, join
from daemon.projector.writer import Writer
from daemon.store.driver import sqlite3
from daemon.store.reader import SqliteReader
from events.envelope import Recorded
from events.errors import SyncError
from projections.folds import FOLDS

_encode = msgspec.msgpack.Encoder().encode
_order = msgspec.msgpack.Decoder(tuple[tuple[str, ...], int])


def order(share: Collection[str], upto: int) -> bytes:
    """Spell which folds `work` is to bring to which position."""
    return _encode((tuple(share), upto))


def work(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Bring the new tables of some folds to a position; yield how far they came.

    parts  the file of the log, that of the projections, and the folds and the position
    """
    log, file = (Path(os.fsdecode(part)) for part in parts[:2])
    names, upto = _order.decode(parts[2])
    try:
        with disk_errors(), closing(_Share(log, file, names)) as share:
            while share.shelf.position < upto:
                share.shelf.advance(upto)
                yield str(share.shelf.position).encode()
    except SyncError:
        raise
    except Exception as exc:
        failed = TablesDamaged if is_damage(exc) else ProjectionsFailed
        # Its own words may quote a row, which no line of the service's log may hold.
        where = [*getattr(exc, "__notes__", ())]
        raise failed("the log could not be folded", reason=type(exc).__name__, where=where) from exc


class _Share:
    """The new tables of some folds, in the process that folds them."""

    def __init__(self, log: Path, file: Path, names: Collection[str]) -> None:
        self._names = names
        self._conn = open_file(file)
        self._log = SqliteReader(log)
        self._writer = Writer(file, by_turns=True)
        rows = Pointers(self._conn).all("building")
        folds = [fold for fold in FOLDS if fold.name in names and fold.name in rows]
        if len(folds) < len(names) or not all(rows[fold.name].fits(fold) for fold in folds):
            raise ProjectionsFailed("the new tables are not those of this release", folds=names)
        pointers = {name: rows[name] for name in names}
        self.shelf: SqliteShelf = join(
            self._conn, folds, pointers, self._log, moved=self._moved, writer=self._writer
        )
        self._stored = self.shelf.position

    def _moved(self, conn: sqlite3.Connection, last: Recorded) -> None:
        """Write down how far they came, unless somebody began them anew meanwhile."""
        moved = Pointers(conn).built(self._names, last, after=self._stored)
        if moved < len(self._names):
            raise ProjectionsFailed("the new tables were begun anew", folds=self._names)
        self._stored = last.position

    def close(self) -> None:
        self._writer.close()
        self._conn.close()
        self._log.close()
