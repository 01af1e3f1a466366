"""New tables that processes of the pool fold: each has folds of its own, and reads the log itself.

They write into the file of the projections, batch by batch; the last stretch, and the switch, are
the projector's. However one ends, what it committed is good, and another goes on from there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from daemon.ports.projections import ProjectionsClosed, ProjectionsFailed, ProjectionsStuck
from daemon.projector.batch import BATCH_EVENTS
from daemon.projector.file import TablesDamaged, disk_errors, is_damage, open_file
from daemon.projector.pointers import Pointers
from daemon.projector.shelf import SqliteShelf, join
from daemon.projector.writer import Writer
from daemon.store.driver import sqlite3
from daemon.store.reader import SqliteReader
from events.envelope import Recorded
from events.errors import SyncError
from projections.folds import FOLDS

if TYPE_CHECKING:
    from daemon.pool import Pool

EVENTS_MIN: Final = 2 * BATCH_EVENTS
"""Fewer are folded sooner than a process is started."""

LARGE: Final = frozenset(("datasets", "jobs", "runs"))
"""The folds that together take as long as all others: the log is decoded for each share of them."""

_RAISES: Final = (ProjectionsFailed, ProjectionsStuck, TablesDamaged)

_encode = msgspec.msgpack.Encoder().encode
_order = msgspec.msgpack.Decoder(tuple[tuple[str, ...], int])


def shares(folds: Collection[str]) -> list[frozenset[str]]:
    """Share folds out between processes; those of one share come forward together."""
    large = LARGE.intersection(folds)
    return [share for share in (large, frozenset(folds) - large) if share]


class Apart:
    """Tables on their way to a position. Made and asked by the projector's thread.

    pool, log, loop  where the work is done: the pool, the file of the log, the pool's loop
    file             the file of the projections, in which tables for `folds` are being built
    wake             called whenever they came further, or ended
    """

    def __init__(
        self,
        pool: Pool,
        log: Path,
        file: Path,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        folds: Collection[str],
        upto: int,
    ) -> None:
        self._pool, self._loop, self._wake = pool, loop, wake
        self._files = (os.fsencode(log.absolute()), os.fsencode(file.absolute()))
        self._upto = upto
        self._reached = dict.fromkeys(shares(folds), 0)
        self._ended: Future[None] = Future()
        loop.call_soon_threadsafe(self._start)

    @property
    def position(self) -> int:
        """Return where the tables stand that are the furthest behind, as far as was told."""
        return min(self._reached.values())

    @property
    def running(self) -> bool:
        return not self._ended.done()

    def result(self) -> None:
        """Raise what kept the tables from their position: WorkFailed, ProjectionsFailed, …"""
        self._ended.result()

    def stop(self) -> None:
        """End the processes, and wait until they are gone."""
        if self._loop.is_closed():
            return  # Whatever ended it ended them.
        self._loop.call_soon_threadsafe(lambda: self._task.cancel())
        self._ended.exception()

    # On the loop.

    def _start(self) -> None:
        self._task = asyncio.ensure_future(self._fold_all())
        self._task.add_done_callback(self._end)

    async def _fold_all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for share in self._reached:
                tasks.create_task(self._fold(share))

    async def _fold(self, share: frozenset[str]) -> None:
        def heard(position: bytes) -> None:
            self._reached[share] = int(position)
            self._wake()

        order = _encode((tuple(share), self._upto))
        await self._pool.run(work, *self._files, order, raises=_RAISES, told=heard, long=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._ended.set_exception(ProjectionsClosed("the projections were closed"))
        elif isinstance(exc := task.exception(), BaseExceptionGroup):
            self._ended.set_exception(exc.exceptions[0])
        else:
            self._ended.set_result(None)
        self._wake()


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
        self._writer = Writer(file)
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
