"""Annotation runs: their tasks and jobs, what each label was agreed to be, and what waits."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from events import dataset, job, log, server
from events.annotations import Annotation, Kind, LabelSpec, kind_of
from events.envelope import Recorded
from events.job import JobSchemaChanged
from events.run import (
    CleanupIntended,
    ConflictRaised,
    ConflictResolved,
    EditRejected,
    FieldSchema,
    JobRange,
    LabelEdit,
    LabelQuarantined,
    LabelsLinked,
    LabelsMerged,
    LabelsUploaded,
    MediaUploaded,
    MergeHeld,
    MergeReleased,
    Part,
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
from projections.codec.fiftyone import merged_facets
from projections.facets import Facets
from projections.fold import Fold
from projections.jobs import job_of
from projections.tables import Table, Tables

Waiting = Literal["conflict", "rejected", "quarantine", "held"]


class Address(NamedTuple):
    """Where a label of a known dataset is."""

    sample: str
    frame: int
    field: str
    label: str


class RunRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One annotation run. `request.tasks` is kept in RUN_TASKS.

    nonce  marks what the run creates on the server until it is complete
    """

    dataset: str
    key: str
    title: str
    nonce: str
    requested: int
    request: RunRequested
    labels: tuple[LabelSpec, ...] = ()
    names: dict[str, dict[str, str]] = {}
    project: int | None = None
    project_created: bool = False
    webhook: int | None = None
    opened: bool = False
    cleaning: bool = False
    cleaned_up: bool = False
    deleted: bool = False

    @property
    def stream(self) -> str:
        """The run's stream in the log."""
        return f"run/{self.dataset}/{self.key}"

    def field(self, name: str) -> FieldSchema:
        """Return a field of the run by its name."""
        return next(field for field in self.request.fields if field.name == name)


class RunTaskRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task of a run, planned or made. `jobs` is empty until the media is there."""

    dataset: str
    key: str
    index: int
    name: str
    samples: tuple[str, ...] = ()
    nonce: str = ""
    task: int | None = None
    created_date: str = ""
    jobs: tuple[JobRange, ...] = ()


class RunFrameRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose a frame of a task is, and its size in pixels."""

    dataset: str
    key: str
    index: int
    frame: int
    sample: str
    width_px: int
    height_px: int


class RunJobRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which run a job belongs to. `held` and `released` name the state of a tripwire by date."""

    server: str
    job: int
    dataset: str
    key: str
    index: int
    start_frame: int
    stop_frame: int
    intended: bool = False
    uploaded: bool = False
    held: str = ""
    released: str = ""
    choice: str = ""


class TrackedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One label in one run: both values of the merge, in CVAT's terms.

    agreed   facet → value both sides hold, the base of the merge
    seen     facet → value observed last; nothing is raised twice for it
    digests  facet → digest of the dataset's members when they were agreed on
    origins  facet → position of the observation that it stems from, where the annotation's own
             history does not reach back so far (`Link`)
    removed  the document that was merged away, so that an undo in CVAT brings it back whole
    """

    dataset: str
    key: str
    sample: str
    frame: int
    field: str
    label: str
    job: int
    parts: tuple[Part, ...] = ()
    agreed: dict[str, Any] = {}
    seen: dict[str, Any] = {}
    digests: dict[str, str] = {}
    origins: dict[str, int] = {}
    removed: dict[str, Any] | None = None

    @property
    def address(self) -> Address:
        """Where the label is in its dataset."""
        return Address(self.sample, self.frame, self.field, self.label)


class TrackedIdRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where in a run a bare label id is tracked; a copied dataset may hold it twice."""

    dataset: str
    key: str
    label: str
    sample: str
    frame: int
    field: str

    @property
    def address(self) -> Address:
        """Where the label is in its dataset."""
        return Address(self.sample, self.frame, self.field, self.label)


class PartRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which label an annotation stands for."""

    server: str
    job: int
    kind: Kind
    id: int
    dataset: str
    key: str
    sample: str
    frame: int
    field: str
    label: str
    part: int = 0

    @property
    def address(self) -> Address:
        """Where the label is in its dataset."""
        return Address(self.sample, self.frame, self.field, self.label)


class WaitingRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of `pending`: a conflict, a rejected edit, a quarantined or held one."""

    dataset: str
    key: str
    sample: str
    frame: int
    field: str
    label: str
    id: str
    what: Waiting
    job: int
    position: int
    reason: str = ""
    edit: LabelEdit | None = None
    current: dict[str, Any] | None = None
    annotation: Annotation | None = None
    settled: bool = False


class UnsentRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A label of the selection that was not sent, and why."""

    dataset: str
    key: str
    sample: str
    frame: int
    field: str
    label: str
    reason: str


_LABEL = ("dataset", "key", "sample", "frame", "field", "label")
RUNS = Table("runs", ("dataset", "key"), RunRow)
RUN_TASKS = Table("run_tasks", ("dataset", "key", "index"), RunTaskRow)
RUN_FRAMES = Table("run_frames", ("dataset", "key", "index", "frame"), RunFrameRow)
RUN_JOBS = Table("run_jobs", ("server", "job"), RunJobRow)
TRACKED = Table("tracked", _LABEL, TrackedRow)
TRACKED_IDS = Table(
    "tracked_ids", ("dataset", "key", "label", "sample", "frame", "field"), TrackedIdRow
)
PARTS = Table("parts", ("server", "job", "kind", "id"), PartRow)
WAITING = Table("waiting", (*_LABEL, "id"), WaitingRow)
UNSENT = Table("unsent", _LABEL, UnsentRow)


def run_of(stream: str) -> tuple[str, str]:
    """Return (dataset, key) of a `run/<dataset>/<key>` stream."""
    _, rest = stream.split("/", 1)
    name, key = rest.rsplit("/", 1)
    return name, key


def find_waiting(tables: Tables, dataset: str, key: str, id: str) -> WaitingRow | None:
    """Return the entry of `pending` with this id, None where there is none."""
    return next((row for row in tables.scan(WAITING, dataset, key) if row.id == id), None)


# The run itself


def _run(tables: Tables, at: Recorded) -> RunRow:
    row = tables.get(RUNS, *run_of(at.stream))
    assert row is not None, f"{at.stream} has no RunRequested"
    return row


def _set(tables: Tables, at: Recorded, **members: object) -> None:
    tables.put(RUNS, msgspec.structs.replace(_run(tables, at), **members))


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
                server=_run(tables, at).request.server,
                dataset=name,
                key=key,
                index=fact.index,
                **msgspec.structs.asdict(span),
            ),
        )


def _job_set(tables: Tables, at: Recorded, number: int, **members: object) -> None:
    row = tables.get(RUN_JOBS, _run(tables, at).request.server, number)
    assert row is not None, f"{at.stream} has no job {number}"
    tables.put(RUN_JOBS, msgspec.structs.replace(row, **members))


def _write_intended(tables: Tables, at: Recorded, fact: WriteIntended) -> None:
    _job_set(tables, at, fact.job, intended=True)


def _uploaded(tables: Tables, at: Recorded, fact: LabelsUploaded) -> None:
    run = _run(tables, at)
    for sent in fact.labels:
        address = Address(sent.sample, sent.frame, sent.field, sent.label)
        facets = merged_facets(sent.annotation, run.field(sent.field))
        part = Part(kind=kind_of(sent.annotation), id=sent.annotation.id, part=sent.part)
        _track(
            tables,
            TrackedRow(
                dataset=run.dataset,
                key=run.key,
                **address._asdict(),
                job=fact.job,
                agreed=facets,
                seen=facets,
                digests=sent.digests,
            ),
        )
        _relink(tables, run, fact.job, address, (part,))
    for label in fact.unsent:
        tables.put(
            UNSENT,
            UnsentRow(dataset=run.dataset, key=run.key, **msgspec.structs.asdict(label)),
        )
    _job_set(tables, at, fact.job, uploaded=True)


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


# Its labels


def _track(tables: Tables, row: TrackedRow) -> None:
    tables.put(TRACKED, row)
    tables.put(
        TRACKED_IDS,
        TrackedIdRow(
            dataset=row.dataset,
            key=row.key,
            label=row.label,
            sample=row.sample,
            frame=row.frame,
            field=row.field,
        ),
    )


def _relink(
    tables: Tables,
    run: RunRow,
    number: int,
    address: Address,
    parts: tuple[Part, ...],
    origins: dict[str, int] | None = None,
) -> None:
    """Let a label stand for these annotations, and for no others."""
    row = tables.get(TRACKED, run.dataset, run.key, *address)
    assert row is not None, f"{run.stream} does not track {address}"
    server_name = run.request.server
    for part in row.parts:
        held = tables.get(PARTS, server_name, row.job, part.kind, part.id)
        if held is not None and held.address == address:
            tables.delete(PARTS, server_name, row.job, part.kind, part.id)
    linked = msgspec.structs.replace(row, job=number, parts=parts, origins=origins or {})
    tables.put(TRACKED, linked)
    for part in parts:
        tables.put(
            PARTS,
            PartRow(
                server=server_name,
                job=number,
                kind=part.kind,
                id=part.id,
                dataset=run.dataset,
                key=run.key,
                **address._asdict(),
                part=part.part,
            ),
        )


def _linked(tables: Tables, at: Recorded, fact: LabelsLinked) -> None:
    run = _run(tables, at)
    for link in fact.links:
        address = Address(link.sample, link.frame, link.field, link.label)
        if tables.get(TRACKED, run.dataset, run.key, *address) is None:
            _track(
                tables,
                TrackedRow(dataset=run.dataset, key=run.key, **address._asdict(), job=fact.job),
            )
        _relink(tables, run, fact.job, address, link.parts, link.origins)


def _merged(tables: Tables, at: Recorded, fact: LabelsMerged) -> None:
    for edit in fact.edits:
        _agree(tables, _run(tables, at), edit, edit.digests)


def _agree(tables: Tables, run: RunRow, edit: LabelEdit, digests: dict[str, str]) -> None:
    address, facets = _address(edit), edit.facets
    row = tables.get(TRACKED, run.dataset, run.key, *address)
    assert row is not None, f"{run.stream} does not track {address}"
    tables.put(
        TRACKED,
        msgspec.structs.replace(
            row,
            agreed=row.agreed | facets,
            seen=row.seen | facets,
            digests=row.digests | digests,
            removed=edit.old if edit.operation == "removed" else None,
        ),
    )
    _close(tables, run, address, facets)


def _see(tables: Tables, run: RunRow, edit: LabelEdit) -> None:
    """Note what was seen, so that it is not raised again; the agreed values stay."""
    row = tables.get(TRACKED, run.dataset, run.key, *_address(edit))
    if row is None:
        return
    seen = msgspec.structs.replace(row, seen=row.seen | edit.facets)
    tables.put(TRACKED, seen)
    _close(tables, run, _address(edit), edit.facets)


def _close(tables: Tables, run: RunRow, address: Address, facets: Facets) -> None:
    """Take away what waited for a decision on these facets."""
    for row in list(tables.scan(WAITING, run.dataset, run.key, *address)):
        if row.edit is not None and row.edit.facets.keys() <= facets.keys():
            tables.delete(WAITING, run.dataset, run.key, *address, row.id)


def _address(edit: LabelEdit) -> Address:
    return Address(edit.sample, edit.frame, edit.field, edit.label)


def _rejected(tables: Tables, at: Recorded, fact: EditRejected) -> None:
    run = _run(tables, at)
    for number, edit in enumerate(fact.edits):
        _see(tables, run, edit)
        tables.put(
            WAITING,
            WaitingRow(
                dataset=run.dataset,
                key=run.key,
                **_address(edit)._asdict(),
                id=f"r{at.position}.{number}",
                what="rejected",
                job=fact.job,
                position=at.position,
                reason=fact.restriction,
                edit=edit,
            ),
        )


def _conflict(tables: Tables, at: Recorded, fact: ConflictRaised) -> None:
    run = _run(tables, at)
    for conflict in fact.conflicts:
        _see(tables, run, conflict.edit)
        tables.put(
            WAITING,
            WaitingRow(
                dataset=run.dataset,
                key=run.key,
                **_address(conflict.edit)._asdict(),
                id=conflict.id,
                what="conflict",
                job=fact.job,
                position=at.position,
                edit=conflict.edit,
                current=conflict.dataset,
            ),
        )


def _resolved(tables: Tables, at: Recorded, fact: ConflictResolved) -> None:
    run = _run(tables, at)
    row = find_waiting(tables, run.dataset, run.key, fact.id)
    assert row is not None, f"{at.stream} has no conflict {fact.id}"
    assert row.edit is not None
    tables.delete(WAITING, *WAITING.key_of(row))
    _agree(tables, run, row.edit, fact.digests)


def _quarantined(tables: Tables, at: Recorded, fact: LabelQuarantined) -> None:
    run = _run(tables, at)
    tables.put(
        WAITING,
        WaitingRow(
            dataset=run.dataset,
            key=run.key,
            sample="",
            frame=0,
            field="",
            label="",
            id=fact.id,
            what="quarantine",
            job=fact.job,
            position=at.position,
            reason=fact.reason,
            annotation=fact.annotation,
        ),
    )


def _quarantine_resolved(tables: Tables, at: Recorded, fact: QuarantineResolved) -> None:
    run = _run(tables, at)
    row = tables.get(WAITING, run.dataset, run.key, "", 0, "", "", fact.id)
    assert row is not None, f"{at.stream} has no quarantine {fact.id}"
    tables.put(WAITING, msgspec.structs.replace(row, settled=True))


def _held(tables: Tables, at: Recorded, fact: MergeHeld) -> None:
    run = _run(tables, at)
    _job_set(tables, at, fact.job, held=fact.updated_date)
    tables.put(
        WAITING,
        WaitingRow(
            dataset=run.dataset,
            key=run.key,
            sample="",
            frame=0,
            field="",
            label="",
            id=fact.id,
            what="held",
            job=fact.job,
            position=at.position,
            reason=f"{fact.deleted} deleted and {fact.relabelled} relabelled of {fact.labels}",
        ),
    )


def _released(tables: Tables, at: Recorded, fact: MergeReleased) -> None:
    run = _run(tables, at)
    _job_set(tables, at, fact.job, held="", released=fact.updated_date, choice=fact.choice)
    tables.delete(WAITING, run.dataset, run.key, "", 0, "", "", fact.id)


def _schema_changed(tables: Tables, at: Recorded, fact: JobSchemaChanged) -> None:
    """Follow what a changed schema does by itself, so that it is not taken for an edit."""
    server_name, number = job_of(at.stream)
    for change in fact.carried:
        part = tables.get(PARTS, server_name, number, change.kind, change.id)
        row = part and tables.get(TRACKED, part.dataset, part.key, *part.address)
        if row:
            agreed = _carried(row.agreed, change.old, change.new)
            seen = _carried(row.seen, change.old, change.new)
            tables.put(TRACKED, msgspec.structs.replace(row, agreed=agreed, seen=seen))


def _carried(facets: Facets, old: Facets, new: Facets) -> Facets:
    return {
        name: new.get(name) if name in old and old[name] == value else value
        for name, value in facets.items()
    }


RUNS_FOLD = Fold(
    name="runs",
    revision=4,
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
        LabelsUploaded: _uploaded,
        RunOpened: _opened,
        LabelsLinked: _linked,
        LabelsMerged: _merged,
        EditRejected: _rejected,
        LabelQuarantined: _quarantined,
        QuarantineResolved: _quarantine_resolved,
        ConflictRaised: _conflict,
        ConflictResolved: _resolved,
        MergeHeld: _held,
        MergeReleased: _released,
        RunRenamed: _renamed,
        CleanupIntended: _cleanup_intended,
        RunCleanedUp: _cleaned_up,
        RunDeleted: _deleted,
        JobSchemaChanged: _schema_changed,
    },
    ignores=frozenset({
        *dataset.FACTS, *server.FACTS, *log.FACTS,
        *(fact for fact in job.FACTS if fact is not JobSchemaChanged)
    }),
)  # fmt: skip
