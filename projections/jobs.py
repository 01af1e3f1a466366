"""The jobs as last observed: members, schema, annotations, and who touched which facet last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from sys import intern
from typing import Final, Literal

import msgspec

from events import dataset, log, run
from events.annotations import Annotation, Kind, LabelSpec, kind_of
from events.envelope import Evidence, Recorded
from events.job import (
    ActorLearned,
    AnnotationsObserved,
    Change,
    FramesDeleted,
    IssueCommented,
    IssueOpened,
    IssueRemoved,
    IssueResolved,
    JobChanged,
    JobDeleted,
    JobDiscovered,
    JobReadable,
    JobReplaced,
    JobSchemaChanged,
    JobSettled,
    JobUnreachable,
    JobUnreadable,
    TaskChanged,
    TaskDeleted,
)
from events.server import (
    DeliveriesFilled,
    DeliveryReceived,
    DeliveryRefused,
    RowReadable,
    RowUnreadable,
    ServerChanged,
    ServerThawed,
    SweepCompleted,
)
from projections.attribution import Step, date_us
from projections.facets import with_facets
from projections.fold import Fold
from projections.tables import Table, Tables

STREAMS_KEPT_MAX: Final = 1_000

_replace = msgspec.structs.replace

Condition = Literal[
    "", "unreachable", "unreadable", "deleted", "frozen", "thawed", "replaced"
]  # fmt: skip


class JobRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job. `observed_date` is the `updated_date` of the last recorded read.

    changed_date  the same of the last JobChanged
    observed  position of the last AnnotationsObserved, 0 before the first
    observed_us  when it was recorded, µs since 1970 UTC
    settled   position up to which observations are settled
    removed_id  the highest id of an annotation that was ever removed
    """

    server: str
    job: int
    task: int
    project: int | None = None
    type: str = "annotation"
    start_frame: int = 0
    stop_frame: int = 0
    created_date: str = ""
    stage: str = ""
    state: str = ""
    assignee: int | None = None
    labels: tuple[LabelSpec, ...] = ()
    observed_date: str = ""
    changed_date: str = ""
    observed: int = 0
    observed_us: int = 0
    settled: int = 0
    annotations: int = 0
    removed_id: int = 0
    condition: Condition = ""
    reason: str = ""


class AnnotationRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One annotation as last observed.

    added    position of the event that it appeared with
    touched  facet → position of the event that changed it last, where one did
    """

    server: str
    job: int
    kind: Kind
    id: int
    annotation: Annotation
    added: int
    touched: dict[str, int] = {}


class RemovedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An annotation that is gone: as it was last, and the position where it was removed.

    added, touched  as in `AnnotationRow`
    """

    server: str
    job: int
    kind: Kind
    id: int
    position: int
    annotation: Annotation
    added: int
    touched: dict[str, int] = {}
    by_schema: bool = False


class AuthorRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who made what one observation recorded; `learned` from a delivery that came later."""

    server: str
    job: int
    position: int
    since_us: int
    until_us: int
    actor: str | None = None
    evidence: Evidence = "unknown"
    learned: tuple[str, ...] = ()


class NamelessRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An observation that no author is known of, by the date at its end."""

    server: str
    job: int
    until_us: int
    position: int
    since_us: int


class LateRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A nameless observation that a delivery, which came at `step`, tells something of."""

    server: str
    job: int
    position: int
    step: int


class StepRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One update:job delivery, by the date it tells."""

    server: str
    job: int
    updated_us: int
    position: int
    step: Step


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A delivery that was taken, so that it is not taken twice."""

    server: str
    body_hash: str
    position: int


class ServerRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One CVAT server as far as the log knows it."""

    server: str
    deliveries: int = 0
    refused: int = 0
    last_delivery: int = 0
    last_sweep: int = 0
    frozen: str = ""


class HookRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One webhook: up to which delivery id the server's own list of them was read."""

    server: str
    webhook: int
    upto: int


class SourceRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one project of a server; project 0 stands for all tasks outside projects.

    delivered_us  when the last webhook of it was recorded
    changed_us    when its jobs last showed another state, as the server dates it
    """

    server: str
    project: int
    deliveries: int = 0
    delivered_us: int = 0
    changed_us: int = 0


class TaskRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task: what cannot be seen from its jobs."""

    server: str
    task: int
    name: str = ""
    project: int | None = None
    status: str = ""
    assignee: int | None = None
    created_date: str = ""
    deleted_frames: tuple[int, ...] = ()
    gone: bool = False


JOBS = Table("jobs", ("server", "job"), JobRow)
ANNOTATIONS = Table("annotations", ("server", "job", "kind", "id"), AnnotationRow)
REMOVED = Table("removed", ("server", "job", "kind", "id"), RemovedRow)
AUTHORS = Table("authors", ("server", "job", "position"), AuthorRow)
NAMELESS = Table("nameless", ("server", "job", "until_us", "position"), NamelessRow)
LATE = Table("late", ("server", "job", "position"), LateRow)
STEPS = Table("steps", ("server", "job", "updated_us", "position"), StepRow)
DELIVERIES = Table("deliveries", ("server", "body_hash"), DeliveryRow)
HOOKS = Table("hooks", ("server", "webhook"), HookRow)
SOURCES = Table("sources", ("server", "project"), SourceRow)
SERVERS = Table("servers", ("server",), ServerRow)
TASKS = Table("tasks", ("server", "task"), TaskRow)


@lru_cache(maxsize=STREAMS_KEPT_MAX)
def job_of(stream: str) -> tuple[str, int]:
    """Return (server, job) of a `job/<server>/<id>` stream."""
    _, server, number = stream.split("/")
    # One text for all jobs of a server: keys are told apart faster so.
    return intern(server), int(number)


def _job(tables: Tables, at: Recorded) -> JobRow:
    row = tables.get(JOBS, *job_of(at.stream))
    assert row is not None, f"{at.stream} has no JobDiscovered"
    return row


def _update(tables: Tables, at: Recorded, **members: object) -> None:
    tables.put(JOBS, _replace(_job(tables, at), **members))


def _discovered(tables: Tables, at: Recorded, fact: JobDiscovered) -> None:
    server, job = job_of(at.stream)
    tables.put(JOBS, JobRow(server=server, job=job, **msgspec.structs.asdict(fact)))


def _changed(tables: Tables, at: Recorded, fact: JobChanged) -> None:
    known = {name: value for name, value in fact.new.items() if name in JobRow.__struct_fields__}
    _update(tables, at, **known, changed_date=fact.updated_date)


def _schema_changed(tables: Tables, at: Recorded, fact: JobSchemaChanged) -> None:
    row = _job(tables, at)
    _apply(tables, at, row, fact.carried, touch=False)
    _remove(tables, at, row, fact.removed, by_schema=True)
    _update(
        tables,
        at,
        labels=fact.labels,
        annotations=row.annotations - len(fact.removed),
        removed_id=_highest_id(row, fact.removed),
    )


def _observed(tables: Tables, at: Recorded, fact: AnnotationsObserved) -> None:
    row = _job(tables, at)
    removed_id = _highest_id(row, fact.removed)
    _remove(tables, at, row, fact.removed)
    _apply(tables, at, row, fact.changed)
    _add(tables, at, row, fact.added, removed_id)
    _note_author(tables, at, row, fact)
    count = row.annotations + len(fact.added) - len(fact.removed)
    tables.put(
        JOBS,
        _replace(
            row,
            observed_date=fact.updated_date,
            observed=at.position,
            observed_us=at.recorded_at,
            annotations=count,
            removed_id=removed_id,
        ),
    )


def _note_author(tables: Tables, at: Recorded, row: JobRow, fact: AnnotationsObserved) -> None:
    since_us, until_us = date_us(fact.since or ""), date_us(fact.updated_date)
    author = AuthorRow(
        server=row.server,
        job=row.job,
        position=at.position,
        since_us=since_us,
        until_us=until_us,
        actor=at.actor,
        evidence=at.evidence,
    )
    tables.put(AUTHORS, author)
    if author.evidence == "unknown" and since_us:
        tables.put(NAMELESS, _nameless(author))
    source = _source(tables, row.server, row.project)
    if until_us > source.changed_us:
        tables.put(SOURCES, _replace(source, changed_us=until_us))


def _highest_id(row: JobRow, removed: Iterable[Annotation]) -> int:
    return max([row.removed_id, *(annotation.id for annotation in removed)])


def _source(tables: Tables, server: str, project: int | None) -> SourceRow:
    known = tables.get(SOURCES, server, project or 0)
    return known or SourceRow(server=server, project=project or 0)


def _nameless(author: AuthorRow) -> NamelessRow:
    return NamelessRow(
        server=author.server,
        job=author.job,
        until_us=author.until_us,
        position=author.position,
        since_us=author.since_us,
    )


# Many annotations in one step: an observation names each at most once.


def _add(
    tables: Tables, at: Recorded, job: JobRow, added: Iterable[Annotation], removed_id: int
) -> None:
    server, number, position = job.server, job.job, at.position
    rows = {}
    for annotation in added:
        kind, id = kind_of(annotation), annotation.id
        # Ids grow: hardly ever does one come back that was gone, by an undo in the editor.
        if id <= removed_id:
            tables.delete(REMOVED, server, number, kind, id)
        rows[server, number, kind, id] = AnnotationRow(
            server=server, job=number, kind=kind, id=id, annotation=annotation, added=position
        )
    tables.put_all(ANNOTATIONS, rows)


def _apply(
    tables: Tables, at: Recorded, job: JobRow, changes: Sequence[Change], *, touch: bool = True
) -> None:
    keys = [(job.server, job.job, change.kind, change.id) for change in changes]
    found = zip(keys, tables.get_all(ANNOTATIONS, keys), changes, strict=True)
    position = at.position if touch else 0
    rows = {key: _with(row, change, position) for key, row, change in found}
    assert len(rows) == len(keys), f"{at.position} changes an annotation twice"
    tables.put_all(ANNOTATIONS, rows)


def _with(row: AnnotationRow | None, change: Change, touched_at: int) -> AnnotationRow:
    """Return an annotation with a change; `touched_at` 0: it was no edit of anybody."""
    assert row is not None, f"there is no {change.kind} {change.id}"
    annotation = with_facets(row.annotation, change.old, change.new)
    if not touched_at:
        return _replace(row, annotation=annotation)
    touched = row.touched.copy()
    for facet in change.new:
        touched[facet] = touched_at
    for facet in change.old:
        touched[facet] = touched_at
    return _replace(row, annotation=annotation, touched=touched)


def _remove(
    tables: Tables,
    at: Recorded,
    job: JobRow,
    removed: Sequence[Annotation],
    *,
    by_schema: bool = False,
) -> None:
    keys = [(job.server, job.job, kind_of(one), one.id) for one in removed]
    rows = {}
    for key, row, annotation in zip(keys, tables.get_all(ANNOTATIONS, keys), removed, strict=True):
        assert row is not None, f"{at.stream} has no {key[2]} {key[3]}"
        tables.delete(ANNOTATIONS, *key)
        rows[key] = RemovedRow(
            server=row.server,
            job=row.job,
            kind=row.kind,
            id=row.id,
            position=at.position,
            annotation=annotation,
            added=row.added,
            touched=row.touched,
            by_schema=by_schema,
        )
    tables.put_all(REMOVED, rows)


def _settled(tables: Tables, at: Recorded, fact: JobSettled) -> None:
    row = _job(tables, at)
    # What a delivery told before the last settling was weighed since, and did not suffice.
    for late in list(tables.scan(LATE, row.server, row.job)):
        if late.step < row.settled:
            tables.delete(LATE, *LATE.key_of(late))
    _update(tables, at, settled=at.position)


def _learned(tables: Tables, at: Recorded, fact: ActorLearned) -> None:
    author = tables.get(AUTHORS, *job_of(at.stream), fact.position)
    assert author is not None, f"{at.stream} observed nothing at {fact.position}"
    tables.put(AUTHORS, _replace(author, learned=fact.actors))
    tables.delete(NAMELESS, *NAMELESS.key_of(_nameless(author)))
    tables.delete(LATE, author.server, author.job, author.position)


def _unreachable(tables: Tables, at: Recorded, fact: JobUnreachable) -> None:
    _update(tables, at, condition="unreachable", reason=fact.reason or f"HTTP {fact.status}")


def _unreadable(tables: Tables, at: Recorded, fact: JobUnreadable) -> None:
    _update(tables, at, condition="unreadable", reason=fact.reason or f"HTTP {fact.status}")


def _readable(tables: Tables, at: Recorded, fact: JobReadable) -> None:
    _update(tables, at, condition="", reason="")


def _deleted(tables: Tables, at: Recorded, fact: JobDeleted) -> None:
    _update(tables, at, condition="deleted", reason="")


def _replaced(tables: Tables, at: Recorded, fact: JobReplaced) -> None:
    reason = f"another job goes by this id, made {fact.new}"
    _update(tables, at, condition="replaced", reason=reason)


def _task(tables: Tables, at: Recorded) -> TaskRow:
    _, server, number = at.stream.split("/")
    return tables.get(TASKS, server, int(number)) or TaskRow(server=server, task=int(number))


def _frames_deleted(tables: Tables, at: Recorded, fact: FramesDeleted) -> None:
    tables.put(TASKS, _replace(_task(tables, at), deleted_frames=fact.new))


def _task_deleted(tables: Tables, at: Recorded, fact: TaskDeleted) -> None:
    tables.put(TASKS, _replace(_task(tables, at), gone=True))


def _server(tables: Tables, at: Recorded) -> ServerRow:
    name = at.stream.removeprefix("server/")
    return tables.get(SERVERS, name) or ServerRow(server=name)


def _delivery(tables: Tables, at: Recorded, fact: DeliveryReceived) -> None:
    row = _server(tables, at)
    tables.put(
        SERVERS,
        _replace(row, deliveries=row.deliveries + 1, last_delivery=at.position),
    )
    if fact.project is not None:
        source = _source(tables, row.server, fact.project)
        tables.put(
            SOURCES,
            _replace(source, deliveries=source.deliveries + 1, delivered_us=at.recorded_at),
        )
    tables.put(
        DELIVERIES,
        DeliveryRow(server=row.server, body_hash=fact.body_hash, position=at.position),
    )
    if fact.event == "update:job" and fact.job is not None and fact.updated_date:
        step = _step(row.server, at.position, fact.job, fact)
        tables.put(STEPS, step)
        _note_late(tables, step)


def _note_late(tables: Tables, step: StepRow) -> None:
    """Remember the nameless observation that the delivery's date lies in, if there is one."""
    until_us = None
    for row in tables.scan(NAMELESS, step.server, step.job, start=(step.updated_us,)):
        if row.until_us != (until_us or row.until_us) or row.since_us >= step.updated_us:
            return
        until_us = row.until_us
        late = LateRow(server=row.server, job=row.job, position=row.position, step=step.position)
        tables.put(LATE, late)


def _step(server: str, position: int, job: int, fact: DeliveryReceived) -> StepRow:
    updated_us = date_us(fact.updated_date or "")
    return StepRow(
        server=server,
        job=job,
        updated_us=updated_us,
        position=position,
        step=Step(
            updated_us=updated_us,
            before_us=date_us(fact.before_date) if fact.before_date else None,
            sender=fact.sender,
            saved=set(fact.before_update or ()) <= {"updated_date"},
        ),
    )


def _filled(tables: Tables, at: Recorded, fact: DeliveriesFilled) -> None:
    name = at.stream.removeprefix("server/")
    tables.put(HOOKS, HookRow(server=name, webhook=fact.webhook, upto=fact.upto))


def _refused(tables: Tables, at: Recorded, fact: DeliveryRefused) -> None:
    row = _server(tables, at)
    tables.put(SERVERS, _replace(row, refused=row.refused + fact.count))


def _swept(tables: Tables, at: Recorded, fact: SweepCompleted) -> None:
    tables.put(SERVERS, _replace(_server(tables, at), last_sweep=at.position))


def _server_changed(tables: Tables, at: Recorded, fact: ServerChanged) -> None:
    row = _server(tables, at)
    tables.put(SERVERS, _replace(row, frozen=fact.reason))
    for job in list(tables.scan(JOBS, row.server)):
        if job.condition != "replaced":
            tables.put(JOBS, _replace(job, condition="frozen", reason=fact.reason))


def _server_thawed(tables: Tables, at: Recorded, fact: ServerThawed) -> None:
    row = _server(tables, at)
    tables.put(SERVERS, _replace(row, frozen=""))
    for job in list(tables.scan(JOBS, row.server)):
        if job.condition == "frozen":
            tables.put(JOBS, _replace(job, condition="thawed", reason=""))
    for task in list(tables.scan(TASKS, row.server)):
        tables.put(TASKS, _replace(task, created_date=""))


def _task_changed(tables: Tables, at: Recorded, fact: TaskChanged) -> None:
    known = {name: value for name, value in fact.new.items() if name in TaskRow.__struct_fields__}
    tables.put(TASKS, _replace(_task(tables, at), gone=False, **known))


JOBS_FOLD = Fold(
    name="jobs",
    revision=8,
    tables=(
        JOBS,
        ANNOTATIONS,
        REMOVED,
        AUTHORS,
        NAMELESS,
        LATE,
        STEPS,
        DELIVERIES,
        SERVERS,
        HOOKS,
        SOURCES,
        TASKS,
    ),
    handlers={
        JobDiscovered: _discovered,
        JobChanged: _changed,
        JobSchemaChanged: _schema_changed,
        AnnotationsObserved: _observed,
        JobSettled: _settled,
        ActorLearned: _learned,
        JobUnreachable: _unreachable,
        JobUnreadable: _unreadable,
        JobReadable: _readable,
        JobDeleted: _deleted,
        JobReplaced: _replaced,
        FramesDeleted: _frames_deleted,
        TaskChanged: _task_changed,
        TaskDeleted: _task_deleted,
        DeliveryReceived: _delivery,
        DeliveriesFilled: _filled,
        DeliveryRefused: _refused,
        SweepCompleted: _swept,
        ServerChanged: _server_changed,
        ServerThawed: _server_thawed,
    },
    ignores=frozenset(
        (
            *dataset.FACTS,
            *run.FACTS,
            *log.FACTS,
            IssueOpened,
            IssueCommented,
            IssueResolved,
            IssueRemoved,
            RowUnreadable,
            RowReadable,
        )
    ),
)
