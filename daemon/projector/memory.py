"""Projections in memory: the same answers as from disk, for tests, simulation and dry runs."""

from __future__ import annotations

from collections.abc import Collection

from daemon.ports.store import EventStore, LogReader
from daemon.projector.batch import fold_batch
from daemon.projector.projections import KeptProjections
from projections.fold import Fold
from projections.tables import MemoryTables, Tables


class MemoryShelf:
    """Tables of some folds in memory, at one position."""

    def __init__(self, folds: Collection[Fold], log: LogReader) -> None:
        self._folds = folds
        self._log = log
        self.position = 0
        self.tables = self._nothing()

    def advance(self, upto: int) -> None:
        try:
            last = fold_batch(self._folds, self.tables, self._log, after=self.position, upto=upto)
        except BaseException:
            # There is no transaction to roll back; half a batch must never answer.
            self._empty()
            raise
        self.position = last.position

    def _empty(self) -> None:
        self.position = 0
        self.tables = self._nothing()

    def _nothing(self) -> MemoryTables:
        return MemoryTables(table for fold in self._folds for table in fold.tables)

    def close(self) -> None:
        self._empty()


class MemoryKeeper:
    """A Keeper without a file. A rebuild replays all folds, whichever were named."""

    away = False
    frozen = False

    def __init__(self, folds: Collection[Fold], log: LogReader) -> None:
        self._folds = folds
        self._log = log
        self._live = MemoryShelf(folds, log)
        self._new: MemoryShelf | None = None

    @property
    def position(self) -> int:
        return self._live.position

    @property
    def building(self) -> int | None:
        return self._new.position if self._new else None

    def readable(self, names: Collection[str] | None) -> bool:
        return True

    def tables(self) -> Tables:
        return self._live.tables

    def advance(self, upto: int) -> None:
        self._live.advance(upto)

    def begin(self, names: Collection[str]) -> None:
        self._new = MemoryShelf(self._folds, self._log)

    def build(self) -> None:
        assert self._new is not None
        if self._new.position < self.position:
            self._new.advance(self.position)
        if self._new.position >= self.position:
            self._live, self._new = self._new, None

    def abandon(self) -> None:
        self._new = None

    def heal(self, exc: Exception) -> bool:
        return False

    def close(self) -> None:
        self._log.close()


class MemoryProjections(KeptProjections):
    """`Projections` over tables in memory."""

    def __init__(self, store: EventStore, folds: Collection[Fold]) -> None:
        folds = tuple(folds)
        super().__init__(
            store,
            folds,
            keeper=lambda log, _wake: MemoryKeeper(folds, log),
            shelf=lambda some, log: MemoryShelf(some, log),
        )
