"""The three-way merge: what CVAT changed, what the dataset changed, and what was agreed.

Per label and facet two values are kept in CVAT's terms: `agreed`, the base both sides hold, and
`seen`, what was observed last. An observed value that equals `seen` raises nothing. What the
dataset did meanwhile is told by digests of its members, taken when they were agreed on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from events.annotations import Shape, Tag, kind_of
from events.dataset import Document
from events.registry import Fact
from events.run import (
    Conflict,
    ConflictRaised,
    EditRejected,
    FieldSchema,
    Frame,
    LabelEdit,
    LabelQuarantined,
    LabelsLinked,
    LabelsMerged,
    Link,
    MergeHeld,
    Part,
    QuarantineResolved,
)
from projections import jobs, runs
from projections.attribution import UNKNOWN, Author, joined
from projections.codec.fiftyone import (
    UnexpectedValue,
    digests_of,
    members_of,
    new_document,
    to_members,
    watched_facets,
)
from projections.decision import Decision, Draft
from projections.facets import ATTRIBUTE, Facets
from projections.job_merge import JobMerge
from projections.label_fields import LABELS
from projections.matching import Candidate, same_facet
from projections.runs import Address, TrackedRow
from projections.streams import versions
from projections.tables import Tables

Item = TypeVar("Item")

# Labels in one event. A larger merge is several events of one atomic append.
EVENT_LABELS_MAX = 1_000


def is_settled(job: jobs.JobRow) -> bool:
    """Tell whether nothing was observed in the job since it settled last."""
    return job.settled >= job.observed > 0


def merges_by_itself(tables: Tables, server: str, job: int) -> bool:
    """Tell whether the job's run takes it over without being asked, as it is now."""
    run_job = tables.get(runs.RUN_JOBS, server, job)
    run = run_job and tables.get(runs.RUNS, run_job.dataset, run_job.key)
    row = tables.get(jobs.JOBS, server, job)
    if not run or not row or run.deleted:
        return False
    completed = run.request.policy == "on-job-completed" and row.state == "completed"
    return run.request.policy == "on-save" or completed


def decide(tables: Tables, server: str, job: int) -> Decision:
    """Decide what the settled state of a job means for the dataset; no drafts where nothing.

    What cannot be taken over is recorded as rejected, conflicting, quarantined or held.
    """
    merge = _merge_of(tables, server, job)
    if merge is None or not is_settled(merge.job):
        return Decision()
    outcome = _Outcome(job, links=list(_links(merge)))
    if (held := _tripwire(merge)) is not None:
        outcome.facts.append((held, UNKNOWN))
    elif merge.run_job.held != merge.job.observed_date:
        _decide_all(merge, outcome)
    return _decision(merge, outcome)


def identify(tables: Tables, server: str, job: int) -> Decision:
    """Decide which annotations of a job stand for which labels, as soon as it was observed.

    What becomes of them is another decision, which may come days later, when the ids have changed
    again and nothing would lead back.
    """
    merge = _merge_of(tables, server, job)
    if merge is None:
        return Decision()
    return _decision(merge, _Outcome(job, links=list(_links(merge))))


def _merge_of(tables: Tables, server: str, job: int) -> JobMerge | None:
    """Read what is decided from, None where there is nothing to decide."""
    run_job = tables.get(runs.RUN_JOBS, server, job)
    job_row = tables.get(jobs.JOBS, server, job)
    if run_job is None or job_row is None or not run_job.uploaded or job_row.condition:
        return None
    run = tables.get(runs.RUNS, run_job.dataset, run_job.key)
    assert run is not None, f"job {job} belongs to no run"
    if run.deleted or run.cleaned_up:
        return None
    return JobMerge(tables, run, run_job, job_row)


def _decision(merge: JobMerge, outcome: _Outcome) -> Decision:
    run = merge.run
    job = f"job/{merge.job.server}/{merge.job.job}"
    drafts = [Draft(run.stream, fact, who.actor, who.evidence) for fact, who in outcome.all()]
    return Decision(drafts, versions(merge.tables, [run.stream, f"dataset/{run.dataset}", job]))


def _tripwire(merge: JobMerge) -> MergeHeld | None:
    """Stop a settled save that deletes or relabels more than the run allows unasked."""
    date = merge.job.observed_date
    deleted = len(list(merge.missing()))
    relabelled = sum(
        label.seen.get("class") not in (None, candidate.facets.get("class"))
        for label, candidate, *_ in merge.matching.found.values()
    )
    wire = merge.run.request.tripwire
    moved = deleted + relabelled
    labels = sum(bool(known.row.seen.get("exists")) for known in merge.tracked.values())
    if moved < wire.labels_min or moved <= wire.share * labels:
        return None
    if date in (merge.run_job.released, merge.run_job.held):
        return None
    return MergeHeld(
        job=merge.job.job,
        id="h" + merge.token("held", date)[:8],
        updated_date=date,
        labels=labels,
        deleted=deleted,
        relabelled=relabelled,
    )


@dataclass
class _Outcome:
    """What was decided so far, grouped so that each event has one author."""

    job: int
    facts: list[tuple[Fact, Author]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    merged: dict[Author, list[LabelEdit]] = field(default_factory=lambda: defaultdict(list))
    conflicts: dict[Author, list[Conflict]] = field(default_factory=lambda: defaultdict(list))
    rejected: dict[tuple[str, Author], list[LabelEdit]] = field(
        default_factory=lambda: defaultdict(list)
    )
    added: set[tuple[str, str]] = field(default_factory=set)
    removed: set[Address] = field(default_factory=set)

    def merge(self, who: Author, edit: LabelEdit) -> None:
        """Take an edit over, and remember what that leaves room for."""
        self.merged[who].append(edit)
        if edit.operation == "added":
            self.added.add((edit.sample, edit.field))
        elif edit.operation == "removed":
            self.removed.add(Address(edit.sample, edit.frame, edit.field, edit.label))

    def all(self) -> Iterator[tuple[Fact, Author]]:
        """Yield the facts in an order in which they can be folded: links before edits."""
        for links in _chunks(self.links):
            yield LabelsLinked(job=self.job, links=links), UNKNOWN
        for who, edits in self.merged.items():
            for some in _chunks(edits):
                yield LabelsMerged(job=self.job, edits=some), who
        for (restriction, who), edits in self.rejected.items():
            for some in _chunks(edits):
                yield EditRejected(job=self.job, restriction=restriction, edits=some), who
        for who, conflicts in self.conflicts.items():
            for clashing in _chunks(conflicts):
                yield ConflictRaised(job=self.job, conflicts=clashing), who
        yield from self.facts


def _chunks(items: list[Item]) -> Iterator[tuple[Item, ...]]:
    for first in range(0, len(items), EVENT_LABELS_MAX):
        yield tuple(items[first : first + EVENT_LABELS_MAX])


def _links(merge: JobMerge) -> Iterator[Link]:
    """Say which labels go by other annotations now, and which annotations are new labels."""
    for label, candidate, method, confidence in merge.matching.found.values():
        part = _part(candidate)
        if (part,) != label.parts:
            yield Link(
                **label.address._asdict(),
                parts=(part,),
                method=method,
                confidence=confidence,
                origins=_origins(merge, label, candidate),
            )
    for candidate in merge.matching.new:
        target = merge.field_of(candidate.row.annotation.label)
        if target is not None and not _unfit(candidate, target):
            yield Link(
                **_new_address(merge, candidate, target)._asdict(),
                parts=(_part(candidate),),
                method="new",
                copied_from=candidate.claim.label if candidate.claim else None,
                origins=_origins(merge, None, candidate),
            )


def _origins(
    merge: JobMerge, label: TrackedRow | None, candidate: Candidate
) -> dict[str, tuple[int, ...]]:
    """Say of each facet where its value stems from, unless the annotation's own history does."""
    row = candidate.row
    found = {name: merge.origins(label, candidate, name) for name in candidate.facets}
    return {
        name: tuple(sorted(positions))
        for name, positions in found.items()
        if positions != {row.touched.get(name, row.added)}
    }


def _part(candidate: Candidate) -> Part:
    return Part(kind=candidate.row.kind, id=candidate.row.id)


def _new_address(merge: JobMerge, candidate: Candidate, target: FieldSchema) -> Address:
    row = candidate.row
    label = merge.token("label", row.kind, row.id, row.added)[:24]
    return Address(candidate.sample, 0, target.name, label)


def _decide_all(merge: JobMerge, outcome: _Outcome) -> None:
    drawn: list[tuple[Candidate, TrackedRow | None]] = []
    for label, candidate, *_ in merge.matching.found.values():
        if _was_taken(label, candidate):
            _edited(merge, outcome, label, candidate)
        else:
            drawn.append((candidate, label))
    for label in merge.missing():
        _judge(merge, outcome, label, {"exists": False}, merge.remover_of(label), None)
    # Last, when it is known for which of them there is room.
    drawn += [(candidate, None) for candidate in merge.matching.new]
    for drawn_one, drawn_label in drawn:
        _new(merge, outcome, drawn_one, drawn_label)
    _vanished(merge, outcome)


# A known label


def _was_taken(label: TrackedRow, candidate: Candidate) -> bool:
    """Tell whether the dataset ever took the label, or it waits for that as it is now."""
    waits = "exists" in label.seen and not _differing(candidate.facets, label.seen)
    return "exists" in label.agreed or waits


def _differing(now: Facets, before: Facets) -> Facets:
    return {
        name: now.get(name)
        for name in sorted(now.keys() | before.keys())
        if not same_facet(name, now.get(name), before.get(name))
    }


def _edited(merge: JobMerge, outcome: _Outcome, label: TrackedRow, candidate: Candidate) -> None:
    target = merge.run.field(label.field)
    if merge.field_of(candidate.row.annotation.label) is not target:
        who = _authors(merge, label, candidate, ["class"])
        _quarantine(merge, outcome, candidate, f"its class is none of field {target.name!r}", who)
        return
    _release(merge, outcome, candidate)
    changed = _differing(candidate.facets, label.seen)
    if changed and not label.agreed.get("exists"):
        changed = _differing(candidate.facets, label.agreed)
    by_author: defaultdict[Author, Facets] = defaultdict(dict)
    if "exists" in changed:
        # What comes back comes back in one piece, whoever had a hand in it.
        by_author[_authors(merge, label, candidate, changed)] = changed
    else:
        for name, value in changed.items():
            by_author[_authors(merge, label, candidate, [name])][name] = value
    for who, facets in by_author.items():
        _judge(merge, outcome, label, facets, who, merge.frame(candidate.row.annotation))


def _authors(
    merge: JobMerge, label: TrackedRow | None, candidate: Candidate, facets: Iterable[str]
) -> Author:
    """Return who gave these facets their values; all of them, or nobody is named."""
    positions = {at for name in facets for at in merge.origins(label, candidate, name)}
    return joined(merge.author_at(position) for position in positions)


def _judge(
    merge: JobMerge,
    outcome: _Outcome,
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
    if withdrawn:
        outcome.merge(who, _edit(label, "changed", withdrawn))
    open_facets = {name: value for name, value in facets.items() if name not in withdrawn}
    for name, reason in _unheld(merge, label, open_facets, frame).items():
        edit = _edit(label, "changed", {name: open_facets.pop(name)})
        outcome.rejected[reason, who].append(edit)
    for restriction, some in _by_restriction(merge, label, open_facets).items():
        edit = _edit_of(merge, label, some, document, frame)
        if restriction:
            outcome.rejected[restriction, who].append(edit)
        elif _clashes(merge, label, edit, document):
            conflict = Conflict(
                id="c" + merge.token("conflict", label.address, edit.facets)[:8],
                edit=edit,
                dataset=document,
            )
            outcome.conflicts[who].append(conflict)
        else:
            outcome.merge(who, edit)


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


def _clashes(
    merge: JobMerge, label: TrackedRow, edit: LabelEdit, document: Document | None
) -> bool:
    """Tell whether the dataset changed the same facets to something else meanwhile."""
    if document is None:
        # Deleted there: an edit here clashes, a deletion here agrees, and what was merged away
        # may come back.
        return edit.operation == "changed"
    if edit.operation == "added":
        return True
    watched = label.digests if edit.operation == "removed" else edit.facets
    now = digests_of(document, watched)
    moved = {name for name in now if now[name] != label.digests.get(name)}
    if edit.operation == "removed":
        return bool(moved)
    return any(
        (edit.old or {}).get(member) != (edit.new or {}).get(member)
        for facet in moved
        for member in members_of(facet)
    )


# An annotation that stands for no label of the dataset yet


def _new(
    merge: JobMerge, outcome: _Outcome, candidate: Candidate, label: TrackedRow | None
) -> None:
    """Decide on a label that was drawn in CVAT; `label` where an earlier look gave it its id."""
    row = candidate.row
    target = merge.field_of(row.annotation.label)
    who = _authors(merge, label, candidate, candidate.facets or ["class"])
    if target is None:
        reason = f"no field of the run has the class {row.annotation.label!r}"
        _quarantine(merge, outcome, candidate, reason, who)
        return
    reason = _unfit(candidate, target) or _full(merge, outcome, candidate.sample, target)
    if reason:
        _quarantine(merge, outcome, candidate, reason, who)
        return
    frame = merge.frame(row.annotation)
    assert frame is not None, "candidates are on frames of the run"
    address = label.address if label else _new_address(merge, candidate, target)
    names = merge.run.names[target.name]
    try:
        document = new_document(address.label, row.annotation, target, names, frame)
    except UnexpectedValue as exc:
        _quarantine(merge, outcome, candidate, str(exc), who)
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
    _release(merge, outcome, candidate)


def _unfit(candidate: Candidate, target: FieldSchema) -> str:
    """Say why an annotation does not fit the field of its class, "" where it does."""
    annotation = candidate.row.annotation
    is_box = isinstance(annotation, Shape) and annotation.type == "rectangle"
    wanted = is_box if target.type == "detections" else isinstance(annotation, Tag)
    if wanted:
        return ""
    what = annotation.type if isinstance(annotation, Shape) else candidate.row.kind
    return f"field {target.name!r} of type {target.type} holds no {what}"


def _full(merge: JobMerge, outcome: _Outcome, sample: str, target: FieldSchema) -> str:
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


def _quarantine(
    merge: JobMerge, outcome: _Outcome, candidate: Candidate, reason: str, who: Author
) -> None:
    id = _quarantine_id(merge, candidate)
    if id not in merge.quarantine:
        fact = LabelQuarantined(
            job=merge.job.job, id=id, annotation=candidate.row.annotation, reason=reason
        )
        outcome.facts.append((fact, who))


def _quarantine_id(merge: JobMerge, candidate: Candidate) -> str:
    return "q" + merge.token("quarantine", *candidate.key)[:8]


def _release(merge: JobMerge, outcome: _Outcome, candidate: Candidate) -> None:
    """An annotation that was mended in CVAT waits for nobody any more."""
    waiting = merge.quarantine.get(_quarantine_id(merge, candidate))
    if waiting is not None and not waiting.settled:
        outcome.facts.append((QuarantineResolved(id=waiting.id), UNKNOWN))


def _vanished(merge: JobMerge, outcome: _Outcome) -> None:
    """Let go of quarantined annotations that were deleted in CVAT."""
    for waiting in merge.quarantine.values():
        annotation = waiting.annotation
        assert annotation is not None
        row = merge.tables.get(
            jobs.ANNOTATIONS, merge.job.server, merge.job.job, kind_of(annotation), annotation.id
        )
        if row is None and not waiting.settled:
            outcome.facts.append((QuarantineResolved(id=waiting.id), UNKNOWN))
