"""From a stable read of a job to the facts of what changed since the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from events.annotations import Annotation, AttributeValue, Kind, LabelSpec, Track, kind_of
from events.job import (
    ActorLearned,
    AnnotationsObserved,
    Change,
    JobChanged,
    JobDiscovered,
    JobReadable,
    JobReplaced,
    JobSchemaChanged,
)
from events.registry import Fact
from events.server import ServerChanged
from projections import jobs
from projections.attribution import UNKNOWN, Author, Step, author_of, changed_by, date_us
from projections.decision import Decision, Draft
from projections.facets import change_between
from projections.streams import versions
from projections.tables import Tables

# Annotations in one event. A larger observation is several events of one atomic append.
EVENT_ANNOTATIONS_MAX = 1_000
# A server of several machines dates saves by several clocks; what goes back further was restored.
SKEW_US_MAX = 60_000_000
_MEMBERS = ("project", "stage", "state", "assignee", "start_frame", "stop_frame")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One stable read of a job: `job` and `annotations` between two equal `updated_date`.

    version  of the job's stream when the read began
    """

    version: int | None = None
    job: JobDiscovered
    updated_date: str
    labels: tuple[LabelSpec, ...]
    annotations: Sequence[Annotation]


def job_members(row: Mapping[str, Any]) -> JobDiscovered:
    """Read what we keep of `GET /api/jobs/{id}` (CVAT `JobRead`)."""
    assignee = row.get("assignee")
    return JobDiscovered(
        task=row["task_id"],
        project=row.get("project_id"),
        type=row.get("type") or "annotation",
        start_frame=row.get("start_frame") or 0,
        stop_frame=row.get("stop_frame") or 0,
        created_date=row.get("created_date") or "",
        stage=row.get("stage") or "",
        state=row.get("state") or "",
        assignee=assignee.get("id") if isinstance(assignee, dict) else assignee,
    )


def observe(tables: Tables, server: str, job: int, reading: Reading) -> Decision:
    """Decide what a reading tells beyond the one before; no drafts where nothing."""
    stream = f"job/{server}/{job}"
    expects = versions(tables, [stream])
    row = tables.get(jobs.JOBS, server, job)
    if is_frozen(tables, server, job):
        return Decision()
    if row is None:
        facts: list[Fact] = [reading.job, JobSchemaChanged(labels=reading.labels)]
        facts += _observed(reading, None, {}, baseline=True)
        return Decision([Draft(stream, fact) for fact in facts], expects)
    is_back = date_us(reading.updated_date) < date_us(row.observed_date)
    if is_back and reading.version not in (None, expects[stream]):
        # Somebody else's reading was recorded while this one was on its way.
        return Decision()
    if reason := _server_changed(row, reading):
        if row.condition == "thawed" and is_other(row, reading):
            replaced = JobReplaced(old=row.created_date, new=reading.job.created_date)
            return Decision([Draft(stream, replaced)], expects)
        if row.condition != "thawed":
            return freeze(tables, server, reason, _dates(row), _dates_of(job, reading), expects)
    return Decision(list(_drafts(tables, row, reading)), expects)


def is_frozen(tables: Tables, server: str, job: int) -> bool:
    """Tell whether it is unknown what the job's id means, so that nothing is recorded of it."""
    held = tables.get(jobs.SERVERS, server)
    row = tables.get(jobs.JOBS, server, job)
    return bool(held and held.frozen) or bool(row and row.condition == "replaced")


def freeze(
    tables: Tables,
    server: str,
    reason: str,
    old: dict[str, object],
    new: dict[str, object],
    expects: Mapping[str, int],
) -> Decision:
    """Freeze a server's jobs until a person decides."""
    stream = f"server/{server}"
    changed = ServerChanged(reason=reason, old=old, new=new)
    return Decision([Draft(stream, changed)], {**expects, **versions(tables, [stream])})


def is_other(row: jobs.JobRow, reading: Reading) -> bool:
    """Tell whether another job goes by the id now."""
    created = reading.job.created_date
    return bool(row.created_date and created and row.created_date != created)


def _server_changed(row: jobs.JobRow, reading: Reading) -> str:
    if is_other(row, reading):
        return f"job {row.job} has another created_date than the one recorded under its id"
    back_us = date_us(row.observed_date) - date_us(reading.updated_date)
    return f"the updated_date of job {row.job} went back" if back_us > SKEW_US_MAX else ""


def _dates(row: jobs.JobRow) -> dict[str, object]:
    return {"job": row.job, "created": row.created_date, "updated": row.observed_date}


def _dates_of(job: int, reading: Reading) -> dict[str, object]:
    created = reading.job.created_date
    return {"job": job, "created": created, "updated": reading.updated_date}


def _drafts(tables: Tables, row: jobs.JobRow, reading: Reading) -> Iterator[Draft]:
    stream = f"job/{row.server}/{row.job}"
    if row.condition:
        yield Draft(stream, JobReadable())
    if members := _members_changed(row, reading):
        by = _changed_by(tables, row, reading)
        yield Draft(
            stream, members, by.actor, by.evidence, occurred_at=date_us(reading.updated_date)
        )
    known = {
        (held.kind, held.id): held.annotation
        for held in tables.scan(jobs.ANNOTATIONS, row.server, row.job)
    }
    if reading.labels != row.labels:
        schema = _schema_change(row.labels, reading, known)
        yield Draft(stream, schema)
    baseline = not row.observed
    observed = _observed(
        reading,
        row.observed_date or None,
        known,
        baseline=baseline,
        always=row.condition == "thawed",
    )
    if not observed:
        return
    author = UNKNOWN if baseline else _author(tables, row, reading)
    for fact in observed:
        yield Draft(
            stream, fact, author.actor, author.evidence, occurred_at=date_us(reading.updated_date)
        )


def _members_changed(row: jobs.JobRow, reading: Reading) -> JobChanged | None:
    members = reading.job
    changed = [name for name in _MEMBERS if getattr(row, name) != getattr(members, name)]
    if not changed:
        return None
    return JobChanged(
        old={name: getattr(row, name) for name in changed},
        new={name: getattr(members, name) for name in changed},
        updated_date=reading.updated_date,
    )


def _changed_by(tables: Tables, row: jobs.JobRow, reading: Reading) -> Author:
    """Name who changed members of the job, as far as the deliveries account for each step."""
    since_us = max(date_us(row.observed_date), date_us(row.changed_date))
    until_us = date_us(reading.updated_date)
    steps = _steps(tables, row.server, row.job, since_us, until_us)
    return changed_by(steps, server=row.server, since_us=since_us, until_us=until_us)


def _author(tables: Tables, row: jobs.JobRow, reading: Reading) -> Author:
    since_us, until_us = date_us(row.observed_date), date_us(reading.updated_date)
    return _author_between(tables, row.server, row.job, since_us, until_us)


def _author_between(tables: Tables, server: str, job: int, since_us: int, until_us: int) -> Author:
    steps = _steps(tables, server, job, since_us, until_us)
    return author_of(steps, server=server, since_us=since_us, until_us=until_us)


def _steps(tables: Tables, server: str, job: int, since_us: int, until_us: int) -> Iterator[Step]:
    for held in tables.scan(jobs.STEPS, server, job, start=(since_us + 1,)):
        if held.updated_us > until_us:
            return
        yield held.step


def late_authors(tables: Tables, server: str, job: int) -> Decision:
    """Decide who made what was recorded without an author, now that more deliveries are here."""
    stream = f"job/{server}/{job}"
    drafts = []
    for late in tables.scan(jobs.LATE, server, job):
        held = tables.get(jobs.AUTHORS, server, job, late.position)
        assert held is not None, f"{stream} observed nothing at {late.position}"
        author = _author_between(tables, server, job, held.since_us, held.until_us)
        if author.actor is not None:
            learned = ActorLearned(position=held.position, actors=tuple(author.actor.split(",")))
            drafts.append(Draft(stream, learned, author.actor, author.evidence))
    return Decision(drafts, versions(tables, [stream]))


Known = dict[tuple[Kind, int], Annotation]


def _observed(
    reading: Reading, since: str | None, known: Known, *, baseline: bool, always: bool = False
) -> list[AnnotationsObserved]:
    """Compare with what is known; a baseline is recorded also when it is empty.

    always  also where nothing changed: the date may have gone back
    """
    left = dict(known)
    added: list[Annotation] = []
    changed: list[Change] = []
    for annotation in reading.annotations:
        before = left.pop((kind_of(annotation), annotation.id), None)
        if before is None:
            added.append(annotation)
        elif change := change_between(before, annotation):
            changed.append(change)
    removed = sorted(left.values(), key=lambda annotation: annotation.frame)
    pieces = list(_pieces(removed, changed, added)) or [((), (), ())]
    if not (left or changed or added or baseline or always):
        return []
    return [
        AnnotationsObserved(
            updated_date=reading.updated_date,
            since=since,
            baseline=baseline,
            part=part,
            parts=len(pieces),
            removed=removed_here,
            changed=changed_here,
            added=added_here,
        )
        for part, (removed_here, changed_here, added_here) in enumerate(pieces, 1)
    ]


_Piece = tuple[tuple[Annotation, ...], tuple[Change, ...], tuple[Annotation, ...]]


def _pieces(
    removed: Sequence[Annotation], changed: Sequence[Change], added: Sequence[Annotation]
) -> Iterator[_Piece]:
    """Cut a large observation by frame, so that no event grows without bound."""
    items = [(item.frame, which, n) for which, many in enumerate((removed, changed, added))
             for n, item in enumerate(many)]  # fmt: skip
    items.sort()
    for first in range(0, len(items), EVENT_ANNOTATIONS_MAX):
        here = items[first : first + EVENT_ANNOTATIONS_MAX]
        yield (
            tuple(removed[n] for _, which, n in here if which == 0),
            tuple(changed[n] for _, which, n in here if which == 1),
            tuple(added[n] for _, which, n in here if which == 2),
        )


# What a changed schema does by itself.


def _schema_change(
    before: tuple[LabelSpec, ...], reading: Reading, known: Known
) -> JobSchemaChanged:
    """Tell the schema's own effects from edits; brings `known` to what it shows by them."""
    carry = _Carry(before, reading.labels)
    observed = {(kind_of(new), new.id): new for new in reading.annotations}
    carried: list[Change] = []
    removed: list[Annotation] = []
    for key, old in list(known.items()):
        new = observed.get(key)
        if new is None and old.label in carry.deleted:
            removed.append(known.pop(key))
        elif new is not None and (change := change_between(old, carry.over(old, new))):
            carried.append(change)
            known[key] = carry.over(old, new)
    return JobSchemaChanged(labels=reading.labels, carried=tuple(carried), removed=tuple(removed))


class _Carry:
    """What became of classes, attributes and defaults between two schemas, by id."""

    def __init__(self, before: Iterable[LabelSpec], after: Iterable[LabelSpec]) -> None:
        self.before = {label.name: label for label in before}
        self.after = {label.name: label for label in after}
        names = {label.id: label.name for label in self.after.values()}
        # A task that moved into a project has other ids for the same names.
        self.renamed = {
            label.name: label.name if label.name in self.after else names.get(label.id, "")
            for label in self.before.values()
        }
        self.deleted = {name for name, now in self.renamed.items() if not now}

    def over(self, old: Annotation, new: Annotation) -> Annotation:
        """Return `old` with all that the schema explains of the way to `new`."""
        label = self.renamed.get(old.label) or old.label
        if label != new.label:
            return old
        carried = msgspec.structs.replace(
            old, label=label, attributes=self._values(old.label, label, old, new)
        )
        if isinstance(carried, Track) and isinstance(new, Track):
            frames = {keyframe.frame: keyframe for keyframe in new.keyframes}
            keyframes = tuple(
                msgspec.structs.replace(
                    keyframe,
                    attributes=self._values(old.label, label, keyframe, frames[keyframe.frame]),
                )
                if keyframe.frame in frames
                else keyframe
                for keyframe in carried.keyframes
            )
            carried = msgspec.structs.replace(carried, keyframes=keyframes)
        return carried

    def _values(self, was: str, now: str, old: Any, new: Any) -> dict[str, AttributeValue]:
        before = {spec.name: spec for spec in self._label(self.before, was).attributes}
        after = {spec.name: spec for spec in self._label(self.after, now).attributes}
        by_id = {spec.id: spec.name for spec in after.values()}
        values: dict[str, AttributeValue] = {}
        for name, value in old.attributes.items():
            spec = before.get(name)
            current = name if name in after or spec is None else by_id.get(spec.id, "")
            if not current:
                continue
            shown = new.attributes.get(current)
            was_default = spec is not None and value == spec.default_value
            drifted = was_default and current in after and shown == after[current].default_value
            values[current] = shown if drifted and shown is not None else value
        for name, spec in after.items():
            is_new = name not in values and name not in before
            if is_new and new.attributes.get(name) == spec.default_value:
                values[name] = spec.default_value
        return dict(sorted(values.items()))

    @staticmethod
    def _label(labels: Mapping[str, LabelSpec], name: str) -> LabelSpec:
        return labels.get(name) or LabelSpec(name=name)
