"""Annotations that fit no field of the run: they wait, and leave when they fit or are gone."""

from __future__ import annotations

from events.annotations import Shape, Tag, kind_of
from events.run import FieldSchema, LabelQuarantined, QuarantineResolved
from projections import jobs
from projections.attribution import UNKNOWN, Author
from projections.job_merge import JobMerge
from projections.matching import Candidate
from projections.outcome import Outcome


def unfit(candidate: Candidate, target: FieldSchema) -> str:
    """Say why an annotation does not fit the field of its class, "" where it does."""
    annotation = candidate.annotation
    is_box, is_tag = candidate.is_rectangle, isinstance(annotation, Tag)
    if is_box if target.type == "detections" else is_tag:
        return ""
    what = annotation.type if isinstance(annotation, Shape) else candidate.row.kind
    return f"field {target.name!r} of type {target.type} holds no {what}"


def quarantine(
    merge: JobMerge, outcome: Outcome, candidate: Candidate, reason: str, who: Author
) -> None:
    """Let an annotation wait for somebody to mend it, unless it waits already."""
    id = _quarantine_id(merge, candidate)
    if id not in merge.quarantine:
        fact = LabelQuarantined(
            job=merge.job.job, id=id, annotation=candidate.annotation, reason=reason
        )
        outcome.facts.append((fact, who))


def _quarantine_id(merge: JobMerge, candidate: Candidate) -> str:
    return "q" + merge.token("quarantine", *candidate.key)[:8]


def release(merge: JobMerge, outcome: Outcome, candidate: Candidate) -> None:
    """An annotation that was mended in CVAT waits for nobody any more."""
    waiting = merge.quarantine.get(_quarantine_id(merge, candidate))
    if waiting is not None and not waiting.settled:
        outcome.facts.append((QuarantineResolved(id=waiting.id), UNKNOWN))


def release_vanished(merge: JobMerge, outcome: Outcome) -> None:
    """Let go of quarantined annotations that were deleted in CVAT."""
    for waiting in merge.quarantine.values():
        annotation = waiting.annotation
        assert annotation is not None
        row = merge.tables.get(
            jobs.ANNOTATIONS, merge.job.server, merge.job.job, kind_of(annotation), annotation.id
        )
        if row is None and not waiting.settled:
            outcome.facts.append((QuarantineResolved(id=waiting.id), UNKNOWN))
