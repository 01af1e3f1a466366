"""The facts that a batch of a scan's samples leads to, decided on one view of the state.

`versions` names every stream that the decision was based on: a merge by a run that comes in between
moves one of them, and the append is refused instead of overwriting it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice, takewhile

import msgspec

from events.dataset import (
    DatasetChanged,
    DatasetLabelsChanged,
    DatasetOpened,
    Document,
    LabelChange,
    SampleChange,
    SamplesAdded,
    SamplesChanged,
    SamplesRemoved,
    SamplesSeen,
    ScanConflict,
    ScanConflictRaised,
    ScanConflictResolved,
)
from events.registry import Fact
from projections.datasets import (
    DATASETS,
    SAMPLES,
    SCAN_CONFLICTS,
    SCANNED,
    SCANNED_DOCUMENTS,
    dataset_stream,
)
from projections.documents import digest, join
from projections.label_fields import labels_of
from projections.scan import (
    Current,
    changes_of_sample,
    metadata_change,
    removal_conflict,
    seen_by,
)
from projections.streams import STREAMS, Stream, versions
from projections.tables import Tables


class Batch(msgspec.Struct):
    """What is to be appended, in this order, if the streams still stand at these versions."""

    versions: dict[str, int]
    whole: list[Fact] = []  # about the dataset or the manifest as a whole
    added: list[Document] = []
    changed: list[SampleChange] = []
    removed: list[Document] = []
    labels: list[LabelChange] = []
    conflicts: list[ScanConflict] = []
    seen: list[Document] = []
    gone: list[str] = []

    def facts(self) -> list[Fact]:
        """Return the events, without empty ones."""
        facts = list(self.whole)
        if self.added:
            facts.append(SamplesAdded(samples=tuple(self.added)))
        if self.changed:
            facts.append(SamplesChanged(changes=tuple(self.changed)))
        if self.labels:
            facts.append(DatasetLabelsChanged(changes=tuple(self.labels)))
        if self.removed:
            facts.append(SamplesRemoved(samples=tuple(self.removed)))
        if self.conflicts:
            facts.append(ScanConflictRaised(conflicts=tuple(self.conflicts)))
        if self.seen or self.gone:
            facts.append(SamplesSeen(samples=tuple(self.seen), gone=tuple(self.gone)))
        return facts


class _State:
    """One dataset in the tables.

    bases  what samples are compared with; None: with the last scan
    """

    def __init__(self, tables: Tables, dataset: str, bases: Mapping[str, Document] | None) -> None:
        self._tables = tables
        self._dataset = dataset
        self._bases = bases

    def scanned(self, sample: str) -> Document | None:
        row = self._tables.get(SCANNED_DOCUMENTS, self._dataset, sample)
        return row.document if row else None

    def base(self, sample: str) -> Document | None:
        return self.scanned(sample) if self._bases is None else self._bases.get(sample)

    def current(self, sample: str) -> Current | None:
        return current(self._tables, self._dataset, sample)

    def is_open(self, conflict: ScanConflict) -> bool:
        return self._tables.get(SCAN_CONFLICTS, self._dataset, conflict.id) is not None

    def overtaken(self, conflicts: Iterable[ScanConflict]) -> list[Fact]:
        """Close what waits about the same labels: the manifest proposes something newer."""
        newer = {_about(one): one.id for one in conflicts}
        waiting = self._tables.scan(SCAN_CONFLICTS, self._dataset) if newer else ()
        return [
            ScanConflictResolved(id=row.id, choice="dataset")
            for row in waiting
            if newer.get(_about(row.conflict), row.id) != row.id
        ]

    def begin(self) -> Batch:
        return Batch(versions=stream_versions(self._tables, self._dataset))


def current(tables: Tables, dataset: str, sample: str) -> Current | None:
    """Return a sample as the dataset has it, None if it does not."""
    row = tables.get(SAMPLES, dataset, sample)
    return Current(row.document, labels_of(tables, dataset, sample)) if row else None


def streams_of(tables: Tables, dataset: str) -> list[Stream]:
    """Return the dataset's stream, if there is one, and those of all its runs."""
    prefix = f"run/{dataset}/"
    runs = takewhile(
        lambda row: row.stream.startswith(prefix), tables.scan(STREAMS, start=(prefix,))
    )
    own = tables.get(STREAMS, dataset_stream(dataset))
    return [*([own] if own else []), *runs]


def stream_versions(tables: Tables, dataset: str) -> dict[str, int]:
    """Return the versions of the dataset's stream and of the streams of all its runs."""
    none = {dataset_stream(dataset): 0}
    return none | {row.stream: row.version for row in streams_of(tables, dataset)}


def scanned_digests(
    tables: Tables, dataset: str, *, start: str, limit: int
) -> list[tuple[str, bytes]]:
    """Return a page of samples of the last scan with their digests, from a sample id on."""
    rows = islice(tables.scan(SCANNED, dataset, start=(start,)), limit)
    return [(row.sample, row.digest) for row in rows]


def current_digests(
    tables: Tables, dataset: str, *, start: str, limit: int
) -> list[tuple[str, bytes]]:
    """Return a page of the dataset's samples with the digests of what they are now."""
    rows = islice(tables.scan(SAMPLES, dataset, start=(start,)), limit)
    return [
        (row.sample, digest(join(row.document, labels_of(tables, dataset, row.sample))))
        for row in rows
    ]


def documents(tables: Tables, dataset: str, samples: Iterable[str]) -> dict[str, Document]:
    """Return whole samples as the dataset has them; one that it has not is left out."""
    found = {sample: current(tables, dataset, sample) for sample in samples}
    return {sample: join(*one) for sample, one in found.items() if one is not None}


def decide_opening(tables: Tables, dataset: str, *, format: str, metadata: Document) -> Batch:
    """Decide on the dataset as a whole: that it is there, or what its metadata.json changed."""
    batch = Batch(versions=versions(tables, [dataset_stream(dataset)]))
    known = tables.get(DATASETS, dataset)
    if known is None:
        batch.whole.append(DatasetOpened(format=format, metadata=metadata))
    elif (change := metadata_change(known.metadata, metadata)) is not None:
        batch.whole.append(DatasetChanged(old=change[0], new=change[1]))
    return batch


def decide_whole(tables: Tables, dataset: str, *, facts: Iterable[Fact]) -> Batch:
    """Let facts about a manifest follow whatever stands in the dataset's stream."""
    return Batch(versions=versions(tables, [dataset_stream(dataset)]), whole=list(facts))


def decide_samples(
    tables: Tables,
    dataset: str,
    samples: Iterable[tuple[str, Document]],
    *,
    bases: Mapping[str, Document] | None,
    scan: str,
) -> Batch:
    """Decide on samples that the manifest has, and that are new or not as they were.

    bases  whole samples that the manifest is compared with; None: with its last scan
    scan   the digest of the manifest
    """
    state = _State(tables, dataset, bases)
    batch = state.begin()
    for sample, new in samples:
        base, now, scanned = state.base(sample), state.current(sample), state.scanned(sample)
        if now is not None:
            changes = changes_of_sample(sample, base=base, new=new, current=now, scan=scan)
            batch.changed += [changes.members] if changes.members else []
            batch.labels += changes.labels
            batch.conflicts += (one for one in changes.conflicts if not state.is_open(one))
            scanned = seen_by(scanned, changes)
        elif base is None or digest(base) != digest(new):
            batch.added.append(new)
            continue
        if scanned is None or digest(scanned) != digest(new):
            batch.seen.append(new)
    batch.whole += state.overtaken(batch.conflicts)
    return batch


def decide_removals(
    tables: Tables,
    dataset: str,
    samples: Iterable[str],
    *,
    bases: Mapping[str, Document] | None,
    scan: str,
) -> Batch:
    """Decide on samples that are not in the manifest any more."""
    state = _State(tables, dataset, bases)
    batch = state.begin()
    for sample in samples:
        base, now = state.base(sample), state.current(sample)
        if base is not None and now is not None:
            conflict = removal_conflict(sample, base=base, current=now, scan=scan)
            if conflict is None:
                batch.removed.append(join(*now))
                continue
            batch.conflicts += [] if state.is_open(conflict) else [conflict]
        if state.scanned(sample) is not None:
            batch.gone.append(sample)
    return batch


def _about(conflict: ScanConflict) -> tuple[str, ...]:
    label = conflict.label
    return (conflict.sample, label.field, label.label) if label else (conflict.sample,)
