"""The label fields: every label as the dataset has it now, whoever changed it last.

What nobody touched keeps the document that the dataset brought: a change sets the members it
names and no other.
"""

from __future__ import annotations

from typing import Final

import msgspec

from events import dataset, job, log, run, server
from events.dataset import (
    DatasetChanged,
    DatasetLabelsChanged,
    DatasetOpened,
    Document,
    LabelChange,
    SamplesAdded,
    SamplesRemoved,
    ScanConflictResolved,
)
from events.envelope import Recorded
from events.run import ConflictResolved, LabelEdit, LabelsMerged, RunRequested
from projections.datasets import dataset_of
from projections.documents import (
    ALONE,
    CONTAINERS,
    LISTS,
    Label,
    class_of,
    object_id,
    split,
    with_members,
)
from projections.documents import (
    LABELS as LABEL_CLASSES,
)
from projections.fold import Fold
from projections.tables import Table, Tables

# The class of a field that an annotation run creates, by the type that the run gives it.
CLASS_OF_TYPE: Final = {
    "classification": "Classification",
    "classifications": "Classifications",
    "detections": "Detections",
    "instances": "Detections",
    "keypoints": "Keypoints",
    "polygons": "Polylines",
    "polylines": "Polylines",
    "segmentation": "Segmentation",
}

# A label that appears by an event gets a place behind all that were there before.
_LABELS_AN_EVENT_MAX: Final = 1 << 20


class LabelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One label of a dataset.

    frame  FiftyOne frame number from 1; 0 for a label of the sample itself
    order  sorts the labels of one list; `documents.ALONE` where the field is this one label
    """

    dataset: str
    sample: str
    frame: int
    field: str
    label: str
    order: int
    document: Document


class LabelId(msgspec.Struct, frozen=True, kw_only=True):
    """Where a label id occurs; FiftyOne copies ids when it clones fields or datasets."""

    label: str
    dataset: str
    sample: str
    frame: int
    field: str


class LabelField(msgspec.Struct, frozen=True, kw_only=True):
    """A label field and its class, e.g. "Detections".

    run  the key of the run that asked for it; "" where the dataset brought it
    """

    dataset: str
    field: str
    label_class: str
    run: str = ""


LABELS = Table("labels", ("dataset", "sample", "frame", "field", "label"), LabelRow)
LABEL_IDS = Table("label_ids", ("label", "dataset", "sample", "frame", "field"), LabelId)
LABEL_FIELDS = Table("label_fields", ("dataset", "field"), LabelField)


def labels_of(tables: Tables, dataset: str, sample: str) -> list[Label]:
    """Return the labels of a sample itself, as `documents.join` takes them."""
    return [
        Label(row.field, row.label, row.order, row.document)
        for row in tables.scan(LABELS, dataset, sample, 0)
    ]


def _added(tables: Tables, at: Recorded, fact: SamplesAdded) -> None:
    dataset = dataset_of(at.stream)
    for document in fact.samples:
        sample = object_id(document)
        assert sample is not None, "a recorded sample without an id"
        for field, label, order, found in split(document)[1]:
            row = LabelRow(
                dataset=dataset,
                sample=sample,
                frame=0,
                field=field,
                label=label,
                order=order,
                document=found,
            )
            _put(tables, row)


def _removed(tables: Tables, at: Recorded, fact: SamplesRemoved) -> None:
    dataset = dataset_of(at.stream)
    for document in fact.samples:
        for row in tables.scan(LABELS, dataset, str(object_id(document))):
            _delete(tables, row)


def _labels_changed(tables: Tables, at: Recorded, fact: DatasetLabelsChanged) -> None:
    for nth, change in enumerate(fact.changes):
        _change(tables, at, nth, change)


def _scan_conflict_resolved(tables: Tables, at: Recorded, fact: ScanConflictResolved) -> None:
    if fact.label is not None:
        _change(tables, at, 0, fact.label)


def _merged(tables: Tables, at: Recorded, fact: LabelsMerged) -> None:
    for nth, edit in enumerate(fact.edits):
        _edit(tables, at, nth, edit)


def _conflict_resolved(tables: Tables, at: Recorded, fact: ConflictResolved) -> None:
    if fact.edit is not None:
        _edit(tables, at, 0, fact.edit)


def _edit(tables: Tables, at: Recorded, nth: int, edit: LabelEdit) -> None:
    """Bring a run's edit in; it is a label change by other words."""
    match edit.operation:
        case "added":
            old, new = None, edit.new
        case "changed":
            old, new = edit.old or {}, edit.new or {}
        case "removed":
            old, new = edit.old or {}, None
    change = LabelChange(
        sample=edit.sample,
        frame=edit.frame,
        field=edit.field,
        label=edit.label,
        old=old,
        new=new,
        alone=new is not None and _is_alone(tables, dataset_of(at.stream), edit.field, new),
    )
    _change(tables, at, nth, change)


def _change(tables: Tables, at: Recorded, nth: int, change: LabelChange) -> None:
    dataset = dataset_of(at.stream)
    row = tables.get(LABELS, dataset, change.sample, change.frame, change.field, change.label)
    if change.new is None:
        if row is not None:
            _delete(tables, row)
    elif change.old is None:
        order = ALONE if change.alone else at.position * _LABELS_AN_EVENT_MAX + nth
        row = LabelRow(
            dataset=dataset,
            sample=change.sample,
            frame=change.frame,
            field=change.field,
            label=change.label,
            order=order,
            document=change.new,
        )
        _put(tables, row)
    elif row is not None:
        document = with_members(row.document, change.old, change.new)
        tables.put(LABELS, msgspec.structs.replace(row, document=document))


def _put(tables: Tables, row: LabelRow) -> None:
    tables.put(LABELS, row)
    place = LabelId(
        label=row.label, dataset=row.dataset, sample=row.sample, frame=row.frame, field=row.field
    )
    tables.put(LABEL_IDS, place)


def _delete(tables: Tables, row: LabelRow) -> None:
    tables.delete(LABELS, row.dataset, row.sample, row.frame, row.field, row.label)
    tables.delete(LABEL_IDS, row.label, row.dataset, row.sample, row.frame, row.field)


def _is_alone(tables: Tables, dataset: str, field: str, document: Document) -> bool:
    """Tell whether a field holds one label itself; by its declared class, else by the label's."""
    declared = tables.get(LABEL_FIELDS, dataset, field)
    return (
        class_of(document) not in CONTAINERS
        if declared is None
        else declared.label_class not in LISTS
    )


def _opened(tables: Tables, at: Recorded, fact: DatasetOpened) -> None:
    _declare(tables, dataset_of(at.stream), fact.metadata)


def _changed(tables: Tables, at: Recorded, fact: DatasetChanged) -> None:
    if "sample_fields" in fact.new:
        _declare(tables, dataset_of(at.stream), fact.new)


def _declare(tables: Tables, dataset: str, metadata: Document) -> None:
    """Note the label fields that metadata.json declares (`sample_fields`)."""
    fields = metadata.get("sample_fields")
    for field in fields if isinstance(fields, list) else ():
        match field:
            case {"name": str(name), "embedded_doc_type": str(document_type)}:
                label_class = document_type.rpartition(".")[2]
                if label_class in LISTS or label_class in LABEL_CLASSES:
                    row = LabelField(dataset=dataset, field=name, label_class=label_class)
                    tables.put(LABEL_FIELDS, row)


def _requested(tables: Tables, at: Recorded, fact: RunRequested) -> None:
    dataset, run_key = dataset_of(at.stream), at.stream.rpartition("/")[2]
    for field in fact.fields:
        known = tables.get(LABEL_FIELDS, dataset, field.name)
        if known is None and field.type in CLASS_OF_TYPE:
            label_class = CLASS_OF_TYPE[field.type]
            row = LabelField(
                dataset=dataset, field=field.name, label_class=label_class, run=run_key
            )
            tables.put(LABEL_FIELDS, row)


LABEL_FIELDS_FOLD = Fold(
    name="label_fields",
    revision=1,
    tables=(LABELS, LABEL_IDS, LABEL_FIELDS),
    handlers={
        DatasetOpened: _opened,
        DatasetChanged: _changed,
        SamplesAdded: _added,
        SamplesRemoved: _removed,
        DatasetLabelsChanged: _labels_changed,
        ScanConflictResolved: _scan_conflict_resolved,
        LabelsMerged: _merged,
        ConflictResolved: _conflict_resolved,
        RunRequested: _requested,
    },
    ignores=frozenset(
        {
            *job.FACTS,
            *server.FACTS,
            *log.FACTS,
            dataset.ManifestAcknowledged,
            dataset.ManifestRejected,
            dataset.ManifestScanned,
            dataset.SamplesChanged,
            dataset.SamplesSeen,
            dataset.ScanConflictRaised,
            run.ConflictRaised,
            run.EditRejected,
            run.LabelQuarantined,
            run.LabelsLinked,
            run.LabelsUploaded,
            run.MediaUploaded,
            run.MergeHeld,
            run.MergeReleased,
            run.ProjectLinked,
            run.QuarantineResolved,
            run.CleanupIntended,
            run.RunCleanedUp,
            run.RunDeleted,
            run.RunOpened,
            run.RunRenamed,
            run.SchemaCompiled,
            run.TaskCreated,
            run.TaskCreationIntended,
            run.WriteIntended,
        }
    ),
)
