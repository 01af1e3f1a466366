"""New tables that processes of the pool fold: each has folds of its own, and reads the log itself.

They write into the file of the projections, batch by batch; the last stretch, and the switch, are
the projector's. However one ends, what it committed is good, and another goes on from there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemon.ports.projections import ProjectionsClosed, ProjectionsFailed, ProjectionsStuck
from daemon.projector.batch import BATCH_EVENTS
from daemon.projector.file import TablesDamaged
from daemon.projector.share import order, work

if TYPE_CHECKING:
    from daemon.pool import Pool

EVENTS_MIN: Final = 2 * BATCH_EVENTS
"""Fewer are folded sooner than a process is started."""

LARGE: Final = frozenset(("datasets", "jobs", "runs"))
"""The folds that together take as long as all others: the log is decoded for each share of them."""

_RAISES: Final = (ProjectionsFailed, ProjectionsStuck, TablesDamaged)


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

        parts = (*self._files, order(share, self._upto))
        await self._pool.run(work, *parts, raises=_RAISES, told=heard, long=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._ended.set_exception(ProjectionsClosed("the projections were closed"))
        elif isinstance(exc := task.exception(), BaseExceptionGroup):
            self._ended.set_exception(exc.exceptions[0])
        else:
            self._ended.set_result(None)
        self._wake()
