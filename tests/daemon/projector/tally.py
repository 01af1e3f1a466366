"""A small fold, a log for it, and questions: what the tests of this folder share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from daemon.clock import SystemClock
from daemon.ports.projections import Projections
from daemon.ports.store import EventStore
from daemon.projector import MemoryProjections, SqliteProjections
from events.envelope import NewEvent, Recorded
from events.server import DeliveryRefused
from projections.fold import Fold
from projections.streams import STREAMS, STREAMS_FOLD
from projections.tables import Table, Tables

CLOCK = SystemClock()


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How often deliveries were refused for a reason."""

    reason: str
    count: int


TALLIES = Table("tallies", ("reason",), Tally)


def count(tables: Tables, _at: Recorded, fact: DeliveryRefused) -> None:
    before = tables.get(TALLIES, fact.reason)
    tables.put(
        TALLIES, Tally(reason=fact.reason, count=(before.count if before else 0) + fact.count)
    )


TALLY_FOLD = Fold(name="tally", revision=1, tables=(TALLIES,), handlers={DeliveryRefused: count})
FOLDS = (STREAMS_FOLD, TALLY_FOLD)


async def refuse(store: EventStore, *reasons: str) -> int:
    """Append a refused delivery for each reason; return the head."""
    events = [
        NewEvent(id=CLOCK.new_id(), stream="server/main", fact=DeliveryRefused(reason=reason))
        for reason in reasons
    ]
    return (await store.append(events)).positions[-1]


def tallies(tables: Tables) -> dict[str, int]:
    """Ask for everything that was counted."""
    return {row.reason: row.count for row in tables.scan(TALLIES)}


def version(tables: Tables) -> int:
    """Ask for the version of the stream."""
    row = tables.get(STREAMS, "server/main")
    return row.version if row else 0


async def make(kind: str, store: EventStore, folds: Sequence[Fold], path: Path) -> Projections:
    """Return projections of one kind."""
    if kind == "memory":
        return MemoryProjections(store, folds)
    return await SqliteProjections.open(path / "projections.db", store, folds)
