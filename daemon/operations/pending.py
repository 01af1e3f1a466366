"""`pending`: conflicts, rejected edits, quarantined annotations and held merges, in one list."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon.operations.exits import DIFFERENT
from daemon.operations.registry import Json, exit_with, operation
from projections.datasets import SCAN_CONFLICTS
from projections.jobs import SERVERS, ServerRow
from projections.pending import waiting
from projections.runs import WaitingRow
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App


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
    for entry in entries:
        yield entry
    if entries:
        yield exit_with(DIFFERENT)


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
