"""What an annotation run asks for and sends: the plan of its tasks, and the labels of one job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from events.annotations import Annotation, AttributeSpec, LabelSpec, kind_of
from events.errors import SyncError
from events.run import (
    FieldSchema,
    Frame,
    LabelsUploaded,
    LabelType,
    Policy,
    RunRequested,
    SchemaCompiled,
    TaskPlan,
    Tripwire,
    Unsent,
    Uploaded,
)
from projections import runs
from projections.attribution import date_us
from projections.codec.cvat import Schema, as_stored
from projections.codec.fiftyone import Unsendable, digests_of, to_annotation, watched_facets
from projections.datasets import Sample, in_order
from projections.decision import Decision, Draft
from projections.jobs import ANNOTATIONS, JOBS
from projections.label_fields import LABEL_FIELDS, LABELS
from projections.label_schema import LABEL_ID, Inference, compile_labels, label_type_of
from projections.observation import Reading
from projections.run_keys import check_free
from projections.runs import Address
from projections.streams import versions
from projections.tables import Tables


class NothingToAnnotate(SyncError):
    """The selection holds no sample."""


class UnknownField(SyncError):
    """The dataset has no such label field, or one of a type that cannot be annotated yet."""


class FieldRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody asks for one label field; what is None is inferred from its labels.

    type        needed for a new field
    attributes  True infers them, False sends none
    """

    name: str
    type: LabelType | None = None
    classes: tuple[str, ...] | None = None
    attributes: tuple[AttributeSpec, ...] | bool = True
    allow_additions: bool = True
    allow_deletions: bool = True
    allow_label_edits: bool = True
    allow_index_edits: bool = True
    allow_spatial_edits: bool = True


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which samples: those with one of these ids and one of these tags; empty means all."""

    ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    limit: int | None = None


class AnnotateRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One annotation run as a person asks for it (FiftyOne's parameter names).

    project  name of the project to use or make; None: one of its own
    hooked   False: tasks outside any project, which fire no webhook
    """

    dataset: str
    key: str
    server: str
    fields: tuple[FieldRequest, ...]
    selection: Selection = Selection()
    task_size: int | None = None
    segment_size: int | None = None
    image_quality: int = 75
    policy: Policy = "manual"
    project: str | None = None
    hooked: bool = True
    tripwire: Tripwire = Tripwire()


def request_run(tables: Tables, asked: AnnotateRequest) -> Decision:
    """Decide on a new run. Raises RunExists, UnknownField, NothingToAnnotate, BadLabelSchema."""
    stream = f"run/{asked.dataset}/{asked.key}"
    check_free(tables, asked.dataset, asked.key)
    samples = list(select(tables, asked.dataset, asked.selection))
    if not samples:
        raise NothingToAnnotate(
            "the selection holds no sample",
            dataset=asked.dataset,
            hint="nothing was written; see `labeltrail dataset ls`, and the tags and ids given",
        )
    fields = tuple(_field(tables, asked.dataset, field) for field in asked.fields)
    labels, names = compile_labels(fields)
    requested = RunRequested(
        server=asked.server,
        fields=fields,
        tasks=tuple(_tasks(asked, [sample.sample for sample in samples])),
        policy=asked.policy,
        segment_size=asked.segment_size,
        image_quality=asked.image_quality,
        project=asked.project,
        hooked=asked.hooked,
        tripwire=asked.tripwire,
    )
    return Decision(
        [Draft(stream, requested), Draft(stream, SchemaCompiled(labels=labels, names=names))],
        versions(tables, [stream, f"dataset/{asked.dataset}"]),
    )


def select(tables: Tables, dataset: str, selection: Selection) -> Iterator[Sample]:
    """Yield the selected samples in the dataset's order."""
    left = selection.limit
    for row in in_order(tables, dataset):
        if left is not None and left <= 0:
            return
        if selection.ids and row.sample not in selection.ids:
            continue
        tags = row.document.get("tags")
        if selection.tags and not set(selection.tags) & set(tags if isinstance(tags, list) else ()):
            continue
        yield row
        left = None if left is None else left - 1


def _tasks(asked: AnnotateRequest, samples: Sequence[str]) -> Iterator[TaskPlan]:
    """Cut the samples into tasks, named as FiftyOne names them."""
    size = asked.task_size or len(samples)
    name = f"FiftyOne_{asked.dataset.replace(' ', '_')}"
    pieces = [samples[first : first + size] for first in range(0, len(samples), size)]
    for number, piece in enumerate(pieces, 1):
        suffix = f"_{number}" if len(pieces) > 1 else ""
        yield TaskPlan(name=name + suffix, samples=tuple(piece))


def _field(tables: Tables, dataset: str, asked: FieldRequest) -> FieldSchema:
    held = tables.get(LABEL_FIELDS, dataset, asked.name)
    kind = asked.type or (label_type_of(held.label_class) if held else None)
    if kind is None:
        raise UnknownField(
            "a new field needs a type, and one that exists must hold boxes or classifications",
            dataset=dataset,
            field=asked.name,
            holds=held.label_class if held else None,
            hint="nothing was written; give --type detections|classification|classifications",
        )
    if held and label_type_of(held.label_class) != kind:
        raise UnknownField(
            "the field holds labels of another type",
            field=asked.name,
            holds=held.label_class,
            asked=kind,
            hint="nothing was written",
        )
    inferred = _infer(tables, dataset, asked.name) if held else Inference()
    attributes = asked.attributes
    if isinstance(attributes, bool):
        attributes = inferred.attributes() if attributes else ()
    types = {spec.name: inferred.value_types.get(spec.name) for spec in attributes}
    return FieldSchema(
        name=asked.name,
        type=kind,
        existing=held is not None,
        classes=tuple(sorted(inferred.classes)) if asked.classes is None else asked.classes,
        attributes=attributes,
        value_types={
            spec.name: types[spec.name] or ("bool" if spec.input_type == "checkbox" else "str")
            for spec in attributes
        },
        allow_additions=asked.allow_additions,
        allow_deletions=asked.allow_deletions,
        allow_label_edits=asked.allow_label_edits,
        allow_index_edits=asked.allow_index_edits,
        allow_spatial_edits=asked.allow_spatial_edits,
    )


def _infer(tables: Tables, dataset: str, name: str) -> Inference:
    found = Inference()
    for sample in in_order(tables, dataset):
        for row in tables.scan(LABELS, dataset, sample.sample, 0, name):
            found.add(row.document)
    return found


# The labels of one job


@dataclass
class Batch:
    """What one job gets: annotations to send, in step with whose they are, and what is not sent."""

    uploaded: list[Uploaded] = field(default_factory=list)
    unsent: list[Unsent] = field(default_factory=list)


def labels_for(tables: Tables, server: str, job: int, labels: Sequence[LabelSpec]) -> Batch:
    """Collect what a job of a run is to get; `labels` as the server has them for the job."""
    run_job = tables.get(runs.RUN_JOBS, server, job)
    assert run_job is not None, f"job {job} belongs to no run"
    run = tables.get(runs.RUNS, run_job.dataset, run_job.key)
    assert run is not None
    batch = Batch()
    schema = Schema(tuple(labels))
    spans = range(run_job.start_frame, run_job.stop_frame + 1)
    for row in tables.scan(
        runs.RUN_FRAMES, run.dataset, run.key, run_job.index, start=(run_job.start_frame,)
    ):
        if row.frame not in spans:
            break
        frame = Frame(sample=row.sample, name="", width_px=row.width_px, height_px=row.height_px)
        for target in run.request.fields:
            if target.existing:
                _collect(tables, run, target, schema, row.frame, frame, batch)
    return batch


def _collect(
    tables: Tables,
    run: runs.RunRow,
    target: FieldSchema,
    schema: Schema,
    index: int,
    frame: Frame,
    batch: Batch,
) -> None:
    for label in tables.scan(LABELS, run.dataset, frame.sample, 0, target.name):
        place = Address(frame.sample, 0, target.name, label.label)._asdict()
        try:
            annotation = to_annotation(
                label.document, target, run.names[target.name], index=index, frame=frame
            )
        except Unsendable as exc:
            batch.unsent.append(Unsent(**place, reason=str(exc)))
            continue
        batch.uploaded.append(
            Uploaded(
                **place,
                annotation=as_stored(annotation, schema),
                digests=digests_of(label.document, watched_facets(target)),
            )
        )


Carried = dict[tuple[str, str], Annotation]


def by_label_id(annotations: Iterable[Annotation]) -> Carried:
    """Find annotations by class and the label id they carry; cloned fields share label ids."""
    return {
        (annotation.label, str(annotation.attributes[LABEL_ID])): annotation
        for annotation in annotations
        if annotation.attributes.get(LABEL_ID)
    }


def lacking(batch: Batch, found: Carried) -> list[Uploaded]:
    """Return the labels that the server does not show yet."""
    return [sent for sent in batch.uploaded if (sent.annotation.label, sent.label) not in found]


def labels_uploaded(job: int, batch: Batch, found: Carried) -> LabelsUploaded:
    """Say what became of a job's labels, under the ids that the server gave them."""
    labels = []
    unsent = list(batch.unsent)
    for sent in batch.uploaded:
        held = found.get((sent.annotation.label, sent.label))
        if held is None:
            place = Address(sent.sample, sent.frame, sent.field, sent.label)._asdict()
            unsent.append(Unsent(**place, reason="the server does not show it after the upload"))
        else:
            annotation = msgspec.structs.replace(sent.annotation, id=held.id)
            labels.append(msgspec.structs.replace(sent, annotation=annotation))
    return LabelsUploaded(job=job, labels=tuple(labels), unsent=tuple(unsent))


def own_reading(
    tables: Tables,
    server: str,
    job: int,
    reading: Reading,
    uploaded: LabelsUploaded,
    *,
    before: str,
) -> Reading:
    """Return the reading after our write as if nobody else had written: what is known, and ours.

    before  the job's date before we wrote. Where somebody else wrote too, that is the date: else
            their changes would seem to lie before it, and the next author would be named for them
    """
    row = tables.get(JOBS, server, job)
    known = {
        (held.kind, held.id): held.annotation for held in tables.scan(ANNOTATIONS, server, job)
    }
    sent = {(kind_of(one.annotation), one.annotation.id): one.annotation for one in uploaded.labels}
    # What was looked at meanwhile is further on than what we sent.
    ours = sent | known
    shown = {(kind_of(one), one.id): one for one in reading.annotations}
    date = reading.updated_date if shown == ours else before
    if row is not None and date_us(date) < date_us(row.observed_date):
        date = row.observed_date
    return msgspec.structs.replace(reading, updated_date=date, annotations=list(ours.values()))
