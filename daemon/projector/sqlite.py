"""Projections in a second SQLite file, which may be deleted at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from daemon.ports.store import EventStore, LogReader
from daemon.projector import file
from daemon.projector.apart import EVENTS_MIN, Apart, shares
from daemon.projector.batch import chosen
from daemon.projector.file import disk_errors, transaction
from daemon.projector.pointers import Pointer, Pointers, State, shape_of
from daemon.projector.projections import KeptProjections
from daemon.projector.shelf import Moved, PastShelf, SqliteShelf, join
from daemon.projector.thread import Wake
from daemon.projector.writer import Writer
from daemon.store.driver import sqlite3
from events.envelope import Recorded
from projections.fold import Fold
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.pool import Pool

HEALS_MAX: Final = 3
"""A disk that damages the file again and again must be seen, not healed for ever."""

log = structlog.get_logger(__name__)


class SqliteKeeper:
    """A Keeper over one file. All live tables stand at one position, so do all new ones."""

    def __init__(
        self,
        path: Path,
        folds: Collection[Fold],
        reader: LogReader,
        send: Callable[[Collection[str], int], Apart] | None = None,
    ) -> None:
        """Open the file.

        send  has processes bring the new tables of these folds to a position; None: there are none
        """
        self._path = path
        self._folds = tuple(folds)
        self._reader = reader
        self._send = send
        self._apart: Apart | None = None
        self._goal = 0  # Where the new tables take over.
        self._heals = 0
        self._opened = ExitStack()
        try:
            self._open()
        except Exception as exc:
            if not self.heal(exc):
                self.close()
                raise

    @property
    def position(self) -> int:
        return self._live.position

    @property
    def building(self) -> int | None:
        if self._apart is not None:
            return self._apart.position
        return self._new.position if self._new else None

    @property
    def away(self) -> bool:
        return self._apart is not None and self._apart.running

    @property
    def frozen(self) -> bool:
        return bool(self._outdated) or self._first

    def readable(self, names: Collection[str] | None) -> bool:
        return self._readable.issuperset(fold.name for fold in chosen(self._folds, names))

    def tables(self) -> Tables:
        self._live.settle()
        return self._live.tables

    def advance(self, upto: int) -> None:
        if self._send is not None and self.position == 0 and upto >= EVENTS_MIN:
            # There is nothing yet that could answer meanwhile.
            self.begin([fold.name for fold in self._folds])
            return
        self._finish_readings()
        self._live.advance(upto)

    def begin(self, names: Collection[str]) -> None:
        self._stop_apart()
        self._settle()
        with transaction(self._conn):
            self._begin({*names, *self._pointers.all("building")})
        self._join()

    def build(self) -> None:
        assert self._new is not None
        if self._apart is not None:
            self._take_back()
            return
        self._finish_readings()
        self._live.settle()  # They may be about to lose their place.
        # Nothing answers before the first tables do: they are built up to the log's head.
        self._goal = self._reader.head() if self._first else self.position
        if self._send is not None and self._is_far():
            self._apart = self._send(self._pointers.all("building"), self._goal)
            return
        if self._new.position < self._goal:
            self._new.advance(self._goal)
        else:  # Nothing is to be folded, or a daemon that was killed left the new tables ahead.
            with transaction(self._conn):
                self._switch()
        if self._new.position >= self._goal:
            self._join()

    def abandon(self) -> None:
        if self._new is not None and not self.frozen:
            self._stop_apart()
            self._settle()
            with transaction(self._conn):
                self._begin(())
            self._join()

    def heal(self, exc: Exception) -> bool:
        if not file.is_damage(exc) or self._heals >= HEALS_MAX:
            return False
        self._heals += 1
        self._stop_apart()
        self._opened.close()
        with disk_errors():
            aside = file.set_aside(self._path)
        log.warning(
            "the file of the projections is damaged or not ours: set aside, folding the log anew",
            path=str(self._path),
            aside=str(aside),
            reason=str(exc),
        )
        self._open()
        return True

    def close(self) -> None:
        self._stop_apart()
        self._opened.close()
        self._reader.close()

    def _open(self) -> None:
        with disk_errors():
            self._conn = self._opened.enter_context(closing(file.open_file(self._path)))
        self._writer = self._opened.enter_context(closing(Writer(self._path)))
        self._pointers = Pointers(self._conn)
        with transaction(self._conn):
            if file.is_new(self._conn):
                file.sign(self._conn)
                self._pointers.create()
            self._tidy()
        self._join()

    def _tidy(self) -> None:
        """Drop what today's log or code cannot go on with, and begin what is missing."""
        names = {fold.name for fold in self._folds}
        live, building = (self._pointers.all(state).values() for state in ("live", "building"))
        self._pointers.drop(row for row in live if row.fold not in names or not self._on_log(row))
        # What is being built takes over together, so it goes together.
        if not all(row.fold in names and self._on_log(row) for row in building):
            self._pointers.drop(building)
        if not self._pointers.all("live"):
            self._begin(())
            self._pointers.make(self._folds, "live")
        elif not self._goes_on(outdated := self._find_outdated()):
            self._begin(outdated)
        self._pointers.name_live(self._folds)

    def _on_log(self, row: Pointer) -> bool:
        """Tell whether the tables came from this log, and not from one it was restored over."""
        if row.position == 0:
            return True
        found = next(self._reader.read(after=row.position - 1, upto=row.position), None)
        if found is not None and found.leaf.hex() == row.leaf:
            return True
        log.warning(
            "the log was restored or replaced since it was projected: folding it anew",
            fold=row.fold,
            position=row.position,
            head=self._reader.head(),
        )
        return False

    def _goes_on(self, outdated: Collection[str]) -> bool:
        """Tell whether the building that an earlier process began is the one that is needed."""
        building = self._pointers.all("building")
        fits = all(building[f.name].fits(f) for f in self._folds if f.name in building)
        # Processes may have left them at several positions, and only they can go on from there.
        joint = [[*building]] if self._send is None else shares(building)
        even = all(len({building[name].position for name in names}) <= 1 for names in joint)
        return fits and even and building.keys() >= set(outdated)

    def _begin(self, names: Collection[str]) -> None:
        self._pointers.drop(self._pointers.all("building").values())
        self._pointers.make([fold for fold in self._folds if fold.name in names], "building")

    def _find_outdated(self) -> set[str]:
        live = self._pointers.all("live")
        return {f.name for f in self._folds if f.name not in live or not live[f.name].fits(f)}

    def _switch(self) -> None:
        self._pointers.switch()
        self._pointers.name_live(self._folds)

    def _is_far(self) -> bool:
        """Tell whether the new tables are so far behind that processes bring them on."""
        positions = {row.position for row in self._pointers.all("building").values()}
        return len(positions) > 1 or self._goal - min(positions) >= EVENTS_MIN

    def _take_back(self) -> None:
        """Go on with what processes built, once they ended. Raises what kept them from it."""
        if self._apart is not None and not self._apart.running:
            apart, self._apart = self._apart, None
            self._finish_readings()
            self._settle()
            self._join()
            apart.result()

    def _stop_apart(self) -> None:
        if self._apart is not None:
            self._apart.stop()
            self._apart = None

    def _settle(self) -> None:
        for shelf in self._shelves:
            shelf.settle()

    def _finish_readings(self) -> None:
        """End what somebody still reads: on one connection all see the state of the first."""
        for shelf in self._shelves:
            shelf.tables.finish_readings()

    @property
    def _shelves(self) -> list[SqliteShelf]:
        return [self._live, *([self._new] if self._new else [])]

    def _moved(self, conn: sqlite3.Connection, last: Recorded) -> None:
        Pointers(conn).moved("live", last)

    def _built(self, conn: sqlite3.Connection, last: Recorded) -> None:
        Pointers(conn).moved("building", last)
        if last.position == self._goal:
            self._switch()

    def _join(self) -> None:
        """Join the tables anew, after the pointers have changed."""
        self._outdated = self._find_outdated()
        self._readable = {fold.name for fold in self._joinable(self._pointers.all("live"))}
        self._live = self._shelf("live", self._moved)
        building = self._pointers.all("building")
        self._new = self._shelf("building", self._built) if building else None
        # The very first tables are built, and processes may do it.
        first = self.position == 0 and len(building) == len(self._folds)
        self._first = first and self._send is not None

    def _joinable(self, rows: Mapping[str, Pointer]) -> list[Fold]:
        """Return the folds whose tables can be read, be they of an earlier revision."""
        return [f for f in self._folds if f.name in rows and rows[f.name].shape == shape_of(f)]

    def _shelf(self, state: State, moved: Moved) -> SqliteShelf:
        rows = self._pointers.all(state)
        folds = self._joinable(rows)
        return join(self._conn, folds, rows, self._reader, moved=moved, writer=self._writer)


class SqliteProjections(KeptProjections):
    """`Projections` in a file. Deleting it while nobody has it open costs a replay, no more."""

    @classmethod
    async def open(
        cls,
        path: Path,
        store: EventStore,
        folds: Collection[Fold],
        *,
        pool: Pool | None = None,
        log_file: Path | None = None,
    ) -> SqliteProjections:
        """Open the file, or make it, and begin to rebuild what changed since.

        pool      rebuilds long stretches of the log, which is in `log_file`; `folds` are some of
                  `projections.folds.FOLDS` then. None: all is folded by a thread

        A file that is damaged or not ours is set aside, with a line in the service's log.
        Raises ProjectionsFailed when the disk does not let us.
        """
        folds = tuple(folds)
        loop = asyncio.get_running_loop()

        def keeper(log: LogReader, wake: Wake) -> SqliteKeeper:
            if pool is None or log_file is None:
                return SqliteKeeper(path, folds, log)
            return SqliteKeeper(path, folds, log, partial(Apart, pool, log_file, path, loop, wake))

        projections = cls(
            store,
            folds,
            keeper=keeper,
            shelf=PastShelf,
            file=path,
        )
        await projections.opened()
        return projections
