"""State as handlers see it: ask a question of tables that follow from the log."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from events.errors import SyncError
from projections.tables import Tables

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called on the event loop, after each batch, with (position reached, position wanted)."""


class ProjectionsFailed(SyncError):
    """The tables could not be brought up to the log; the log itself is untouched."""


class ProjectionsStuck(ProjectionsFailed):
    """The disk does not take or give the tables now; they go on when it does."""


class ProjectionsClosed(ProjectionsFailed):
    """The projections were closed while, or before, they were asked."""


class UnknownFold(SyncError):
    """A projection was named that there is none of."""


class BeyondLog(SyncError):
    """A position was asked for that the log has not reached."""


class WriteRefused(SyncError):
    """A question tried to change state. Only events change state."""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebuild did: which folds were replayed, and up to which position."""

    folds: tuple[str, ...]
    position: int


class TablesFile(NamedTuple):
    """Tables in a file, and the position that they must show to be those of today."""

    path: Path
    position: int


class Projections(Protocol):
    """Tables that follow from the log alone; they may be thrown away at any time."""

    @property
    def position(self) -> int:
        """Return the position of the log that the tables stood at a moment ago."""

    async def ask(
        self,
        question: Callable[[Tables], T],
        *,
        at: int | None = None,
        folds: Collection[str] | None = None,
        stale: bool = False,
    ) -> T:
        """Answer a question from one consistent view: all tables stand at one position.

        question  pure and synchronous; runs on a thread of the projections, where a long one
                  delays the others, and must not return a scan that is still running
        at        None: the state at the log's head at the moment of the call, or later. Else
                  the state at exactly this position; costs the replay of all events up to
                  there, or only of those since the last such question if it lay before
        folds     names of the folds that the question reads; None means all. Fewer cost less
                  with `at`, and are no reason to wait for the rebuild of others
        stale     answer at once, from the tables as they are: they may lag behind the log,
                  and while a fold is rebuilt, the old ones answer. For pages, not for decisions

        Raises BeyondLog, UnknownFold, WriteRefused, ProjectionsFailed, ProjectionsClosed, and
        whatever the question, a fold or the log raises.
        """

    async def file(self) -> TablesFile | None:
        """Return the file that the tables are in, once they stand at the log's head; None where
        they are in memory alone. For another process that reads them.

        Raises as `ask` does.
        """

    async def follow(self) -> None:
        """Keep up with the log until cancelled. `ask` works with or without it."""

    async def rebuild(
        self, names: Collection[str] | None = None, *, progress: Progress | None = None
    ) -> Rebuilt:
        """Replay folds (None: all) into new tables beside the old ones, which answer meanwhile.

        The new tables take the place of the old in one transaction. A cancelled rebuild leaves
        the old ones. Raises UnknownFold, ProjectionsFailed, ProjectionsClosed.
        """

    async def close(self) -> None:
        """Stop the threads; what was folded is kept, what waits gets ProjectionsClosed."""
