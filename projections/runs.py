"""Annotation runs: their tasks and jobs, what each label was agreed to be, and what waits."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from events.annotations import Annotation, Kind, LabelSpec
from events.run import (
    FieldSchema,
    JobRange,
    LabelEdit,
    Part,
    RunRequested,
)
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
    origins  facet → positions of the observations that it may stem from, where the annotation's own
             history does not reach back so far (`Link`)
    linked   position of the event that `parts` and `origins` are from
    gone     position of the event that told that it is gone from the server, 0 while it is there
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
    origins: dict[str, tuple[int, ...]] = {}
    linked: int = 0
    gone: int = 0
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
