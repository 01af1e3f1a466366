"""`pending`: conflicts, rejected edits, quarantined annotations and held merges, in one list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from daemon.operations.exits import DIFFERENT
from daemon.operations.people import with_names
from daemon.operations.registry import Json, exit_with, operation
from projections.datasets import SCAN_CONFLICTS
from projections.jobs import SERVERS, ServerRow
from projections.pending import waiting
from projections.runs import WaitingRow
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.ports.store import EventStore


class PendingArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What waits in one dataset, or in all."""

    dataset: str | None = None


@operation("pending", args=PendingArgs)
async def pending(app: App, args: PendingArgs) -> AsyncGenerator[Json, None]:
    """List what waits for a decision; ends with exit code 3 where something does."""

    def found(tables: Tables) -> list[Json]:
        prefix = [args.dataset] if args.dataset else []
        scans = [
            {"kind": "pending", "what": "scan conflict", **msgspec.to_builtins(row)}
            for row in tables.scan(SCAN_CONFLICTS, *prefix)
        ]
        servers = [] if args.dataset else map(_frozen, tables.scan(SERVERS))
        frozen = [entry for entry in servers if entry["reason"]]
        return [*(_spelled(row) for row in waiting(tables, args.dataset)), *scans, *frozen]

    entries = await app.projections.ask(found)
    for entry in await _with_authors(app, entries):
        yield entry
    if entries:
        yield exit_with(DIFFERENT)


async def _with_authors(app: App, entries: list[Json]) -> list[Json]:
    """Return the same entries, each with who made what waits, as the log knows it."""
    positions = {entry["position"] for entry in entries if entry.get("position")}
    actors = await asyncio.to_thread(_actors, app.store, positions)
    authored = [entry | {"actor": actors.get(entry.get("position"))} for entry in entries]
    return await with_names(app, authored)


def _actors(store: EventStore, positions: set[int]) -> dict[int | None, str | None]:
    with closing(store.reader()) as reader:
        return {
            position: recorded.actor
            for position in sorted(positions)
            for recorded in reader.read(after=position - 1, upto=position)
        }


def _frozen(row: ServerRow) -> Json:
    return {
        "kind": "pending",
        "id": row.server,
        "what": "frozen server",
        "reason": f"{row.frozen}; see `labeltrail server thaw`" if row.frozen else None,
    }


def _spelled(row: WaitingRow) -> Json:
    return {
        "kind": "pending",
        "id": row.id,
        "what": row.what,
        "dataset": row.dataset,
        "key": row.key,
        "job": row.job,
        "sample": row.sample or None,
        "field": row.field or None,
        "label": row.label or None,
        "reason": row.reason or None,
        "position": row.position,
        "cvat": msgspec.to_builtins(row.edit.new) if row.edit else None,
        "removed": row.edit.operation == "removed" if row.edit else None,
        "current": row.current,
        "annotation": msgspec.to_builtins(row.annotation) if row.annotation else None,
    }
