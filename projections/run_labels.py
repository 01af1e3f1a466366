"""What events mean for the labels of a run: links, agreed and seen values, and what waits."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from events.annotations import kind_of
from events.dataset import Document
from events.envelope import Recorded
from events.job import JobSchemaChanged
from events.run import (
    ConflictRaised,
    ConflictResolved,
    EditRejected,
    LabelEdit,
    LabelQuarantined,
    LabelsLinked,
    LabelsMerged,
    LabelsUploaded,
    MergeHeld,
    MergeReleased,
    Part,
    QuarantineResolved,
)
from projections.codec.fiftyone import members_of, merged_facets
from projections.facets import Facets
from projections.jobs import job_of
from projections.runs import (
    PARTS,
    RUN_JOBS,
    RUNS,
    TRACKED,
    TRACKED_IDS,
    UNSENT,
    WAITING,
    Address,
    PartRow,
    RunRow,
    TrackedIdRow,
    TrackedRow,
    UnsentRow,
    WaitingRow,
    find_waiting,
    run_of,
)
from projections.tables import Tables


def run_at(tables: Tables, at: Recorded) -> RunRow:
    """Return the run that an event is of."""
    row = tables.get(RUNS, *run_of(at.stream))
    assert row is not None, f"{at.stream} has no RunRequested"
    return row


def set_job(tables: Tables, at: Recorded, number: int, **members: object) -> None:
    """Change members of one of the run's jobs."""
    row = tables.get(RUN_JOBS, run_at(tables, at).request.server, number)
    assert row is not None, f"{at.stream} has no job {number}"
    tables.put(RUN_JOBS, msgspec.structs.replace(row, **members))


# One function an event, named for it.


def uploaded(tables: Tables, at: Recorded, fact: LabelsUploaded) -> None:
    run = run_at(tables, at)
    for sent in fact.labels:
        address = Address(sent.sample, sent.frame, sent.field, sent.label)
        facets = merged_facets(sent.annotation, run.field(sent.field))
        part = Part(kind=kind_of(sent.annotation), id=sent.annotation.id, part=sent.part)
        _track(
            tables,
            TrackedRow(
                dataset=run.dataset,
                key=run.key,
                **address._asdict(),
                job=fact.job,
                agreed=facets,
                seen=facets,
                digests=sent.digests,
            ),
        )
        _relink(tables, at, run, fact.job, address, (part,))
    for label in fact.unsent:
        tables.put(
            UNSENT,
            UnsentRow(dataset=run.dataset, key=run.key, **msgspec.structs.asdict(label)),
        )
    set_job(tables, at, fact.job, uploaded=True)


def _track(tables: Tables, row: TrackedRow) -> None:
    tables.put(TRACKED, row)
    tables.put(
        TRACKED_IDS,
        TrackedIdRow(
            dataset=row.dataset,
            key=row.key,
            label=row.label,
            sample=row.sample,
            frame=row.frame,
            field=row.field,
        ),
    )


def _relink(
    tables: Tables,
    at: Recorded,
    run: RunRow,
    number: int,
    address: Address,
    parts: tuple[Part, ...],
    origins: dict[str, tuple[int, ...]] | None = None,
) -> None:
    """Let a label stand for these annotations, and for no others."""
    row = tables.get(TRACKED, run.dataset, run.key, *address)
    assert row is not None, f"{run.stream} does not track {address}"
    server_name = run.request.server
    for part in row.parts:
        held = tables.get(PARTS, server_name, row.job, part.kind, part.id)
        if held is not None and held.address == address:
            tables.delete(PARTS, server_name, row.job, part.kind, part.id)
    linked = msgspec.structs.replace(
        row, job=number, parts=parts, origins=origins or {}, linked=at.position
    )
    tables.put(TRACKED, linked)
    for part in parts:
        tables.put(
            PARTS,
            PartRow(
                server=server_name,
                job=number,
                kind=part.kind,
                id=part.id,
                dataset=run.dataset,
                key=run.key,
                **address._asdict(),
                part=part.part,
            ),
        )


def linked(tables: Tables, at: Recorded, fact: LabelsLinked) -> None:
    run = run_at(tables, at)
    for link in fact.links:
        address = Address(link.sample, link.frame, link.field, link.label)
        if tables.get(TRACKED, run.dataset, run.key, *address) is None:
            _track(
                tables,
                TrackedRow(dataset=run.dataset, key=run.key, **address._asdict(), job=fact.job),
            )
        _relink(tables, at, run, fact.job, address, link.parts, link.origins)


def merged(tables: Tables, at: Recorded, fact: LabelsMerged) -> None:
    for edit in fact.edits:
        _agree(tables, at, edit, edit.digests)


def _agree(tables: Tables, at: Recorded, edit: LabelEdit, digests: dict[str, str]) -> None:
    run, address, facets = run_at(tables, at), _address(edit), edit.facets
    row = tables.get(TRACKED, run.dataset, run.key, *address)
    assert row is not None, f"{run.stream} does not track {address}"
    kept = {"added": None, "changed": row.removed, "removed": edit.old}
    agreed = msgspec.structs.replace(
        row,
        agreed=row.agreed | facets,
        digests=row.digests | digests,
        removed=kept[edit.operation],
    )
    _seen(tables, at, agreed, facets)


def _see(tables: Tables, at: Recorded, edit: LabelEdit) -> None:
    """Note what was seen, so that it is not raised again; the agreed values stay."""
    run = run_at(tables, at)
    row = tables.get(TRACKED, run.dataset, run.key, *_address(edit))
    if row is not None:
        _seen(tables, at, row, edit.facets)


def _seen(tables: Tables, at: Recorded, row: TrackedRow, facets: Facets) -> None:
    gone = row.gone
    if "exists" in facets:
        gone = 0 if facets["exists"] else at.position
    tables.put(TRACKED, msgspec.structs.replace(row, seen=row.seen | facets, gone=gone))
    _close(tables, row, facets)


def _close(tables: Tables, label: TrackedRow, facets: Facets) -> None:
    """Let nothing wait any more for a decision on these facets; on others it waits on.

    What came or went as a whole waits as a whole.
    """
    for row in list(tables.scan(WAITING, label.dataset, label.key, *label.address)):
        waits = row.edit.facets if row.edit else {}
        left = waits.keys() - facets.keys()
        if row.edit is None or len(left) == len(waits):
            continue
        if not left or ("exists" in waits and "exists" in facets):
            tables.delete(WAITING, *WAITING.key_of(row))
        elif "exists" not in waits:
            tables.put(WAITING, msgspec.structs.replace(row, edit=_only(row.edit, left)))


def _only(edit: LabelEdit, facets: Collection[str]) -> LabelEdit:
    """Return what an edit does to some of its facets."""
    members = {member for facet in facets for member in members_of(facet)}
    return msgspec.structs.replace(
        edit,
        facets={name: value for name, value in edit.facets.items() if name in facets},
        old=_among(edit.old, members),
        new=_among(edit.new, members),
        digests={name: digest for name, digest in edit.digests.items() if name in facets},
    )


def _among(document: Document | None, members: Collection[str]) -> Document | None:
    return document and {name: document[name] for name in document if name in members}


# Where an entry of `pending` is that is about no label.
NO_LABEL = Address("", 0, "", "")


def _wait(tables: Tables, run: RunRow, at: Recorded, address: Address, **entry: Any) -> None:
    """Let something wait for a decision: an entry of `pending`."""
    row = WaitingRow(
        dataset=run.dataset, key=run.key, **address._asdict(), position=at.position, **entry
    )
    tables.put(WAITING, row)


def _address(edit: LabelEdit) -> Address:
    return Address(edit.sample, edit.frame, edit.field, edit.label)


def rejected(tables: Tables, at: Recorded, fact: EditRejected) -> None:
    run = run_at(tables, at)
    for number, edit in enumerate(fact.edits):
        _see(tables, at, edit)
        _wait(
            tables,
            run,
            at,
            _address(edit),
            id=f"r{at.position}.{number}",
            what="rejected",
            job=fact.job,
            reason=fact.restriction,
            edit=edit,
        )


def conflict(tables: Tables, at: Recorded, fact: ConflictRaised) -> None:
    run = run_at(tables, at)
    for conflict in fact.conflicts:
        _see(tables, at, conflict.edit)
        _wait(
            tables,
            run,
            at,
            _address(conflict.edit),
            id=conflict.id,
            what="conflict",
            job=fact.job,
            edit=conflict.edit,
            current=conflict.dataset,
        )


def resolved(tables: Tables, at: Recorded, fact: ConflictResolved) -> None:
    run = run_at(tables, at)
    row = find_waiting(tables, run.dataset, run.key, fact.id)
    assert row is not None, f"{at.stream} has no conflict {fact.id}"
    assert row.edit is not None
    tables.delete(WAITING, *WAITING.key_of(row))
    _agree(tables, at, row.edit, fact.digests)


def quarantined(tables: Tables, at: Recorded, fact: LabelQuarantined) -> None:
    run = run_at(tables, at)
    _wait(
        tables,
        run,
        at,
        NO_LABEL,
        id=fact.id,
        what="quarantine",
        job=fact.job,
        reason=fact.reason,
        annotation=fact.annotation,
    )


def quarantine_resolved(tables: Tables, at: Recorded, fact: QuarantineResolved) -> None:
    run = run_at(tables, at)
    row = tables.get(WAITING, run.dataset, run.key, *NO_LABEL, fact.id)
    assert row is not None, f"{at.stream} has no quarantine {fact.id}"
    tables.put(WAITING, msgspec.structs.replace(row, settled=True))


def held(tables: Tables, at: Recorded, fact: MergeHeld) -> None:
    run = run_at(tables, at)
    set_job(tables, at, fact.job, held=fact.updated_date)
    _wait(
        tables,
        run,
        at,
        NO_LABEL,
        id=fact.id,
        what="held",
        job=fact.job,
        reason=f"{fact.deleted} deleted and {fact.relabelled} relabelled of {fact.labels}",
    )


def released(tables: Tables, at: Recorded, fact: MergeReleased) -> None:
    run = run_at(tables, at)
    set_job(tables, at, fact.job, held="", released=fact.updated_date, choice=fact.choice)
    tables.delete(WAITING, run.dataset, run.key, *NO_LABEL, fact.id)


def schema_changed(tables: Tables, at: Recorded, fact: JobSchemaChanged) -> None:
    """Follow what a changed schema does by itself, so that it is not taken for an edit."""
    server_name, number = job_of(at.stream)
    for change in fact.carried:
        part = tables.get(PARTS, server_name, number, change.kind, change.id)
        row = part and tables.get(TRACKED, part.dataset, part.key, *part.address)
        if row:
            agreed = _carried(row.agreed, change.old, change.new)
            seen = _carried(row.seen, change.old, change.new)
            tables.put(TRACKED, msgspec.structs.replace(row, agreed=agreed, seen=seen))


def _carried(facets: Facets, old: Facets, new: Facets) -> Facets:
    return {
        name: new.get(name) if name in old and old[name] == value else value
        for name, value in facets.items()
    }
