"""The log as handlers see it: append, follow, read. Stores fulfil it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from events.envelope import NewEvent, Recorded
from events.errors import SyncError
from events.registry import Fact

NOTHING_EXPECTED: Final[Mapping[str, int]] = MappingProxyType({})


class WrongVersion(SyncError):
    """A stream that a decision was based on moved since it was read."""

    def __init__(self, *, stream: str, version_expected: int, version_actual: int) -> None:
        super().__init__(
            "the stream moved on since it was read",
            hint="nothing was written; read the stream and decide again",
            stream=stream,
            version_expected=version_expected,
            version_actual=version_actual,
        )
        self.stream = stream
        self.version_expected = version_expected
        self.version_actual = version_actual


class EventRefused(SyncError):
    """An event breaks a rule of the envelope, e.g. an id that is not 16 bytes."""


class IdReused(SyncError):
    """Some, but not all, ids of an append are in the log, or they name other events there."""


class QueueFull(SyncError):
    """More waits to be written than the store has room for; try again later."""


class StoreFailed(SyncError):
    """The disk or the database refused; nothing of this append was acknowledged."""


class DiskFull(StoreFailed):
    """There is no room left on the disk that holds the log."""


class StoreClosed(StoreFailed):
    """The store was closed; nothing was written."""


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """Where an append came to stand.

    positions  one for each event, in the order given
    repeated   the same ids were in the log before; nothing was written now
    """

    positions: tuple[int, ...]
    repeated: bool = False


class LogIdentity(msgspec.Struct, frozen=True):
    """Which log this is. epoch: counts how often it was declared to begin anew, from 1."""

    id: bytes
    epoch: int


class StoreCondition(msgspec.Struct, frozen=True, kw_only=True):
    """How a store is getting along.

    waiting             appends that wait to be written, `waiting_bytes` together
    signed              last position under a signed checkpoint, 0 for none
    signed_recorded_at  its recorded time (µs UTC), 0 for none
    """

    waiting: int = 0
    waiting_bytes: int = 0
    signed: int = 0
    signed_recorded_at: int = 0


OnAppend = Callable[[Sequence[NewEvent], float], None]
"""Told of the events of an append that is on disk, and of the seconds that it took."""


class LogReader(Protocol):
    """Synchronous reading, for a worker thread; one thread at a time."""

    def read(
        self,
        *,
        after: int = 0,
        upto: int | None = None,
        stream: str | None = None,
        prefix: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Recorded]:
        """Yield events in the order of the log, in batches inside.

        after, upto  positions: after < position ≤ upto; upto None means today's head
        stream       only this stream
        prefix       only streams whose names begin so, e.g. "job/main/"
        """

    def fact(self, recorded: Recorded) -> Fact:
        """Decompress, fetch what was stored aside, upcast and decode."""

    def outline(self, recorded: Recorded) -> Fact:
        """Do the same, but leave spelled what folds have no need to know (`events.registry`)."""

    def event(self, id: bytes) -> Recorded | None:
        """Return the event with this id."""

    def head(self) -> int:
        """Return the last position, 0 for an empty log."""

    def streams(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Yield (stream, version) by name."""

    def close(self) -> None:
        """Give back what the reader holds."""


class EventStore(Protocol):
    """The append-only log. What `append` returned from is on disk."""

    async def append(
        self, events: Sequence[NewEvent], *, expects: Mapping[str, int] = NOTHING_EXPECTED
    ) -> Appended:
        """Write all events or none.

        expects  the version of every stream that the decision was based on, also of
                 streams that are not written here; 0 for one that must not exist yet

        Idempotent by event id: the same ids again give the same positions. An append
        that was cancelled may have been written; ask again with the same ids.
        Raises WrongVersion, EventRefused, IdReused, NotCanonical, QueueFull, DiskFull,
        StoreFailed; in every case nothing of this append is in the log.
        """

    async def head(self) -> int:
        """Return the last position, 0 for an empty log."""

    async def version(self, stream: str) -> int:
        """Return the version of a stream, 0 if it was never written."""

    async def wait_beyond(self, position: int) -> int:
        """Wait until the head lies beyond a position, and return the head."""

    async def position_at(self, time_us: int) -> int:
        """Return the last position recorded at or before a time (µs UTC), 0 if there is none."""

    def reader(self) -> LogReader:
        """Return a reader of its own; cheap."""

    def identity(self) -> LogIdentity:
        """Return what tells this log from another, and from itself before it was restored."""

    def condition(self) -> StoreCondition:
        """Return how the store is getting along."""

    def hear(self, listener: OnAppend) -> None:
        """Let a plain function hear of each append from now on, on the event loop."""

    async def close(self) -> None:
        """Write what waits, then refuse."""
