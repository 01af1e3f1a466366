"""The rows that the sandbox keeps, named as CVAT names its tables.

Dates are microseconds since 1970 UTC. Annotations are kept as the plain dicts
of CVAT's REST documents (`LabeledData` of its OpenAPI schema).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = Any
Annotation: TypeAlias = dict[str, Any]

KINDS = ("tags", "shapes", "tracks")


@dataclass(slots=True)
class User:
    """Somebody who can log in."""

    id: int
    username: str
    password: str
    key: str
    session: str
    is_admin: bool
    date_joined: int
    last_login: int | None = None
    first_name: str = ""
    last_name: str = ""

    @property
    def email(self) -> str:
        return f"{self.username}@example.com"


@dataclass(slots=True)
class AccessToken:
    """A personal token, for `Authorization: Bearer` (2.73)."""

    id: int
    name: str
    owner: int
    value: str
    read_only: bool
    expiry: str | None
    created: int
    updated: int
    last_used: int | None = None


@dataclass(slots=True)
class Organization:
    """A group of users that owns projects and tasks."""

    id: int
    slug: str
    name: str
    description: str
    contact: Json
    owner: int
    created: int
    updated: int
    members: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Spec:
    """One attribute of a label."""

    id: int
    name: str
    mutable: bool
    input_type: str
    default_value: str
    values: list[str]


@dataclass(slots=True)
class Label:
    """A class, of a project or of a task; a skeleton's label has sublabels."""

    id: int
    name: str
    color: str
    type: str
    project: int | None
    task: int | None
    parent: int | None = None
    specs: dict[int, Spec] = field(default_factory=dict)
    svg: str | None = None


@dataclass(slots=True)
class Project:
    """A set of tasks with the same labels."""

    id: int
    name: str
    owner: int
    assignee: int | None
    bug_tracker: str
    organization: int | None
    created: int
    updated: int
    assignee_updated: int | None = None


@dataclass(slots=True)
class Frame:
    """One image, or all images of one video."""

    name: str
    width: int
    height: int


@dataclass(slots=True)
class Data:
    """The media of a task. `files` are in frame order for images."""

    id: int
    image_quality: int = 50
    chunk_size: int | None = None
    size: int = 0
    start_frame: int = 0
    stop_frame: int = 0
    frame_filter: str = ""
    is_video: bool = False
    compressed_as: str = "imageset"
    frames: list[Frame] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    deleted_frames: set[int] = field(default_factory=set)
    ready: bool = False

    @property
    def step(self) -> int:
        """Return how many frames of the source lie between two of the task."""
        return int(self.frame_filter.partition("=")[2] or 1)


@dataclass(slots=True)
class Upload:
    """Files on their way into a task; `partial` are tus uploads by their id."""

    files: dict[str, bytes] = field(default_factory=dict)
    partial: dict[str, tuple[str, int, bytearray]] = field(default_factory=dict)


@dataclass(slots=True)
class Task:
    """Media that is to be annotated, cut into jobs."""

    id: int
    name: str
    project: int | None
    owner: int
    assignee: int | None
    bug_tracker: str
    subset: str
    overlap: int | None
    segment_size: int
    organization: int | None
    created: int
    updated: int
    mode: str = ""
    status: str = "annotation"
    data: Data | None = None
    creation: tuple[str, str] = ("Finished", "")
    upload: Upload = field(default_factory=Upload)
    assignee_updated: int | None = None
    # 2.73: how many more people annotate each job, every one in a job of his own.
    consensus_replicas: int = 0
    # The request of the media's upload: when it was made, begun and ended.
    requested: int = 0
    begun: int | None = None
    ended: int | None = None


@dataclass(slots=True)
class Job:
    """A range of a task's frames with its annotations, each by its id."""

    id: int
    task: int
    start_frame: int
    stop_frame: int
    created: int
    updated: int
    assignee: int | None = None
    stage: str = "annotation"
    state: str = "new"
    status: str = "annotation"
    tags: dict[int, Annotation] = field(default_factory=dict)
    shapes: dict[int, Annotation] = field(default_factory=dict)
    tracks: dict[int, Annotation] = field(default_factory=dict)
    writes: int = 0
    assignee_updated: int | None = None
    chunks_updated: int = 0
    # A replica's first job (2.73): both are of the same frames.
    parent: int | None = None

    @property
    def type(self) -> str:
        return "annotation" if self.parent is None else "consensus_replica"

    def table(self, kind: str) -> dict[int, Annotation]:
        """Return the annotations of one kind: tags, shapes or tracks."""
        tables = {"tags": self.tags, "shapes": self.shapes, "tracks": self.tracks}
        return tables[kind]


@dataclass(slots=True)
class Issue:
    """A remark of a reviewer on a place in a frame."""

    id: int
    job: int
    frame: int
    position: list[float]
    owner: int
    assignee: int | None
    created: int
    updated: int
    resolved: bool = False


@dataclass(slots=True)
class Comment:
    """One message under an issue."""

    id: int
    issue: int
    owner: int
    message: str
    created: int
    updated: int


@dataclass(slots=True)
class Webhook:
    """Who wants to be told about which events."""

    id: int
    target_url: str
    description: str
    type: str
    secret: str
    is_active: bool
    enable_ssl: bool
    owner: int
    project: int | None
    organization: int | None
    events: list[str]
    created: int
    updated: int


@dataclass(slots=True)
class Delivery:
    """One attempt to tell a webhook about an event."""

    id: int
    webhook: int
    event: str
    request: Json
    redelivery: bool
    created: int
    updated: int
    status_code: int | None = None
    changed_fields: str = ""
    response: str = ""
    attempt: int = 1
    duration_ms: int = 0
