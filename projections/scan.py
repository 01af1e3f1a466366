"""What a scan changes: the difference of two readings of one manifest, beside what we have now.

Only the difference enters, as the dataset's side of the merge. Where the dataset has moved on
meanwhile in the same member (an annotation run's edits were merged, and the manifest has not seen
them), nothing is overwritten: a conflict waits for a decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from events.canonical import canonical
from events.dataset import Document, LabelChange, SampleChange, ScanConflict
from projections.documents import (
    ALONE,
    NO_CONTENT,
    Label,
    digest,
    join,
    split,
    with_labels,
    with_members,
)

# Members that only mean something together: half of a geometry is nobody's.
GEOMETRY: Final = frozenset({"bounding_box", "mask", "mask_path", "points", "closed", "filled"})


class Current(NamedTuple):
    """A sample as the dataset has it now."""

    members: Document
    labels: list[Label]


class Changes(NamedTuple):
    """What one sample's reading leads to.

    members    members of the sample that are taken over
    labels     labels, or members of labels, that are taken over
    conflicts  what both sides changed; the dataset's values stay
    """

    members: SampleChange | None
    labels: list[LabelChange]
    conflicts: list[ScanConflict]


def changed_members(old: Document, new: Document) -> list[str]:
    """Name the members whose values differ, in the order of their names; dates are no content."""
    names = (old.keys() | new.keys()) - NO_CONTENT
    return sorted(name for name in names if not _same(old.get(name), new.get(name)))


def changes_of_sample(
    sample: str, *, base: Document | None, new: Document, current: Current, scan: str
) -> Changes:
    """Decide what a sample that both the manifest and the dataset have takes over.

    base  the sample that `new` is compared with; None: the manifest did not have it
    scan  the digest of the manifest; it tells the conflicts of one scan from another's
    """
    base_members, base_labels = split(base or {})
    new_members, new_labels = split(new)
    taken, disputed = _three_way(base_members, new_members, current.members)
    conflicts = []
    if disputed:
        members = _sample_change(sample, current.members, new_members, disputed)
        conflicts.append(_conflict(scan, sample, members=members, dataset=current.members))
    labels = []
    for sides in _by_address(base_labels, new_labels, current.labels):
        change, disputed_change = _label_changes(sample, sides)
        labels += [change] if change else []
        if disputed_change:
            conflict = _conflict(scan, sample, label=disputed_change, dataset=sides.current)
            conflicts.append(conflict)
    labels, crowded = _without_crowds(labels, current.labels)
    conflicts += (
        _conflict(scan, sample, label=change, dataset=holder) for change, holder in crowded
    )
    members_taken = _sample_change(sample, current.members, new_members, taken)
    return Changes(members_taken if taken else None, labels, conflicts)


def removal_conflict(
    sample: str, *, base: Document, current: Current, scan: str
) -> ScanConflict | None:
    """Say why a sample that left the manifest cannot just go: its labels were edited meanwhile."""
    whole = join(*current)
    return None if digest(whole) == digest(base) else _conflict(scan, sample, dataset=whole)


def seen_by(scanned: Document | None, changes: Changes) -> Document | None:
    """Return the base of the next scan as it follows from the changes alone."""
    if scanned is None:
        return None
    if changes.members is not None:
        scanned = with_members(scanned, changes.members.old, changes.members.new)
    return with_labels(scanned, changes.labels)


def metadata_change(old: Document, new: Document) -> tuple[Document, Document] | None:
    """Return the members of metadata.json that changed; the order of fields is no change."""
    names = changed_members(_by_name(old), _by_name(new))
    return (_only(old, names), _only(new, names)) if names else None


def _by_name(metadata: Document) -> Document:
    # FiftyOne lists `sample_fields` in another order in every process.
    fields = metadata.get("sample_fields")
    if not isinstance(fields, list):
        return metadata
    return {**metadata, "sample_fields": sorted(fields, key=canonical)}


class _Sides(NamedTuple):
    """One label as three sides have it; None: that side has no such label."""

    field: str
    label: str
    alone: bool
    base: Document | None
    new: Document | None
    current: Document | None


def _by_address(base: list[Label], new: list[Label], current: list[Label]) -> Iterator[_Sides]:
    """Yield every label that one of the manifest's sides has, in the order of their lists."""
    bases, news, currents = (
        {(one.field, one.label): one for one in side} for side in (base, new, current)
    )
    for key, label in {**bases, **news}.items():
        was, becomes, now = bases.get(key), news.get(key), currents.get(key)
        yield _Sides(
            *key,
            alone=label.order == ALONE,
            base=was and was.document,
            new=becomes and becomes.document,
            current=now and now.document,
        )


def _label_changes(sample: str, sides: _Sides) -> tuple[LabelChange | None, LabelChange | None]:
    """Return what is taken over of one label, and what is disputed."""
    base, new, current = sides.base, sides.new, sides.current

    def change(old: Document | None, new: Document | None) -> LabelChange:
        return LabelChange(
            sample=sample,
            field=sides.field,
            label=sides.label,
            old=old,
            new=new,
            alone=sides.alone and old is None,
        )

    if new is None:
        gone = change(current, None) if current is not None else None
        untouched = not changed_members(base or {}, current or {})
        return (gone, None) if untouched else (None, gone)
    if current is None:
        if base is None:
            return change(None, new), None
        return None, change(None, new) if changed_members(base, new) else None
    taken, disputed = (
        change(_only(current, names), _only(new, names)) if names else None
        for names in _three_way(base or {}, new, current)
    )
    return taken, disputed


def _three_way(base: Document, new: Document, current: Document) -> tuple[list[str], list[str]]:
    """Name the members that `current` takes over from `new`, and those that both sides changed."""
    ours = {_facet(name) for name in changed_members(base, current)}
    both = set(changed_members(base, new)) & set(changed_members(current, new))
    disputed = sorted(name for name in both if _facet(name) in ours)
    return sorted(both.difference(disputed)), disputed


def _facet(member: str) -> str:
    return "geometry" if member in GEOMETRY else member


def _without_crowds(
    changes: list[LabelChange], current: list[Label]
) -> tuple[list[LabelChange], list[tuple[LabelChange, Document]]]:
    """Set aside labels that appear in a field whose one place another label keeps."""
    leaving = {(change.field, change.label) for change in changes if change.new is None}
    holders = {
        label.field: label.document
        for label in current
        if label.order == ALONE and (label.field, label.label) not in leaving
    }
    crowded = [change for change in changes if change.alone and change.field in holders]
    taken = [change for change in changes if change not in crowded]
    return taken, [(change, holders[change.field]) for change in crowded]


def _sample_change(sample: str, old: Document, new: Document, names: list[str]) -> SampleChange:
    return SampleChange(sample=sample, old=_only(old, names), new=_only(new, names))


def _only(document: Document, names: list[str]) -> Document:
    return {name: document[name] for name in names if document.get(name) is not None}


def _conflict(
    scan: str,
    sample: str,
    *,
    label: LabelChange | None = None,
    members: SampleChange | None = None,
    dataset: Document | None,
) -> ScanConflict:
    about = f"{scan}/{sample}/{label.field}/{label.label}" if label else f"{scan}/{sample}"
    return ScanConflict(
        id=hashlib.sha256(about.encode()).hexdigest()[:12],
        sample=sample,
        label=label,
        members=members,
        dataset=dataset,
    )


def _same(one: object, other: object) -> bool:
    # Not `==`: to Python, 1, 1.0 and True are the same.
    return one is other or canonical(one) == canonical(other)
