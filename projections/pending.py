"""What waits for a person, in one list, and what a person's choice does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from events.errors import SyncError
from events.run import ConflictResolved, LabelEdit, MergeReleased, QuarantineResolved
from projections import runs, scan_conflicts
from projections.codec.fiftyone import digests_of
from projections.datasets import SCAN_CONFLICTS
from projections.decision import Decision, Draft
from projections.documents import with_members
from projections.label_fields import LABELS
from projections.runs import Address, WaitingRow
from projections.streams import versions
from projections.tables import Tables

Side = Literal["cvat", "dataset"]
Choice = Literal["cvat", "dataset", "manifest"]


class NothingWaits(SyncError):
    """No entry of `pending` has this id."""


class NotThatChoice(SyncError):
    """The entry of `pending` cannot be decided so."""


def waiting(tables: Tables, dataset: str | None = None) -> Iterator[WaitingRow]:
    """Yield what waits for a decision, in one dataset or in all."""
    prefix = [dataset] if dataset else []
    for row in tables.scan(runs.WAITING, *prefix):
        if not row.settled:
            yield row


def resolve(tables: Tables, id: str, choice: Choice) -> Decision:
    """Decide an entry of `pending`. Raises NothingWaits, NotThatChoice, NothingToChange.

    choice  "cvat" or "manifest" takes the other side's value over, "dataset" keeps the dataset's
    """
    row = next((row for row in waiting(tables) if row.id == id), None)
    if row is None:
        return _scan_conflict(tables, id, choice)
    if choice == "manifest":
        raise NotThatChoice(
            "no manifest has a side in this",
            id=id,
            hint="choose --cvat or --dataset; nothing was written",
        )
    stream = f"run/{row.dataset}/{row.key}"
    expects = versions(tables, [stream, f"dataset/{row.dataset}"])
    match row.what:
        case "quarantine":
            if choice == "cvat":
                raise NotThatChoice(
                    "a quarantined annotation fits no field, so it cannot be taken over",
                    id=id,
                    reason=row.reason,
                    hint="mend it in CVAT, or let it be with --dataset; nothing was written",
                )
            fact: Any = QuarantineResolved(id=id)
        case "held":
            fact = _released(tables, row, choice)
        case "conflict" | "rejected":
            fact = _resolved(tables, row, choice)
    return Decision([Draft(stream, fact)], expects)


def _scan_conflict(tables: Tables, id: str, choice: Choice) -> Decision:
    open_conflict = next((row for row in tables.scan(SCAN_CONFLICTS) if row.id == id), None)
    if open_conflict is None:
        raise NothingWaits("nothing waits under this id", id=id, hint="see `labeltrail pending`")
    if choice == "cvat":
        raise NotThatChoice(
            "the manifest and the dataset clash here, and CVAT has no side in it",
            id=id,
            hint="choose --manifest or --dataset; nothing was written",
        )
    return scan_conflicts.resolve(tables, open_conflict.dataset, id, choice)


def _released(tables: Tables, row: WaitingRow, choice: Side) -> MergeReleased:
    run = tables.get(runs.RUNS, row.dataset, row.key)
    assert run is not None
    run_job = tables.get(runs.RUN_JOBS, run.request.server, row.job)
    assert run_job is not None
    return MergeReleased(job=row.job, id=row.id, updated_date=run_job.held, choice=choice)


def _resolved(tables: Tables, row: WaitingRow, choice: Side) -> ConflictResolved:
    assert row.edit is not None
    address = Address(row.sample, row.frame, row.field, row.label)
    held = tables.get(LABELS, row.dataset, *address)
    document = held.document if held else None
    if choice == "dataset":
        # Whoever keeps a label that CVAT deleted has seen all of it as it is now.
        tracked = tables.get(runs.TRACKED, row.dataset, row.key, *address)
        kept = tracked if row.edit.operation == "removed" else None
        digests = digests_of(document or {}, kept.digests if kept else row.edit.facets)
        return ConflictResolved(id=row.id, choice=choice, digests=digests)
    edit = _again(row.edit, document)
    after = with_members(document or {}, edit.old or {}, edit.new or {})
    return ConflictResolved(
        id=row.id, choice=choice, edit=edit, digests=digests_of(after, row.edit.facets)
    )


def _again(edit: LabelEdit, document: dict[str, Any] | None) -> LabelEdit:
    """Say an edit against the label as it is now."""
    if edit.operation == "removed":
        return msgspec.structs.replace(edit, old=document)
    if document is None:
        if edit.operation == "changed":
            raise NotThatChoice(
                "the dataset deleted the label, so there is nothing left to change",
                label=edit.label,
                hint="keep the dataset's side with --dataset; nothing was written",
            )
        return edit
    names = {*(edit.old or {}), *(edit.new or {})}
    old = {name: document[name] for name in names if name in document}
    return msgspec.structs.replace(edit, operation="changed", old=old)
