"""How jobs, tasks and servers follow from events."""

from __future__ import annotations

import msgspec

from events import dataset, log, run
from events.envelope import Recorded
from events.job import (
    ActorLearned,
    AnnotationsObserved,
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
from projections import deliveries, observed
from projections.deliveries import server_at
from projections.fold import Fold
from projections.jobs import (
    ANNOTATIONS,
    AUTHORS,
    DELIVERIES,
    HOOKS,
    JOBS,
    LATE,
    NAMELESS,
    REMOVED,
    SERVERS,
    SOURCES,
    STEPS,
    TASKS,
    JobRow,
    TaskRow,
    job_of,
    update_job,
)
from projections.tables import Tables


def _discovered(tables: Tables, at: Recorded, fact: JobDiscovered) -> None:
    server, job = job_of(at.stream)
    tables.put(JOBS, JobRow(server=server, job=job, **msgspec.structs.asdict(fact)))


def _changed(tables: Tables, at: Recorded, fact: JobChanged) -> None:
    known = {name: value for name, value in fact.new.items() if name in JobRow.__struct_fields__}
    update_job(tables, at, **known, changed_date=fact.updated_date)


def _unreachable(tables: Tables, at: Recorded, fact: JobUnreachable) -> None:
    update_job(tables, at, condition="unreachable", reason=fact.reason or f"HTTP {fact.status}")


def _unreadable(tables: Tables, at: Recorded, fact: JobUnreadable) -> None:
    update_job(tables, at, condition="unreadable", reason=fact.reason or f"HTTP {fact.status}")


def _readable(tables: Tables, at: Recorded, fact: JobReadable) -> None:
    update_job(tables, at, condition="", reason="")


def _deleted(tables: Tables, at: Recorded, fact: JobDeleted) -> None:
    update_job(tables, at, condition="deleted", reason="")


def _replaced(tables: Tables, at: Recorded, fact: JobReplaced) -> None:
    reason = f"another job goes by this id, made {fact.new}"
    update_job(tables, at, condition="replaced", reason=reason)


def _task(tables: Tables, at: Recorded) -> TaskRow:
    _, server, number = at.stream.split("/")
    return tables.get(TASKS, server, int(number)) or TaskRow(server=server, task=int(number))


def _frames_deleted(tables: Tables, at: Recorded, fact: FramesDeleted) -> None:
    tables.put(TASKS, msgspec.structs.replace(_task(tables, at), deleted_frames=fact.new))


def _task_deleted(tables: Tables, at: Recorded, fact: TaskDeleted) -> None:
    tables.put(TASKS, msgspec.structs.replace(_task(tables, at), gone=True))


def _server_changed(tables: Tables, at: Recorded, fact: ServerChanged) -> None:
    row = server_at(tables, at)
    tables.put(SERVERS, msgspec.structs.replace(row, frozen=fact.reason))
    for job in list(tables.scan(JOBS, row.server)):
        if job.condition != "replaced":
            tables.put(JOBS, msgspec.structs.replace(job, condition="frozen", reason=fact.reason))


def _server_thawed(tables: Tables, at: Recorded, fact: ServerThawed) -> None:
    row = server_at(tables, at)
    tables.put(SERVERS, msgspec.structs.replace(row, frozen=""))
    for job in list(tables.scan(JOBS, row.server)):
        if job.condition == "frozen":
            tables.put(JOBS, msgspec.structs.replace(job, condition="thawed", reason=""))
    for task in list(tables.scan(TASKS, row.server)):
        tables.put(TASKS, msgspec.structs.replace(task, created_date=""))


def _task_changed(tables: Tables, at: Recorded, fact: TaskChanged) -> None:
    known = {name: value for name, value in fact.new.items() if name in TaskRow.__struct_fields__}
    tables.put(TASKS, msgspec.structs.replace(_task(tables, at), gone=False, **known))


JOBS_FOLD = Fold(
    name="jobs",
    revision=12,
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
        JobSchemaChanged: observed.schema_changed,
        AnnotationsObserved: observed.observed,
        JobSettled: observed.settled,
        ActorLearned: observed.learned,
        JobUnreachable: _unreachable,
        JobUnreadable: _unreadable,
        JobReadable: _readable,
        JobDeleted: _deleted,
        JobReplaced: _replaced,
        FramesDeleted: _frames_deleted,
        TaskChanged: _task_changed,
        TaskDeleted: _task_deleted,
        DeliveryReceived: deliveries.delivery,
        DeliveriesFilled: deliveries.filled,
        DeliveryRefused: deliveries.refused,
        SweepCompleted: deliveries.swept,
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
