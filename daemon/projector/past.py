"""The state as it was at a position: replayed, and kept a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from daemon.ports.projections import ProjectionsClosed
from daemon.ports.store import LogReader
from daemon.projector.view import View
from projections.fold import Fold
from projections.tables import Tables

T = TypeVar("T")

STATES_KEPT: Final = 2
"""Replayed states that stay, so that a question about a later position folds only the rest."""


class Shelf(Protocol):
    """Tables of some folds, at one position."""

    position: int

    @property
    def tables(self) -> Tables: ...

    def advance(self, upto: int) -> None:
        """Fold at most a batch of events, or none and raise."""

    def close(self) -> None: ...


MakeShelf = Callable[[Collection[Fold], LogReader], Shelf]


class Past:
    """Answers about earlier positions, one after the other, on a thread of its own."""

    def __init__(self, make_shelf: MakeShelf, reader: Callable[[], LogReader]) -> None:
        self._make_shelf = make_shelf
        self._reader = reader
        self._log: LogReader | None = None
        self._kept: list[tuple[frozenset[str], Shelf]] = []  # The last used comes last.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="projections-past")
        self._closing = threading.Event()

    def ask(
        self,
        question: Callable[[Tables], T],
        folds: Collection[Fold],
        at: int,
        given_up: threading.Event,
    ) -> Future[T]:
        """Answer from the state at exactly this position; stop between batches if given up."""
        return self._thread.submit(self._answer, question, folds, at, given_up)

    def close(self) -> None:
        """Stop at the next batch, and wait for that."""
        self._closing.set()
        self._thread.submit(self._forget)
        self._thread.shutdown(wait=True)

    def _answer(
        self,
        question: Callable[[Tables], T],
        folds: Collection[Fold],
        at: int,
        given_up: threading.Event,
    ) -> T:
        shelf = self._nearest(folds, at)
        while shelf.position < at:
            if given_up.is_set() or self._closing.is_set():
                # Who gave up does not hear it.
                raise ProjectionsClosed("the projections were closed")
            shelf.advance(at)
        view = View(shelf.tables)
        try:
            return question(view)
        finally:
            view.close()

    def _nearest(self, folds: Collection[Fold], at: int) -> Shelf:
        names = frozenset(fold.name for fold in folds)
        before = [kept for kept in self._kept if kept[0] == names and kept[1].position <= at]
        if before:
            found = max(before, key=lambda kept: kept[1].position)
            self._kept.remove(found)
        else:
            self._log = self._log or self._reader()
            found = (names, self._make_shelf(folds, self._log))
        self._kept.append(found)
        while len(self._kept) > STATES_KEPT:
            self._kept.pop(0)[1].close()
        return found[1]

    def _forget(self) -> None:
        for _, shelf in self._kept:
            shelf.close()
        if self._log is not None:
            self._log.close()
