"""The jobs as last observed: members, schema, annotations, and who touched which facet last."""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import Final, Literal

import msgspec

from events.annotations import Annotation, Kind, LabelSpec
from events.envelope import Evidence, Recorded
from projections.attribution import Step
from projections.facets import NO_EDIT, UNTOUCHED, Edit, annotation_of
from projections.tables import Table, Tables

STREAMS_KEPT_MAX: Final = 1_000

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
    nameless_us  no observation without an author ends later than this
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
    nameless_us: int = 0
    condition: Condition = ""
    reason: str = ""


class AnnotationRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One annotation as last observed.

    One is made for each label that changes, so its members may be given by place: names cost time,
    and so does each object that it holds. What it looks like is put together when somebody asks:
    most rows are replaced before.

    spelled  how it looked when it appeared, in canonical bytes
    added    position of the event that it appeared with
    changed, facet, value  the last edit, as in `Edit`; facet "": there was none
    earlier  the last edits of other facets
    """

    server: str
    job: int
    kind: Kind
    id: int
    spelled: msgspec.Raw
    added: int
    changed: int = NO_EDIT[0]
    facet: str = NO_EDIT[1]
    value: msgspec.Raw = NO_EDIT[2]
    earlier: tuple[Edit, ...] = ()

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The last edit of each facet that was edited."""
        return (*self.earlier, (self.changed, self.facet, self.value)) if self.facet else ()

    @property
    def annotation(self) -> Annotation:
        """What it looks like, made anew with each call."""
        return annotation_of(self.spelled, self.edits)

    @property
    def touched(self) -> dict[str, int]:
        """Facet → position of the event that changed it last, where one did."""
        return {name: position for position, name, _ in self.edits if position != UNTOUCHED}


class RemovedRow(AnnotationRow, frozen=True, omit_defaults=True, gc=False):
    """An annotation that is gone: as it was last, and the position where it was removed."""

    position: int = 0
    by_schema: bool = False


class AuthorRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Who made what one observation recorded; `learned` from a delivery that came later."""

    server: str
    job: int
    position: int
    since_us: int
    until_us: int
    actor: str | None = None
    evidence: Evidence = "unknown"
    learned: tuple[str, ...] = ()


class NamelessRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
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


def job_at(tables: Tables, at: Recorded) -> JobRow:
    """Return the job that an event is of."""
    row = tables.get(JOBS, *job_of(at.stream))
    assert row is not None, f"{at.stream} has no JobDiscovered"
    return row


def update_job(tables: Tables, at: Recorded, **members: object) -> None:
    """Change members of the job that an event is of."""
    tables.put(JOBS, msgspec.structs.replace(job_at(tables, at), **members))


def source_of(tables: Tables, server: str, project: int | None) -> SourceRow:
    """Return what came of a project so far."""
    known = tables.get(SOURCES, server, project or 0)
    return known or SourceRow(server=server, project=project or 0)
