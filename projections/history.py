"""Where to read what happened: for each label and each annotation the events that name it.

Rows hold places in the log, not copies of what stands there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from events import dataset, job, log, run, server
from events.annotations import Kind, kind_of, named
from events.dataset import (
    DatasetLabelsChanged,
    LabelChange,
    SamplesAdded,
    SamplesRemoved,
    ScanConflictResolved,
)
from events.envelope import Evidence, Recorded
from events.job import AnnotationsObserved, JobSchemaChanged, ObservedOutline
from events.registry import Fact
from events.run import (
    ConflictRaised,
    ConflictResolved,
    EditRejected,
    LabelEdit,
    LabelsLinked,
    LabelsMerged,
    LabelsUploaded,
)
from projections.datasets import dataset_of
from projections.documents import object_id, split
from projections.fold import Fold, Handler
from projections.jobs import job_of
from projections.tables import Table, Tables

Operation = Literal["added", "changed", "removed", "rejected", "conflict", "linked", "carried"]


class LabelEventRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event that names a label. `run` is "" where the dataset's side did it."""

    dataset: str
    label: str
    sample: str
    frame: int
    field: str
    position: int
    operation: Operation
    recorded_at: int
    members: tuple[str, ...] = ()
    actor: str | None = None
    evidence: Evidence = "unknown"
    run: str = ""


class LabelDatasetRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A dataset that a label id was ever seen in."""

    label: str
    dataset: str


class ProvenanceRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which event gave a member of a label the value it has. `member` "" is the label itself."""

    dataset: str
    sample: str
    frame: int
    field: str
    label: str
    member: str
    position: int
    recorded_at: int
    actor: str | None = None
    evidence: Evidence = "unknown"
    run: str = ""


class AnnotationEventRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event that names an annotation of a job."""

    server: str
    job: int
    kind: Kind
    id: int
    position: int
    operation: Operation
    recorded_at: int
    actor: str | None = None
    evidence: Evidence = "unknown"


# A label is found by its id first: that is what a person has at hand.
LABEL_EVENTS = Table(
    "label_events",
    ("dataset", "label", "sample", "frame", "field", "position", "operation"),
    LabelEventRow,
)
LABEL_DATASETS = Table("label_datasets", ("label", "dataset"), LabelDatasetRow)
PROVENANCE = Table(
    "provenance", ("dataset", "sample", "frame", "field", "label", "member"), ProvenanceRow
)
ANNOTATION_EVENTS = Table(
    "annotation_events", ("server", "job", "kind", "id", "position"), AnnotationEventRow
)


def _note(
    tables: Tables, at: Recorded, change: LabelChange, operation: Operation, key: str = ""
) -> None:
    """Note that an event names a label."""
    members = {*(change.old or {}), *(change.new or {})} if operation != "removed" else set()
    name = dataset_of(at.stream)
    tables.put(LABEL_DATASETS, LabelDatasetRow(label=change.label, dataset=name))
    tables.put(
        LABEL_EVENTS,
        LabelEventRow(
            dataset=name,
            label=change.label,
            sample=change.sample,
            frame=change.frame,
            field=change.field,
            position=at.position,
            operation=operation,
            recorded_at=at.recorded_at,
            members=tuple(sorted(members)) if operation != "added" else (),
            actor=at.actor,
            evidence=at.evidence,
            run=key,
        ),
    )


def _took(
    tables: Tables, at: Recorded, change: LabelChange, operation: Operation, key: str = ""
) -> None:
    """Note a change that the dataset holds now: history and provenance."""
    _note(tables, at, change, operation, key)
    address = (dataset_of(at.stream), change.sample, change.frame, change.field, change.label)
    if operation == "removed":
        for row in list(tables.scan(PROVENANCE, *address)):
            tables.delete(PROVENANCE, *address, row.member)
        return
    members = [""] if operation == "added" else sorted({*(change.old or {}), *(change.new or {})})
    for member in members:
        tables.put(
            PROVENANCE,
            ProvenanceRow(
                dataset=address[0],
                sample=change.sample,
                frame=change.frame,
                field=change.field,
                label=change.label,
                member=member,
                position=at.position,
                recorded_at=at.recorded_at,
                actor=at.actor,
                evidence=at.evidence,
                run=key,
            ),
        )


def _operation(change: LabelChange) -> Operation:
    return "added" if change.old is None else "removed" if change.new is None else "changed"


def _samples(tables: Tables, at: Recorded, fact: SamplesAdded) -> None:
    for document in fact.samples:
        for label in split(document)[1]:
            added = LabelChange(
                sample=str(object_id(document)), field=label.field, label=label.label, new={}
            )
            _took(tables, at, added, "added")


def _samples_removed(tables: Tables, at: Recorded, fact: SamplesRemoved) -> None:
    for document in fact.samples:
        for label in split(document)[1]:
            removed = LabelChange(
                sample=str(object_id(document)), field=label.field, label=label.label, old={}
            )
            _took(tables, at, removed, "removed")


def _dataset_labels(tables: Tables, at: Recorded, fact: DatasetLabelsChanged) -> None:
    for change in fact.changes:
        _took(tables, at, change, _operation(change))


def _scan_resolved(tables: Tables, at: Recorded, fact: ScanConflictResolved) -> None:
    if fact.label is not None:
        _took(tables, at, fact.label, _operation(fact.label))


def _change_of(edit: LabelEdit) -> LabelChange:
    return LabelChange(
        sample=edit.sample,
        frame=edit.frame,
        field=edit.field,
        label=edit.label,
        old=edit.old,
        new=edit.new,
    )


def _key(at: Recorded) -> str:
    return at.stream.rpartition("/")[2]


def _edits(tables: Tables, at: Recorded, edits: Iterable[LabelEdit]) -> None:
    for edit in edits:
        if edit.old is not None or edit.new is not None:
            _took(tables, at, _change_of(edit), edit.operation, _key(at))


def _merged(tables: Tables, at: Recorded, fact: LabelsMerged) -> None:
    _edits(tables, at, fact.edits)


def _conflict_resolved(tables: Tables, at: Recorded, fact: ConflictResolved) -> None:
    if fact.edit is not None:
        _edits(tables, at, [fact.edit])


def _rejected(tables: Tables, at: Recorded, fact: EditRejected) -> None:
    for edit in fact.edits:
        _note(tables, at, _change_of(edit), "rejected", _key(at))


def _conflicts(tables: Tables, at: Recorded, fact: ConflictRaised) -> None:
    for conflict in fact.conflicts:
        _note(tables, at, _change_of(conflict.edit), "conflict", _key(at))


def _linked(tables: Tables, at: Recorded, fact: LabelsLinked) -> None:
    for link in fact.links:
        named = LabelChange(
            sample=link.sample, frame=link.frame, field=link.field, label=link.label
        )
        _note(tables, at, named, "linked", _key(at))


def _sent(tables: Tables, at: Recorded, fact: LabelsUploaded) -> None:
    for sent in fact.labels:
        named = LabelChange(
            sample=sent.sample, frame=sent.frame, field=sent.field, label=sent.label
        )
        _note(tables, at, named, "linked", _key(at))


def _annotations(
    tables: Tables, at: Recorded, named: Iterable[tuple[Kind, int]], operation: Operation
) -> None:
    """Note that an event names annotations."""
    server, job = job_of(at.stream)
    for kind, id in named:
        row = AnnotationEventRow(
            server=server,
            job=job,
            kind=kind,
            id=id,
            position=at.position,
            operation=operation,
            recorded_at=at.recorded_at,
            actor=at.actor,
            evidence=at.evidence,
        )
        tables.put(ANNOTATION_EVENTS, row)


def _observed(tables: Tables, at: Recorded, fact: ObservedOutline) -> None:
    _annotations(tables, at, [(one.kind, one.id) for one in fact.removed], "removed")
    _annotations(tables, at, [(one.kind, one.id) for one in fact.changed], "changed")
    added = [named(annotation) for annotation in fact.added]
    _annotations(tables, at, [(one.kind, one.id) for one in added], "added")


def _carried(tables: Tables, at: Recorded, fact: JobSchemaChanged) -> None:
    _annotations(tables, at, [(one.kind, one.id) for one in fact.carried], "carried")
    _annotations(tables, at, [(kind_of(one), one.id) for one in fact.removed], "removed")


_HANDLERS: dict[type[Fact], Handler] = {
    SamplesAdded: _samples,
    SamplesRemoved: _samples_removed,
    DatasetLabelsChanged: _dataset_labels,
    ScanConflictResolved: _scan_resolved,
    LabelsMerged: _merged,
    ConflictResolved: _conflict_resolved,
    EditRejected: _rejected,
    ConflictRaised: _conflicts,
    LabelsLinked: _linked,
    LabelsUploaded: _sent,
    AnnotationsObserved: _observed,
    JobSchemaChanged: _carried,
}

_EVERY: frozenset[type[Fact]] = frozenset(
    (*dataset.FACTS, *server.FACTS, *job.FACTS, *run.FACTS, *log.FACTS)
)

HISTORY_FOLD = Fold(
    name="history",
    revision=1,
    tables=(LABEL_EVENTS, LABEL_DATASETS, PROVENANCE, ANNOTATION_EVENTS),
    handlers=_HANDLERS,
    ignores=_EVERY - _HANDLERS.keys(),
)
