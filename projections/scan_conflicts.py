"""Decide what a manifest and an annotation run changed both: `pending` lists it, `resolve` asks."""

from __future__ import annotations

from typing import Literal

from events.dataset import (
    Document,
    LabelChange,
    SampleChange,
    SamplesRemoved,
    ScanConflict,
    ScanConflictResolved,
)
from events.errors import SyncError
from events.registry import Fact
from projections.datasets import SCAN_CONFLICTS, dataset_stream
from projections.decision import Decision, Draft
from projections.documents import ALONE, join
from projections.scan import Current
from projections.scan_batch import current, stream_versions
from projections.tables import Tables

Choice = Literal["manifest", "dataset"]


class NoSuchScanConflict(SyncError):
    """No scan conflict of this dataset waits under this id."""


class NothingToChange(SyncError):
    """The manifest changed what the dataset has deleted since."""


def resolve(tables: Tables, dataset: str, id: str, choice: Choice) -> Decision:
    """Decide a scan conflict, against the dataset as it is now.

    choice  "manifest" takes the manifest's value over, "dataset" keeps the dataset's

    Raises NoSuchScanConflict, NothingToChange.
    """
    row = tables.get(SCAN_CONFLICTS, dataset, id)
    if row is None:
        raise NoSuchScanConflict(
            "nothing waits under this id", dataset=dataset, id=id, hint="see `labeltrail pending`"
        )
    stream = dataset_stream(dataset)
    now = current(tables, dataset, row.conflict.sample)
    facts: list[Fact] = [ScanConflictResolved(id=id, choice=choice)]
    if choice == "manifest":
        facts = _taken(row.conflict, now)
    drafts = [Draft(stream, fact) for fact in facts]
    return Decision(drafts, stream_versions(tables, dataset))


def _taken(conflict: ScanConflict, now: Current | None) -> list[Fact]:
    """Return what brings the manifest's side of a conflict into the dataset."""
    if now is None:  # the sample is gone, and its conflicts with it
        return [ScanConflictResolved(id=conflict.id, choice="manifest")]
    if conflict.label is not None:
        changes = _label_changes(conflict.label, now)
        return [
            ScanConflictResolved(id=conflict.id, choice="manifest", label=one) for one in changes
        ]
    resolved = ScanConflictResolved(
        id=conflict.id, choice="manifest", members=_members(conflict.members, now)
    )
    return [resolved] if conflict.members else [resolved, SamplesRemoved(samples=(join(*now),))]


def _members(change: SampleChange | None, now: Current) -> SampleChange | None:
    if change is None:
        return None
    old = _only(now.members, change.old, change.new)
    return SampleChange(sample=change.sample, old=old, new=change.new)


def _label_changes(change: LabelChange, now: Current) -> list[LabelChange]:
    """Say a change against the labels as they are now; a field of one label is cleared first."""
    held = {(one.field, one.label): one.document for one in now.labels}
    document = held.get((change.field, change.label))
    if change.new is not None and change.old is None:
        holders = [one for one in now.labels if change.alone and one.field == change.field]
        return [
            *(_gone(change, one.label, one.document) for one in holders if one.order == ALONE),
            change,
        ]
    if document is None:
        if change.new is None:
            return [change]  # both want it gone, and it is
        raise NothingToChange(
            "the dataset deleted the label, so there is nothing left to change",
            label=change.label,
            hint="keep the dataset's side; nothing was written",
        )
    if change.new is None:
        return [_gone(change, change.label, document)]
    old = _only(document, change.old or {}, change.new)
    return [_like(change, change.label, old, change.new)]


def _gone(like: LabelChange, label: str, document: Document) -> LabelChange:
    return _like(like, label, document, None)


def _like(like: LabelChange, label: str, old: Document | None, new: Document | None) -> LabelChange:
    return LabelChange(sample=like.sample, field=like.field, label=label, old=old, new=new)


def _only(document: Document, *named: Document) -> Document:
    names = {name for one in named for name in one}
    return {name: document[name] for name in sorted(names) if document.get(name) is not None}
