"""What becomes of a known label that CVAT changed, deleted or brought back.

Each of its facets is taken, agreed, refused or in conflict by itself; what comes or goes as a whole
is decided as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from events.dataset import Document
from events.run import Conflict, FieldSchema, Frame, LabelEdit
from projections.attribution import Author
from projections.codec.fiftyone import UnexpectedValue, digests_of, members_of, to_members
from projections.facets import ATTRIBUTE, Facets
from projections.job_merge import JobMerge
from projections.matching import Candidate, same_facet
from projections.outcome import Outcome
from projections.quarantine import quarantine, release
from projections.runs import TrackedRow


def was_taken(label: TrackedRow, candidate: Candidate) -> bool:
    """Tell whether the dataset ever took the label, or it waits for that as it is now."""
    waits = "exists" in label.seen and not _differing(candidate.facets, label.seen)
    return "exists" in label.agreed or waits


def _differing(now: Facets, before: Facets) -> Facets:
    return {
        name: now.get(name)
        for name in sorted(now.keys() | before.keys())
        if not same_facet(name, now.get(name), before.get(name))
    }


def decide_edits(
    merge: JobMerge, outcome: Outcome, label: TrackedRow, candidate: Candidate
) -> None:
    """Decide on all that differs from what was seen of a label last."""
    target = merge.run.field(label.field)
    if merge.field_of(candidate.annotation.label) is not target:
        who = merge.authors(label, candidate, ["class"])
        quarantine(merge, outcome, candidate, f"its class is none of field {target.name!r}", who)
        return
    release(merge, outcome, candidate)
    changed = _differing(candidate.facets, label.seen)
    if changed and not label.agreed.get("exists"):
        # What was refused before it went is as agreed again, and that is to be noted, too.
        changed |= _differing(candidate.facets, label.agreed)
    by_author: defaultdict[Author, Facets] = defaultdict(dict)
    if "exists" in changed:
        # What comes back comes back in one piece, whoever had a hand in it.
        by_author[merge.authors(label, candidate, changed)] = changed
    else:
        for name, value in changed.items():
            by_author[merge.authors(label, candidate, [name])][name] = value
    for who, facets in by_author.items():
        decide_facets(merge, outcome, label, facets, who, merge.frame(candidate.annotation))


def decide_facets(
    merge: JobMerge,
    outcome: Outcome,
    label: TrackedRow,
    facets: Facets,
    who: Author,
    frame: Frame | None,
) -> None:
    """Decide on facets of one label that one author changed: taken, agreed, refused, or clash.

    frame  where the label's annotation is, None where it is gone
    """
    document = merge.document(label.address)
    withdrawn = {
        name: value
        for name, value in facets.items()
        if name in label.agreed and same_facet(name, value, label.agreed[name])
    }
    comes_back = bool(facets.get("exists")) and "exists" not in withdrawn
    if withdrawn and not comes_back:
        outcome.merge(who, _edit(label, "changed", withdrawn))
    open_facets = {name: value for name, value in facets.items() if name not in withdrawn}
    for name, reason in _unheld(merge, label, open_facets, frame).items():
        edit = _edit(label, "changed", {name: open_facets.pop(name)})
        outcome.rejected[reason, who].append(edit)
    for restriction, some in _by_restriction(merge, label, open_facets).items():
        edit = _edit_of(merge, label, some, document, frame)
        if comes_back and "exists" in some:
            edit = msgspec.structs.replace(edit, facets=edit.facets | withdrawn)
        if restriction:
            outcome.rejected[restriction, who].append(edit)
            continue
        clashing = _clashing(label, edit, document)
        free = {name: value for name, value in some.items() if name not in clashing}
        if clashing and free:
            # What nobody else changed does not wait for what two did.
            outcome.merge(who, _edit_of(merge, label, free, document, frame))
            clash = {name: value for name, value in some.items() if name in clashing}
            edit = _edit_of(merge, label, clash, document, frame)
        if clashing:
            outcome.conflicts[who].append(_conflict(merge, label, edit, document))
        else:
            outcome.merge(who, edit)


def _conflict(
    merge: JobMerge, label: TrackedRow, edit: LabelEdit, document: Document | None
) -> Conflict:
    token = merge.token("conflict", label.address, edit.facets)
    return Conflict(id="c" + token[:8], edit=edit, dataset=document)


def _unheld(
    merge: JobMerge, label: TrackedRow, facets: Facets, frame: Frame | None
) -> dict[str, str]:
    """Return the facets whose values the field cannot hold, each with the reason."""
    found: dict[str, str] = {}
    if frame is None:
        return found
    for name, value in facets.items():
        try:
            _members(merge, label, {name: value}, {}, frame)
        except UnexpectedValue as exc:
            found[name] = str(exc)
    return found


def _members(
    merge: JobMerge, label: TrackedRow, facets: Facets, document: Document, frame: Frame
) -> Document:
    target = merge.run.field(label.field)
    names = merge.run.names[label.field]
    return to_members(facets, target, names, frame=frame, document=document)


def _by_restriction(merge: JobMerge, label: TrackedRow, facets: Facets) -> dict[str, Facets]:
    """Group facets by the restriction that forbids them, "" for none."""
    target = merge.run.field(label.field)
    groups: defaultdict[str, Facets] = defaultdict(dict)
    for name, value in facets.items():
        groups[_restriction(merge, target, name, value)][name] = value
    return groups


def _restriction(merge: JobMerge, target: FieldSchema, facet: str, value: object) -> str:
    refused_merge = (
        merge.run_job.released == merge.job.observed_date and merge.run_job.choice == "dataset"
    )
    deletion = facet == "exists" and value is False
    if refused_merge and (deletion or facet == "class"):
        return "tripwire"
    if facet == "exists":
        return "" if value or target.allow_deletions else "allow_deletions"
    if facet == "class":
        return "" if target.allow_label_edits else "allow_label_edits"
    if facet in ("geometry", "rotation"):
        return "" if target.allow_spatial_edits else "allow_spatial_edits"
    return "read_only" if facet.removeprefix(ATTRIBUTE) in target.read_only else ""


def _edit_of(
    merge: JobMerge,
    label: TrackedRow,
    facets: Facets,
    document: Document | None,
    frame: Frame | None,
) -> LabelEdit:
    """Say an edit in FiftyOne's terms."""
    if frame is None:
        return _edit(label, "removed", facets, old=document)
    base = document if document is not None else label.removed or {}
    members = _members(merge, label, facets, base, frame)
    changed = {name: value for name, value in members.items() if base.get(name) != value}
    after = {name: value for name, value in (base | changed).items() if value is not None}
    if document is None and facets.get("exists"):
        return _edit(label, "added", facets, new=after)
    return _edit(
        label,
        "changed",
        facets,
        old={name: base[name] for name in changed if base.get(name) is not None},
        new={name: value for name, value in changed.items() if value is not None},
        digests=digests_of(after, facets),
    )


def _edit(
    label: TrackedRow,
    operation: Any,
    facets: Facets,
    *,
    old: Document | None = None,
    new: Document | None = None,
    digests: dict[str, str] | None = None,
) -> LabelEdit:
    if operation == "added" and new is not None:
        digests = digests_of(new, label.digests)
    return LabelEdit(
        **label.address._asdict(),
        operation=operation,
        facets=facets,
        old=old,
        new=new,
        digests=digests or {},
    )


def _clashing(label: TrackedRow, edit: LabelEdit, document: Document | None) -> set[str]:
    """Name the facets that the dataset changed to something else meanwhile.

    What comes or goes as a whole clashes as a whole.
    """
    if document is None:
        # Deleted there: an edit here clashes, a deletion here agrees, and what was merged away
        # may come back.
        return set(edit.facets) if edit.operation == "changed" else set()
    watched = label.digests if edit.operation == "removed" else edit.facets
    now = digests_of(document, watched)
    moved = {name for name in now if now[name] != label.digests.get(name)}
    if edit.operation == "changed":
        old, new = edit.old or {}, edit.new or {}
        moved = {name for name in moved if any(old.get(m) != new.get(m) for m in members_of(name))}
    return set(edit.facets) if moved and "exists" in edit.facets else moved
