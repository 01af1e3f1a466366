"""What follows from the log about datasets: samples, fields, and what their last scan showed.

Samples are kept twice: as the dataset has them now (`SAMPLES`, with labels in
`label_fields.LABELS`), and as the manifest showed them when it was last read (`SCANNED`). A scan
is compared with the second, so that a manifest that never saw our merges does not undo them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import msgspec

from events import job, log, run, server
from events.dataset import (
    DatasetChanged,
    DatasetLabelsChanged,
    DatasetOpened,
    Document,
    ManifestAcknowledged,
    ManifestRejected,
    ManifestScanned,
    RefusedMedia,
    SampleChange,
    SamplesAdded,
    SamplesChanged,
    SamplesRemoved,
    SamplesSeen,
    ScanConflict,
    ScanConflictRaised,
    ScanConflictResolved,
)
from events.envelope import Recorded
from projections.documents import digest, digest_of, object_id, split, with_labels, with_members
from projections.fold import Fold
from projections.tables import Table, Tables


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset and its metadata.json, without dates and run records."""

    dataset: str
    format: str
    media_type: str
    metadata: Document


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """Where the reading of a dataset's manifest stands.

    samples       how many the dataset has
    order_next    the place in the dataset's order that the next new sample gets
    digest        of the manifest last taken; "" if none was
    position      the place in our log that this manifest said it had seen
    refused       how many of its samples have media that are not opened
    rejected      why the manifest seen after it was not taken; "" if there was none
    acknowledged  digest of a manifest whose removals a person accepted
    unfinished    events of a scan came after the last ManifestScanned: it died half-way
    """

    dataset: str
    samples: int = 0
    order_next: int = 0
    manifest: str = ""
    digest: str = ""
    position: int | None = None
    refused: int = 0
    rejected: str = ""
    rejected_digest: str = ""
    acknowledged: str = ""
    unfinished: bool = False


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A sample's members as the dataset has them now; labels stand in `label_fields.LABELS`."""

    dataset: str
    sample: str
    order: int
    document: Document


class SampleInOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The dataset's order: that of the manifest, new samples at the end."""

    dataset: str
    order: int
    sample: str


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """The digest of a sample as the last scan showed it (`documents.digest`)."""

    dataset: str
    sample: str
    digest: bytes


class ScannedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A whole sample as the last scan showed it."""

    dataset: str
    sample: str
    document: Document


class OpenScanConflict(msgspec.Struct, frozen=True, kw_only=True):
    """A change by the manifest that waits for a decision, and where it was raised."""

    dataset: str
    id: str
    conflict: ScanConflict
    position: int


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A sample whose file the last scan did not accept (the first ones only)."""

    dataset: str
    sample: str
    filepath: str
    reason: str


DATASETS = Table("datasets", ("dataset",), Dataset)
SCANS = Table("scans", ("dataset",), Scan)
SAMPLES = Table("samples", ("dataset", "sample"), Sample)
SAMPLES_IN_ORDER = Table("samples_in_order", ("dataset", "order"), SampleInOrder)
SCANNED = Table("scanned", ("dataset", "sample"), Scanned)
SCANNED_DOCUMENTS = Table("scanned_documents", ("dataset", "sample"), ScannedDocument)
SCAN_CONFLICTS = Table("scan_conflicts", ("dataset", "id"), OpenScanConflict)
REFUSED_MEDIA = Table("refused_media", ("dataset", "sample"), Refused)


def dataset_stream(dataset: str) -> str:
    """Return the stream of a dataset."""
    return f"dataset/{dataset}"


def dataset_of(stream: str) -> str:
    """Return the dataset of a `dataset/<name>` or `run/<dataset>/<key>` stream."""
    family, _, rest = stream.partition("/")
    return rest.rpartition("/")[0] if family == "run" else rest


def in_order(tables: Tables, dataset: str) -> Iterator[Sample]:
    """Yield the samples of a dataset in its order."""
    for row in tables.scan(SAMPLES_IN_ORDER, dataset):
        sample = tables.get(SAMPLES, dataset, row.sample)
        assert sample is not None, "an order without its sample"
        yield sample


def _opened(tables: Tables, at: Recorded, fact: DatasetOpened) -> None:
    tables.put(
        DATASETS,
        Dataset(
            dataset=dataset_of(at.stream),
            format=fact.format,
            media_type=fact.media_type,
            metadata=fact.metadata,
        ),
    )


def _changed(tables: Tables, at: Recorded, fact: DatasetChanged) -> None:
    row = tables.get(DATASETS, dataset_of(at.stream))
    if row is not None:
        metadata = with_members(row.metadata, fact.old, fact.new)
        tables.put(DATASETS, msgspec.structs.replace(row, metadata=metadata))


def _added(tables: Tables, at: Recorded, fact: SamplesAdded) -> None:
    dataset = dataset_of(at.stream)
    scan = _scan(tables, dataset)
    order_next, samples = scan.order_next, scan.samples
    for document in fact.samples:
        sample = _id_of(document)
        known = tables.get(SAMPLES, dataset, sample)
        order = known.order if known else order_next
        order_next, samples = (order_next, samples) if known else (order_next + 1, samples + 1)
        members, labels = split(document)
        tables.put(SAMPLES, Sample(dataset=dataset, sample=sample, order=order, document=members))
        tables.put(SAMPLES_IN_ORDER, SampleInOrder(dataset=dataset, order=order, sample=sample))
        _put_scanned(tables, dataset, sample, document, digest_of(members, labels))
    tables.put(
        SCANS,
        msgspec.structs.replace(scan, order_next=order_next, samples=samples, unfinished=True),
    )


def _samples_changed(tables: Tables, at: Recorded, fact: SamplesChanged) -> None:
    dataset = dataset_of(at.stream)
    _begun(tables, dataset)
    for change in fact.changes:
        _change_sample(tables, dataset, change)
        scanned = tables.get(SCANNED_DOCUMENTS, dataset, change.sample)
        if scanned is not None:
            document = with_members(scanned.document, change.old, change.new)
            _put_scanned(tables, dataset, change.sample, document)


def _removed(tables: Tables, at: Recorded, fact: SamplesRemoved) -> None:
    dataset = dataset_of(at.stream)
    scan = _scan(tables, dataset)
    samples = scan.samples
    for document in fact.samples:
        sample = _id_of(document)
        row = tables.get(SAMPLES, dataset, sample)
        if row is not None:
            tables.delete(SAMPLES, dataset, sample)
            tables.delete(SAMPLES_IN_ORDER, dataset, row.order)
            samples -= 1
        _delete_scanned(tables, dataset, sample)
    tables.put(SCANS, msgspec.structs.replace(scan, samples=samples, unfinished=True))


def _labels_changed(tables: Tables, at: Recorded, fact: DatasetLabelsChanged) -> None:
    dataset = dataset_of(at.stream)
    _begun(tables, dataset)
    for sample, changes in groupby(fact.changes, key=lambda change: change.sample):
        row = tables.get(SCANNED_DOCUMENTS, dataset, sample)
        if row is not None:
            _put_scanned(tables, dataset, sample, with_labels(row.document, changes))


def _seen(tables: Tables, at: Recorded, fact: SamplesSeen) -> None:
    dataset = dataset_of(at.stream)
    _begun(tables, dataset)
    for document in fact.samples:
        _put_scanned(tables, dataset, _id_of(document), document)
    for sample in fact.gone:
        _delete_scanned(tables, dataset, sample)


def _conflict(tables: Tables, at: Recorded, fact: ScanConflictRaised) -> None:
    dataset = dataset_of(at.stream)
    _begun(tables, dataset)
    for conflict in fact.conflicts:
        row = OpenScanConflict(
            dataset=dataset, id=conflict.id, conflict=conflict, position=at.position
        )
        tables.put(SCAN_CONFLICTS, row)


def _resolved(tables: Tables, at: Recorded, fact: ScanConflictResolved) -> None:
    dataset = dataset_of(at.stream)
    tables.delete(SCAN_CONFLICTS, dataset, fact.id)
    if fact.members is not None:
        _change_sample(tables, dataset, fact.members)


def _scanned(tables: Tables, at: Recorded, fact: ManifestScanned) -> None:
    dataset = dataset_of(at.stream)
    scan = msgspec.structs.replace(
        _scan(tables, dataset),
        manifest=fact.manifest,
        digest=fact.digest,
        position=fact.position,
        refused=fact.refused,
        rejected="",
        rejected_digest="",
        acknowledged="",
        unfinished=False,
    )
    tables.put(SCANS, scan)
    for old in tables.scan(REFUSED_MEDIA, dataset):
        tables.delete(REFUSED_MEDIA, dataset, old.sample)
    for new in fact.refused_media:
        tables.put(REFUSED_MEDIA, _refused(dataset, new))


def _rejected(tables: Tables, at: Recorded, fact: ManifestRejected) -> None:
    scan = _scan(tables, dataset_of(at.stream))
    scan = msgspec.structs.replace(scan, rejected=fact.reason, rejected_digest=fact.digest)
    tables.put(SCANS, scan)


def _acknowledged(tables: Tables, at: Recorded, fact: ManifestAcknowledged) -> None:
    scan = _scan(tables, dataset_of(at.stream))
    tables.put(SCANS, msgspec.structs.replace(scan, acknowledged=fact.digest))


def _scan(tables: Tables, dataset: str) -> Scan:
    return tables.get(SCANS, dataset) or Scan(dataset=dataset)


def _begun(tables: Tables, dataset: str) -> None:
    scan = _scan(tables, dataset)
    if not scan.unfinished:
        tables.put(SCANS, msgspec.structs.replace(scan, unfinished=True))


def _id_of(document: Document) -> str:
    sample = object_id(document)
    assert sample is not None, "a recorded sample without an id"
    return sample


def _change_sample(tables: Tables, dataset: str, change: SampleChange) -> None:
    row = tables.get(SAMPLES, dataset, change.sample)
    if row is not None:
        document = with_members(row.document, change.old, change.new)
        tables.put(SAMPLES, msgspec.structs.replace(row, document=document))


def _put_scanned(
    tables: Tables, dataset: str, sample: str, document: Document, told: bytes | None = None
) -> None:
    told = told or digest(document)
    tables.put(SCANNED, Scanned(dataset=dataset, sample=sample, digest=told))
    row = ScannedDocument(dataset=dataset, sample=sample, document=document)
    tables.put(SCANNED_DOCUMENTS, row)


def _delete_scanned(tables: Tables, dataset: str, sample: str) -> None:
    tables.delete(SCANNED, dataset, sample)
    tables.delete(SCANNED_DOCUMENTS, dataset, sample)


def _refused(dataset: str, media: RefusedMedia) -> Refused:
    return Refused(
        dataset=dataset, sample=media.sample, filepath=media.filepath, reason=media.reason
    )


DATASETS_FOLD = Fold(
    name="datasets",
    revision=1,
    tables=(
        DATASETS,
        SCANS,
        SAMPLES,
        SAMPLES_IN_ORDER,
        SCANNED,
        SCANNED_DOCUMENTS,
        SCAN_CONFLICTS,
        REFUSED_MEDIA,
    ),
    handlers={
        DatasetOpened: _opened,
        DatasetChanged: _changed,
        SamplesAdded: _added,
        SamplesChanged: _samples_changed,
        SamplesRemoved: _removed,
        DatasetLabelsChanged: _labels_changed,
        SamplesSeen: _seen,
        ScanConflictRaised: _conflict,
        ScanConflictResolved: _resolved,
        ManifestScanned: _scanned,
        ManifestRejected: _rejected,
        ManifestAcknowledged: _acknowledged,
    },
    ignores=frozenset({*job.FACTS, *server.FACTS, *run.FACTS, *log.FACTS}),
)
