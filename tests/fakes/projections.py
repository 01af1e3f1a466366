"""`Projections` on the caller's own thread: the real folds and tables, and no waiting."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from daemon.ports.projections import Progress, Rebuilt, TablesFile
from daemon.ports.store import EventStore
from daemon.projector.memory import MemoryShelf
from daemon.projector.view import View
from projections.fold import Fold
from projections.tables import Tables

T = TypeVar("T")


class InlineProjections:
    """Folds what is new when it is asked, then answers. `at` and `follow` are not offered."""

    def __init__(self, store: EventStore, folds: Collection[Fold]) -> None:
        self._store = store
        self._folds = folds
        self.shelf = MemoryShelf(folds, store.reader())

    @property
    def position(self) -> int:
        return self.shelf.position

    async def ask(
        self,
        question: Callable[[Tables], T],
        *,
        at: int | None = None,
        folds: Collection[str] | None = None,
        stale: bool = False,
    ) -> T:
        assert at is None, "the past is not kept here"
        self.fold(await self._store.head())
        view = View(self.shelf.tables)
        try:
            return question(view)
        finally:
            view.close()

    def fold(self, head: int) -> None:
        """Bring the tables up to a position."""
        while self.shelf.position < head:
            self.shelf.advance(head)

    async def file(self) -> TablesFile | None:
        return None

    async def follow(self) -> None:
        raise NotImplementedError

    async def rebuild(
        self, names: Collection[str] | None = None, *, progress: Progress | None = None
    ) -> Rebuilt:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is held."""
