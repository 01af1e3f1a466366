"""A fold applies what it knows, skips what it ignores, and never skips by mistake."""

from __future__ import annotations

import pytest

from events.envelope import Recorded
from events.registry import Fact
from events.server import DeliveryRefused, ServerChanged, SweepCompleted
from projections.fold import Fold, Handler, replay
from projections.streams import STREAMS, STREAMS_FOLD, Stream, versions
from projections.tables import MemoryTables, Table, Tables

LAST = Table("last", ("stream",), Stream)


def at(position: int, stream: str = "server/main", version: int = 1) -> Recorded:
    """Return the envelope of an event; only its place matters here."""
    return Recorded(
        position=position, stream=stream, version=version, id=bytes(16), type="", schema=1,
        recorded_at=0, occurred_at=None, actor=None, evidence="unknown", correlation=None,
        causation=None, codec="json", payload=b"{}", leaf=bytes(32),
    )  # fmt: skip


def mark(name: str) -> Fold:
    """Return a fold that writes down which of its handlers an event met."""

    def named(handler: str) -> Handler:
        def handle(tables: Tables, at: Recorded, _fact: Fact) -> None:
            tables.put(LAST, Stream(stream=handler, version=at.version, position=at.position))

        return handle

    return Fold(
        name=name,
        revision=1,
        tables=(LAST,),
        handlers={Fact: named("every"), SweepCompleted: named("sweep")},
    )


def test_what_is_under_fact_takes_every_type_that_is_not_named() -> None:
    """The versions of streams follow from all events, also from types that come later."""
    tables = MemoryTables()

    replay(
        [mark("all")],
        tables,
        [(at(1), ServerChanged(reason="restored")), (at(2), SweepCompleted(jobs=1))],
    )

    assert [(row.stream, row.position) for row in tables.scan(LAST)] == [("every", 1), ("sweep", 2)]


def test_a_type_that_is_neither_handled_nor_ignored_stops_the_fold() -> None:
    """A new event type must be decided on, fold by fold; silence would lose state."""
    fold = Fold(
        name="deaf", revision=1, tables=(), handlers={}, ignores=frozenset({SweepCompleted})
    )
    fold.apply(MemoryTables(), at(1), SweepCompleted(jobs=1))

    with pytest.raises(AssertionError, match="deaf does not know DeliveryRefused"):
        fold.apply(MemoryTables(), at(2), DeliveryRefused(reason="size"))


def test_the_versions_of_streams_are_those_of_their_last_events() -> None:
    """A decision names them when it is appended; one too low, and it would be refused for ever."""
    tables = MemoryTables()
    fact = SweepCompleted(jobs=1)

    replay(
        [STREAMS_FOLD],
        tables,
        [(at(1, "a"), fact), (at(2, "b"), fact), (at(3, "a", version=2), fact)],
    )

    assert versions(tables, ["a", "b", "never"]) == {"a": 2, "b": 1, "never": 0}
    assert tables.get(STREAMS, "a") == Stream(stream="a", version=2, position=3)
