"""What becomes of an annotation that stands for no label of the dataset yet."""

from __future__ import annotations

from events.run import FieldSchema, LabelEdit
from projections.codec.fiftyone import (
    UnexpectedValue,
    digests_of,
    new_document,
    watched_facets,
)
from projections.job_merge import JobMerge
from projections.label_fields import LABELS
from projections.matching import Candidate
from projections.outcome import Outcome
from projections.quarantine import quarantine, release, unfit
from projections.runs import Address, TrackedRow


def decide_new(
    merge: JobMerge, outcome: Outcome, candidate: Candidate, label: TrackedRow | None
) -> None:
    """Decide on a label that was drawn in CVAT; `label` where an earlier look gave it its id."""
    annotation = candidate.annotation
    target = merge.field_of(annotation.label)
    who = merge.authors(label, candidate, candidate.facets or ["class"])
    if target is None:
        reason = f"no field of the run has the class {annotation.label!r}"
        quarantine(merge, outcome, candidate, reason, who)
        return
    reason = unfit(candidate, target) or _full(merge, outcome, candidate.sample, target)
    if reason:
        quarantine(merge, outcome, candidate, reason, who)
        return
    frame = merge.frame(annotation)
    assert frame is not None, "candidates are on frames of the run"
    address = label.address if label else merge.new_address(candidate, target)
    names = merge.run.names[target.name]
    try:
        document = new_document(address.label, annotation, target, names, frame)
    except UnexpectedValue as exc:
        quarantine(merge, outcome, candidate, str(exc), who)
        return
    edit = LabelEdit(
        **address._asdict(),
        operation="added",
        facets=candidate.facets,
        new=document,
        digests=digests_of(document, watched_facets(target)),
    )
    if target.allow_additions:
        outcome.merge(who, edit)
    else:
        outcome.rejected["allow_additions", who].append(edit)
    release(merge, outcome, candidate)


def _full(merge: JobMerge, outcome: Outcome, sample: str, target: FieldSchema) -> str:
    """Say why a field has no room for one more label, "" where it has."""
    if target.type != "classification":
        return ""
    here = merge.tables.scan(LABELS, merge.run.dataset, sample, 0, target.name)
    kept = any(
        Address(row.sample, row.frame, row.field, row.label) not in outcome.removed for row in here
    )
    if not kept and (sample, target.name) not in outcome.added:
        return ""
    return f"field {target.name!r} holds one label a sample, and has one"
