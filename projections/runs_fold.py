"""What events mean for a run itself: its project, tasks, media and jobs; and the fold of it all."""

from __future__ import annotations

import msgspec

from events import dataset, job, log, server
from events.envelope import Recorded
from events.job import JobSchemaChanged
from events.run import (
    CleanupIntended,
    ConflictRaised,
    ConflictResolved,
    EditRejected,
    LabelQuarantined,
    LabelsLinked,
    LabelsMerged,
    LabelsUploaded,
    MediaUploaded,
    MergeHeld,
    MergeReleased,
    ProjectLinked,
    QuarantineResolved,
    RunCleanedUp,
    RunDeleted,
    RunOpened,
    RunRenamed,
    RunRequested,
    SchemaCompiled,
    TaskCreated,
    TaskCreationIntended,
    WriteIntended,
)
from projections import run_labels
from projections.fold import Fold
from projections.run_labels import run_at, set_job
from projections.runs import (
    PARTS,
    RUN_FRAMES,
    RUN_JOBS,
    RUN_TASKS,
    RUNS,
    TRACKED,
    TRACKED_IDS,
    UNSENT,
    WAITING,
    RunFrameRow,
    RunJobRow,
    RunRow,
    RunTaskRow,
    run_of,
)
from projections.tables import Tables


def _set(tables: Tables, at: Recorded, **members: object) -> None:
    tables.put(RUNS, msgspec.structs.replace(run_at(tables, at), **members))


def _requested(tables: Tables, at: Recorded, fact: RunRequested) -> None:
    name, key = run_of(at.stream)
    request = msgspec.structs.replace(fact, tasks=())
    row = RunRow(
        dataset=name,
        key=key,
        title=key,
        # The last bytes of a UUIDv7 are the random ones.
        nonce=at.id.hex()[-12:],
        requested=at.position,
        request=request,
    )
    tables.put(RUNS, row)
    for index, plan in enumerate(fact.tasks):
        task = RunTaskRow(dataset=name, key=key, index=index, name=plan.name, samples=plan.samples)
        tables.put(RUN_TASKS, task)


def _compiled(tables: Tables, at: Recorded, fact: SchemaCompiled) -> None:
    _set(tables, at, labels=fact.labels, names=fact.names)


def _project(tables: Tables, at: Recorded, fact: ProjectLinked) -> None:
    _set(tables, at, project=fact.project, project_created=fact.created, webhook=fact.webhook)


def _task_set(tables: Tables, at: Recorded, index: int, **members: object) -> None:
    row = tables.get(RUN_TASKS, *run_of(at.stream), index)
    assert row is not None, f"{at.stream} plans no task {index}"
    tables.put(RUN_TASKS, msgspec.structs.replace(row, **members))


def _task_intended(tables: Tables, at: Recorded, fact: TaskCreationIntended) -> None:
    # A second intent takes the place of the first: that task got no data and was deleted.
    _task_set(tables, at, fact.index, nonce=fact.nonce, task=None)


def _task_created(tables: Tables, at: Recorded, fact: TaskCreated) -> None:
    _task_set(tables, at, fact.index, task=fact.task, created_date=fact.created_date)


def _media(tables: Tables, at: Recorded, fact: MediaUploaded) -> None:
    name, key = run_of(at.stream)
    _task_set(tables, at, fact.index, jobs=fact.jobs)
    for number, frame in enumerate(fact.frames):
        tables.put(
            RUN_FRAMES,
            RunFrameRow(
                dataset=name,
                key=key,
                index=fact.index,
                frame=number,
                sample=frame.sample,
                width_px=frame.width_px,
                height_px=frame.height_px,
            ),
        )
    for span in fact.jobs:
        tables.put(
            RUN_JOBS,
            RunJobRow(
                server=run_at(tables, at).request.server,
                dataset=name,
                key=key,
                index=fact.index,
                **msgspec.structs.asdict(span),
            ),
        )


def _write_intended(tables: Tables, at: Recorded, fact: WriteIntended) -> None:
    set_job(tables, at, fact.job, intended=True)


def _opened(tables: Tables, at: Recorded, fact: RunOpened) -> None:
    _set(tables, at, opened=True)


def _renamed(tables: Tables, at: Recorded, fact: RunRenamed) -> None:
    _set(tables, at, title=fact.key)


def _cleanup_intended(tables: Tables, at: Recorded, fact: CleanupIntended) -> None:
    _set(tables, at, cleaning=True)


def _cleaned_up(tables: Tables, at: Recorded, fact: RunCleanedUp) -> None:
    _set(tables, at, cleaned_up=True)


def _deleted(tables: Tables, at: Recorded, fact: RunDeleted) -> None:
    _set(tables, at, deleted=True)


RUNS_FOLD = Fold(
    name="runs",
    revision=5,
    tables=(
        RUNS, RUN_TASKS, RUN_FRAMES, RUN_JOBS, TRACKED, TRACKED_IDS, PARTS, WAITING, UNSENT,
    ),
    handlers={
        RunRequested: _requested,
        SchemaCompiled: _compiled,
        ProjectLinked: _project,
        TaskCreationIntended: _task_intended,
        TaskCreated: _task_created,
        MediaUploaded: _media,
        WriteIntended: _write_intended,
        LabelsUploaded: run_labels.uploaded,
        RunOpened: _opened,
        LabelsLinked: run_labels.linked,
        LabelsMerged: run_labels.merged,
        EditRejected: run_labels.rejected,
        LabelQuarantined: run_labels.quarantined,
        QuarantineResolved: run_labels.quarantine_resolved,
        ConflictRaised: run_labels.conflict,
        ConflictResolved: run_labels.resolved,
        MergeHeld: run_labels.held,
        MergeReleased: run_labels.released,
        RunRenamed: _renamed,
        CleanupIntended: _cleanup_intended,
        RunCleanedUp: _cleaned_up,
        RunDeleted: _deleted,
        JobSchemaChanged: run_labels.schema_changed,
    },
    ignores=frozenset({
        *dataset.FACTS, *server.FACTS, *log.FACTS,
        *(fact for fact in job.FACTS if fact is not JobSchemaChanged)
    }),
)  # fmt: skip
