"""The port's adapter: what handlers await on the loop, and what the threads do for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeVar

import structlog

from daemon.logs import trouble
from daemon.ports.projections import (
    Progress,
    ProjectionsClosed,
    ProjectionsStuck,
    Rebuilt,
    TablesFile,
)
from daemon.ports.store import EventStore, LogReader
from daemon.projector.batch import check_reached, chosen
from daemon.projector.keeper import Keeper
from daemon.projector.past import MakeShelf, Past
from daemon.projector.thread import Ask, Projector, Rebuild, Wake
from projections.fold import Fold
from projections.tables import Tables

T = TypeVar("T")

ASKS_MAX: Final = 256
"""Questions in the threads' hands at one time; further ones wait on the loop."""

FOLLOW_EVERY_S: Final = 0.05
"""How far the tables may stay behind while nobody asks: each step takes turns from the loop."""

FLOOD_EVENTS: Final = 50
"""So many events in FOLLOW_EVERY_S are a flood. The tables let it go first while nobody asks: who
waits for an acknowledgement would wait twice as long."""

FLOOD_LOOKS_MAX: Final = 100
"""So often they do, 5 s in all."""

STUCK_S: Final = 5.0
"""Between two tries while the disk does not take them."""

log = structlog.get_logger(__name__)


class KeptProjections:
    """`Projections` by two threads: one keeps the live tables, one looks into the past."""

    def __init__(
        self,
        store: EventStore,
        folds: Collection[Fold],
        *,
        keeper: Callable[[LogReader, Wake], Keeper],
        shelf: MakeShelf,
        file: Path | None = None,
    ) -> None:
        self._file = file
        self._store = store
        self._folds = _distinct(folds)
        self._projector = Projector(lambda wake: keeper(store.reader(), wake))
        self._past = Past(shelf, store.reader)
        self._room = asyncio.Semaphore(ASKS_MAX)
        self._closed = False

    @property
    def position(self) -> int:
        return self._projector.position

    async def ask(
        self,
        question: Callable[[Tables], T],
        *,
        at: int | None = None,
        folds: Collection[str] | None = None,
        stale: bool = False,
    ) -> T:
        some = chosen(self._folds, folds)
        async with self._room:
            head = await self._store.head()
            if at is not None:
                check_reached(at, head)
                return await self._ask_past(question, some, at)
            request = Ask(question, head, None if folds is None else frozenset(folds), stale)
            self._projector.put(request)
            answer: T = await asyncio.wrap_future(request.future)
            return answer

    async def file(self) -> TablesFile | None:
        if self._file is None:
            return None
        head = await self._store.head()
        await self.ask(_nothing)
        return TablesFile(self._file, head)

    async def opened(self) -> None:
        """Wait until the tables are open; raise what kept them from it."""
        request = Ask(_nothing, 0, folds=(), stale=True)
        self._projector.put(request)
        await asyncio.wrap_future(request.future)

    async def follow(self) -> None:
        position = 0
        while True:
            await self._store.wait_beyond(position)
            await self._give_way(position)
            request = Ask(_nothing, await self._store.head())
            self._projector.put(request)
            try:
                await asyncio.wrap_future(request.future)
            except ProjectionsStuck as exc:
                log.warning("projections_behind", position=position, **trouble(exc))
                await asyncio.sleep(STUCK_S)
                continue
            position = request.upto
            await asyncio.sleep(FOLLOW_EVERY_S)

    async def _give_way(self, position: int) -> None:
        """Wait for the end of a flood of appends, for a limited time."""
        for _ in range(FLOOD_LOOKS_MAX):
            before, position = position, await self._store.head()
            if position - before < FLOOD_EVENTS:
                return
            await asyncio.sleep(FOLLOW_EVERY_S)

    async def rebuild(
        self, names: Collection[str] | None = None, *, progress: Progress | None = None
    ) -> Rebuilt:
        some = tuple(fold.name for fold in chosen(self._folds, names))
        request = Rebuild(some, await self._store.head(), _on_this_loop(progress or _unheard))
        self._projector.put(request)
        return await asyncio.wrap_future(request.future)

    async def close(self) -> None:
        self._closed = True
        # Told at once: a rebuild could be through before a thread is free to wait for it.
        self._projector.stop()
        await asyncio.to_thread(self._close_threads)

    def _close_threads(self) -> None:
        self._projector.close()
        self._past.close()

    async def _ask_past(
        self, question: Callable[[Tables], T], folds: Collection[Fold], at: int
    ) -> T:
        if self._closed:
            raise ProjectionsClosed("the projections were closed")
        given_up = threading.Event()
        future: Future[T] = self._past.ask(question, folds, at, given_up)
        try:
            return await asyncio.wrap_future(future)
        finally:
            given_up.set()


def _distinct(folds: Collection[Fold]) -> tuple[Fold, ...]:
    """Return the folds, once no two share a name of their own or of a table."""
    for names in ([f.name for f in folds], [t.name for f in folds for t in f.tables]):
        assert len(set(names)) == len(names), f"a name is used twice: {sorted(names)}"
    return tuple(folds)


def _nothing(_tables: Tables) -> None:
    """Ask for nothing but that the tables come forward."""


def _unheard(_position: int, _upto: int) -> None:
    """Progress that nobody wants to hear of."""


def _on_this_loop(progress: Progress) -> Progress:
    """Return what calls `progress` on the loop of the caller, from any thread."""
    loop = asyncio.get_running_loop()

    def report(position: int, upto: int) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(progress, position, upto)

    return report
