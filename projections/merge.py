"""The three-way merge: what CVAT changed, what the dataset changed, and what was agreed.

Per label and facet two values are kept in CVAT's terms: `agreed`, the base both sides hold, and
`seen`, what was observed last. An observed value that equals `seen` raises nothing. What the
dataset did meanwhile is told by digests of its members, taken when they were agreed on.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.run import Link, MergeHeld, Part
from projections import jobs, runs
from projections.attribution import UNKNOWN
from projections.decision import Decision, Draft
from projections.drawn import decide_new
from projections.edited import decide_edits, decide_facets, was_taken
from projections.job_merge import JobMerge
from projections.matching import Candidate
from projections.outcome import Outcome
from projections.quarantine import release_vanished, unfit
from projections.runs import TrackedRow
from projections.streams import versions
from projections.tables import Tables


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
    outcome = Outcome(job, links=list(_links(merge)))
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
    return _decision(merge, Outcome(job, links=list(_links(merge))))


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


def _decision(merge: JobMerge, outcome: Outcome) -> Decision:
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
        target = merge.field_of(candidate.annotation.label)
        if target is not None and not unfit(candidate, target):
            yield Link(
                **merge.new_address(candidate, target)._asdict(),
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


def _decide_all(merge: JobMerge, outcome: Outcome) -> None:
    new: list[tuple[Candidate, TrackedRow | None]] = []
    for label, candidate, *_ in merge.matching.found.values():
        if was_taken(label, candidate):
            decide_edits(merge, outcome, label, candidate)
        else:
            new.append((candidate, label))
    for label in merge.missing():
        decide_facets(merge, outcome, label, {"exists": False}, merge.remover_of(label), None)
    # Last, when it is known for which of them there is room.
    new += [(candidate, None) for candidate in merge.matching.new]
    for drawn, known in new:
        decide_new(merge, outcome, drawn, known)
    release_vanished(merge, outcome)
