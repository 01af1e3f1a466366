"""A fold: how one family of tables follows from the log, event by event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from events.envelope import Recorded
from events.registry import Fact, kind_of, outlined
from projections.tables import Table, Tables

Handler = Callable[[Tables, Recorded, Any], None]


@dataclass(frozen=True)
class Fold:
    """State that follows from the log alone.

    revision  raised when the meaning changes; the projector then rebuilds from the first event
    tables    its own: a fold reads and writes no others, since each is rebuilt by itself
    handlers  event type → what it does to the tables, told the outline of an event that has one;
              under `Fact`, the base of them all, what every type does that is not named here
    ignores   event types that mean nothing here, by name, so that a new one cannot be forgotten
    """

    name: str
    revision: int
    tables: tuple[Table[Any], ...]
    handlers: Mapping[type[Fact], Handler]
    ignores: frozenset[type[Fact]] = field(default_factory=frozenset)

    def apply(self, tables: Tables, at: Recorded, fact: Fact) -> None:
        """Bring one event's effect into the tables; `fact` may be an outline."""
        kind = kind_of(fact)
        if (handler := self.handler_of(kind)) is not None:
            handler(tables, at, outlined(fact) if type(fact) is kind else fact)

    def handler_of(self, kind: type[Fact]) -> Handler | None:
        """Return what events of a type do here; None: nothing."""
        if (handler := self.handlers.get(kind)) is None:
            handler = self.handlers.get(Fact)
            known = handler is not None or kind in self.ignores
            assert known, f"{self.name} does not know {kind.__name__}"
        return handler


def replay(folds: Iterable[Fold], tables: Tables, events: Iterable[tuple[Recorded, Fact]]) -> None:
    """Fold events, in order, into tables."""
    folds = tuple(folds)
    for at, fact in events:
        for fold in folds:
            fold.apply(tables, at, fact)
