"""Facts of a `run/<dataset>/<key>` stream: one annotation run, and every decision taken for it."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.annotations import Annotation, AttributeSpec, Kind, LabelSpec
from events.dataset import Document
from events.registry import Fact, event

LabelType = Literal[
    "detections", "instances", "polylines", "polygons", "keypoints", "segmentation",
    "classification", "classifications", "scalar",
]  # fmt: skip
ValueType = Literal["bool", "int", "float", "str"]
Policy = Literal["manual", "on-save", "on-job-completed"]
LinkMethod = Literal["label_id", "cvat id", "exact geometry", "assignment", "new"]


class FieldSchema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one label field asks of annotators, and what they may do to it (FiftyOne's words).

    value_types  attribute → what its text stands for in the dataset
    read_only    attributes whose edits are not taken over
    """

    name: str
    type: LabelType
    existing: bool = False
    classes: tuple[str, ...]
    attributes: tuple[AttributeSpec, ...] = ()
    value_types: dict[str, ValueType] = {}
    read_only: tuple[str, ...] = ()
    allow_additions: bool = True
    allow_deletions: bool = True
    allow_label_edits: bool = True
    allow_index_edits: bool = True
    allow_spatial_edits: bool = True


class Tripwire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one settled save may delete or relabel before a person is asked."""

    share: float = 0.2
    labels_min: int = 50


class TaskPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task of a run: its name and its samples, in frame order."""

    name: str
    samples: tuple[str, ...]


class Frame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One frame of a task: whose it is, and its size in pixels as CVAT says it."""

    sample: str
    name: str
    width_px: int
    height_px: int


class JobRange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job of a task and its frames, both ends included, relative to the task."""

    job: int
    start_frame: int
    stop_frame: int


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One CVAT annotation that stands for (a part of) a label."""

    kind: Kind
    id: int
    part: int = 0


class Uploaded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One label that now has an annotation on the server.

    annotation  what the server holds: as sent, with text trimmed and defaults filled in
    digests     facet → digest of the dataset's members that the facet was made from
    """

    sample: str
    frame: int = 0
    field: str
    label: str
    part: int = 0
    annotation: Annotation
    digests: dict[str, str] = {}


class Unsent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A label that stays in the dataset and cannot be sent, and why."""

    sample: str
    frame: int = 0
    field: str
    label: str
    reason: str


class Link(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which label an annotation stands for, by which method, and how sure (0 to 1).

    origins  facet → position of the observation that gave it its value, where that was under an
             earlier annotation id; several where any of them may have, with 0 where none may
    """

    sample: str
    frame: int = 0
    field: str
    label: str
    parts: tuple[Part, ...]
    method: LinkMethod
    confidence: float = 1.0
    copied_from: str | None = None
    origins: dict[str, tuple[int, ...]] = {}


class LabelEdit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What CVAT did to one label: in CVAT's terms (facets) and in FiftyOne's (members).

    operation  "added", "changed" or "removed"
    facets     facet → value now seen on the server; "exists" tells whether it is there at all
    old, new   as in `LabelChange`
    digests    facet → digest of the dataset's members after this edit is merged
    """

    sample: str
    frame: int = 0
    field: str
    label: str
    operation: Literal["added", "changed", "removed"]
    facets: dict[str, object] = {}
    old: Document | None = None
    new: Document | None = None
    digests: dict[str, str] = {}


class Conflict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """CVAT's edit beside what the dataset holds now; the dataset's value stays."""

    id: str
    edit: LabelEdit
    dataset: Document | None = None


@event("RunRequested")
class RunRequested(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Everything the run needs from a person or a file: replay never reads the configuration."""

    server: str
    fields: tuple[FieldSchema, ...]
    tasks: tuple[TaskPlan, ...]
    media_type: str = "image"
    policy: Policy = "manual"
    segment_size: int | None = None
    image_quality: int = 75
    project: str | None = None
    hooked: bool = True
    tripwire: Tripwire = Tripwire()


@event("SchemaCompiled")
class SchemaCompiled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The labels asked of CVAT. `names`: field → class → CVAT label name."""

    labels: tuple[LabelSpec, ...]
    names: dict[str, dict[str, str]]


@event("ProjectLinked")
class ProjectLinked(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The project whose tasks the run's are; `created` when it is the run's own."""

    project: int
    name: str
    created: bool = False
    webhook: int | None = None


@event("TaskCreationIntended")
class TaskCreationIntended(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A task is about to be asked for; `nonce` is its subset until it is complete."""

    index: int
    nonce: str


@event("TaskCreated")
class TaskCreated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The server has the task (just made, or found by its nonce)."""

    index: int
    task: int
    created_date: str = ""


@event("MediaUploaded")
class MediaUploaded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The task has all its frames and its jobs."""

    index: int
    task: int
    frames: tuple[Frame, ...]
    jobs: tuple[JobRange, ...]


@event("WriteIntended")
class WriteIntended(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Annotations are about to be written to a job; until WriteDone their fate is unknown."""

    job: int
    action: Literal["create", "update", "delete"]
    labels: int


@event("LabelsUploaded")
class LabelsUploaded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Labels of the dataset that the job holds now, and those that could not be sent."""

    job: int
    labels: tuple[Uploaded, ...] = ()
    unsent: tuple[Unsent, ...] = ()


@event("RunOpened")
class RunOpened(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """All tasks are complete: annotators may begin, edits are followed."""


@event("LabelsLinked")
class LabelsLinked(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Identity, decided once and recorded: replay does not decide again."""

    job: int
    links: tuple[Link, ...]


@event("LabelsMerged")
class LabelsMerged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What CVAT changed and the dataset did not is now the dataset's."""

    job: int
    edits: tuple[LabelEdit, ...]


@event("EditRejected")
class EditRejected(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Edits that a restriction of the run forbids; the dataset keeps its values."""

    job: int
    restriction: str
    edits: tuple[LabelEdit, ...]


@event("LabelQuarantined")
class LabelQuarantined(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An annotation that fits no field of the run; it waits for a decision."""

    job: int
    id: str
    annotation: Annotation
    reason: str


@event("QuarantineResolved")
class QuarantineResolved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A person has seen the quarantined annotation and lets it be."""

    id: str


@event("ConflictRaised")
class ConflictRaised(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Both sides changed the same facets; the dataset's value stays until somebody decides."""

    job: int
    conflicts: tuple[Conflict, ...]


@event("ConflictResolved")
class ConflictResolved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A person chose. `edit` is what the dataset takes over, None: its own value stays.

    digests  facet → digest of the dataset's members as they are from now on
    """

    id: str
    choice: Literal["cvat", "dataset"]
    edit: LabelEdit | None = None
    digests: dict[str, str] = {}


@event("MergeHeld")
class MergeHeld(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A tripwire: one settled save deletes or relabels more than the run allows unasked."""

    job: int
    id: str
    updated_date: str
    labels: int
    deleted: int = 0
    relabelled: int = 0


@event("MergeReleased")
class MergeReleased(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A person decided on a held merge: take it, or keep the dataset's labels."""

    job: int
    id: str
    updated_date: str
    choice: Literal["cvat", "dataset"]


@event("RunRenamed")
class RunRenamed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The run goes by another key from now on; its stream keeps its name."""

    key: str


@event("CleanupIntended")
class CleanupIntended(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The run's tasks are about to be deleted from the server; until RunCleanedUp some may be left.

    tasks    those that the run made, and no others
    project  the run's own, to be deleted if it is empty then; None: it stays
    """

    tasks: tuple[int, ...]
    project: int | None = None


@event("RunCleanedUp")
class RunCleanedUp(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The run's tasks (and its own project) were deleted from the server."""

    tasks: tuple[int, ...]
    project: int | None = None


@event("RunDeleted")
class RunDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The run's record is closed; labels and server stay as they are."""


FACTS = (
    RunRequested,
    SchemaCompiled,
    ProjectLinked,
    TaskCreationIntended,
    TaskCreated,
    MediaUploaded,
    WriteIntended,
    LabelsUploaded,
    RunOpened,
    LabelsLinked,
    LabelsMerged,
    EditRejected,
    LabelQuarantined,
    QuarantineResolved,
    ConflictRaised,
    ConflictResolved,
    MergeHeld,
    MergeReleased,
    RunRenamed,
    CleanupIntended,
    RunCleanedUp,
    RunDeleted,
)
