"""`show`: one event, or everything that is known of a label or an annotation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from daemon.operations.log import spelled
from daemon.operations.people import names_of, with_names
from daemon.operations.registry import Json, operation
from daemon.operations.times import iso
from events.errors import SyncError
from projections import history
from projections.label_fields import LABEL_IDS, LABELS, LabelId
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App

_POSITION: Final = re.compile(r"@(\d{1,18})")
_ANNOTATION: Final = re.compile(r"([a-z][a-z0-9_-]*)/(\d{1,18})/(tag|shape|track)/(\d{1,18})")
_LABEL: Final = re.compile(r"[0-9a-f]{24}")


class UnknownThing(SyncError):
    """Nothing in the log has this name."""


class ShowArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to show: @POSITION, a label id, or SERVER/JOB/shape/ID."""

    what: str
    dataset: str | None = None


@operation("show", args=ShowArgs)
async def show(app: App, args: ShowArgs) -> AsyncGenerator[Json, None]:
    """Show an event, the history of a label, or the history of an annotation."""
    if position := _POSITION.fullmatch(args.what):
        for event in await with_names(app, [await _event(app, int(position[1]))]):
            yield event
    elif annotation := _ANNOTATION.fullmatch(args.what):
        server, job, kind, number = annotation.groups()
        rows = await app.projections.ask(
            lambda tables: list(
                tables.scan(history.ANNOTATION_EVENTS, server, int(job), kind, int(number))
            )
        )
        _check(rows, args.what)
        for row in rows:
            yield await _step(app, row, lambda fact: _of_annotation(fact, kind, int(number)))
    else:
        async for found in _label(app, args):
            yield found


async def _label(app: App, args: ShowArgs) -> AsyncGenerator[Json, None]:
    if not _LABEL.fullmatch(args.what):
        raise UnknownThing(
            "this names nothing",
            what=args.what[:80],
            hint="give @POSITION, a label id (24 hex digits), or SERVER/JOB/shape/ID",
        )
    places, rows = await app.projections.ask(lambda tables: _label_rows(tables, args))
    _check(rows, args.what)
    for place, document in places:
        yield {"kind": "label", **place, "document": document}
    for row in rows:
        step = await _step(app, row, lambda fact: _of_label(fact, args.what))
        yield step | {"dataset": row.dataset, "sample": row.sample, "field": row.field}


def _label_rows(
    tables: Tables, args: ShowArgs
) -> tuple[list[tuple[Json, Json]], list[history.LabelEventRow]]:
    found: list[LabelId] = list(tables.scan(LABEL_IDS, args.what))
    names = {row.dataset for row in tables.scan(history.LABEL_DATASETS, args.what)}
    datasets = {args.dataset} if args.dataset else names
    places = []
    for place in found:
        row = tables.get(LABELS, place.dataset, place.sample, place.frame, place.field, place.label)
        if row is not None and place.dataset in datasets:
            places.append((msgspec.to_builtins(place), row.document))
    rows = [
        row
        for name in sorted(datasets)
        for row in tables.scan(history.LABEL_EVENTS, name, args.what)
    ]
    return places, sorted(rows, key=lambda row: row.position)


def _check(rows: list[Any], what: str) -> None:
    if not rows:
        raise UnknownThing("the log names no such thing", what=what, hint="see `labeltrail log`")


async def _event(app: App, position: int) -> Json:
    def read() -> Json | None:
        with closing(app.store.reader()) as reader:
            for recorded in reader.read(after=position - 1, upto=position):
                return spelled(recorded, reader.fact(recorded), facts=True)
            return None

    found = await asyncio.to_thread(read)
    if found is None:
        raise UnknownThing("the log has no such position", position=position)
    return found


async def _step(app: App, row: Any, cut: Callable[[Json], list[Json]]) -> Json:
    event = await _event(app, row.position)
    names = await names_of(app, [row.actor])
    return {
        "kind": "step",
        "position": row.position,
        "operation": row.operation,
        "recorded_at": iso(row.recorded_at),
        "occurred_at": event["occurred_at"],
        "actor": row.actor,
        "actor_name": names.get(row.actor),
        "evidence": row.evidence,
        "stream": event["stream"],
        "type": event["type"],
        "changes": cut(event["fact"]),
    }


def _of_label(fact: Json, label: str) -> list[Json]:
    """Return the parts of a fact that name a label."""
    parts = [
        *fact.get("changes", ()),
        *fact.get("edits", ()),
        *fact.get("links", ()),
        *fact.get("labels", ()),
        *(conflict["edit"] for conflict in fact.get("conflicts", ())),
    ]
    return [part for part in parts if isinstance(part, dict) and part.get("label") == label]


def _of_annotation(fact: Json, kind: str, number: int) -> list[Json]:
    """Return the parts of a fact that name an annotation."""
    parts = [
        {"operation": operation, **part}
        for operation in ("added", "changed", "removed", "carried")
        for part in fact.get(operation, ())
    ]
    return [part for part in parts if part.get("kind") == kind and part.get("id") == number]
