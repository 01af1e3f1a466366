"""One batch: a stretch of the log, folded into tables."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from daemon.ports.projections import BeyondLog, ProjectionsFailed, UnknownFold
from daemon.ports.store import LogReader
from events.envelope import Recorded
from events.registry import Fact, kind_of
from projections.fold import Fold, Handler
from projections.tables import Tables

BATCH_EVENTS: Final = 2_000
"""Events between two looks at the inbox, and in one transaction."""

BATCH_BYTES: Final = 2**20
"""Stored payload of a batch, which may be ten times as much unpacked. One event may be more."""


def fold_batch(
    folds: Collection[Fold], tables: Tables, log: LogReader, *, after: int, upto: int
) -> Recorded:
    """Fold the next events after a position, at most BATCH_EVENTS; return the last of them."""
    with no_garbage_collection():
        at = _fold(folds, tables, log, after, upto)
    if at is None:
        raise ProjectionsFailed(
            "the log ends before the position that it named as its head",
            after=after,
            upto=upto,
            hint="nothing was changed; run `labeltrail verify`",
        )
    return at


def _fold(
    folds: Collection[Fold], tables: Tables, log: LogReader, after: int, upto: int
) -> Recorded | None:
    at: Recorded | None = None
    payload_bytes = 0
    # Most types mean something to one or two folds of nine.
    handlers: dict[type[Fact], list[tuple[str, Handler]]] = {}
    for at in log.read(after=after, upto=upto, limit=BATCH_EVENTS):
        fact = log.outline(at)
        kind = kind_of(fact)
        if kind not in handlers:
            found = [(fold.name, fold.handler_of(kind)) for fold in folds]
            handlers[kind] = [(name, handler) for name, handler in found if handler is not None]
        for name, handler in handlers[kind]:
            try:
                handler(tables, at, fact)
            except Exception as exc:
                exc.add_note(f"fold {name!r}, position {at.position}, event {at.type}")
                raise
        payload_bytes += len(at.payload)
        if payload_bytes >= BATCH_BYTES:
            break
    return at


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the collector away for a batch: it makes no cycles, and half its time would go there.

    The switch is the process's. Whoever found it off leaves it off, so of two threads the first
    one turns it on again, at the latest after its batch.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def chosen(folds: Iterable[Fold], names: Collection[str] | None) -> tuple[Fold, ...]:
    """Return the folds with these names (None: all), in their own order; raise UnknownFold."""
    folds = tuple(folds)
    known = {fold.name for fold in folds}
    for name in names or ():
        if name not in known:
            raise UnknownFold("there is no such projection", name=name, known=sorted(known))
    return tuple(fold for fold in folds if names is None or fold.name in names)


def check_reached(at: int, head: int) -> None:
    """Raise BeyondLog where a position lies outside the log."""
    if not 0 <= at <= head:
        raise BeyondLog("the log has no such position", position=at, head=head)
