"""Facts of a `job/<server>/<id>` and of a `task/<server>/<id>` stream, in CVAT's terms."""

from __future__ import annotations

import msgspec

from events.annotations import Annotation, Kind, LabelSpec, Named
from events.registry import Fact, event, outline_of


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One annotation with other facets than before.

    old, new  facet → value, the changed facets only; an absent key is an absent facet
    """

    kind: Kind
    id: int
    frame: int
    old: dict[str, object] = {}
    new: dict[str, object] = {}


@event("JobDiscovered")
class JobDiscovered(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A job was seen for the first time. Dates are CVAT's own text."""

    task: int
    project: int | None = None
    type: str = "annotation"
    start_frame: int
    stop_frame: int
    created_date: str = ""
    stage: str = ""
    state: str = ""
    assignee: int | None = None


@event("JobChanged")
class JobChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Members of the job itself changed (stage, state, assignee, project, …), not its labels.

    updated_date  the job's, when that was seen
    """

    updated_date: str = ""
    old: dict[str, object] = {}
    new: dict[str, object] = {}


@event("JobSchemaChanged")
class JobSchemaChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The classes and attributes of the job are other ones than before; `labels` is all of them.

    carried  annotations that read differently by that alone (a renamed class, an attribute that
             now shows its default): no edit of anybody
    removed  annotations that went with a deleted class
    """

    labels: tuple[LabelSpec, ...]
    carried: tuple[Change, ...] = ()
    removed: tuple[Annotation, ...] = ()


@event("AnnotationsObserved")
class AnnotationsObserved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """One stable read of a job, as the difference to the one before.

    updated_date  the job's, equal before and after the read
    since         the `updated_date` of the previous read: saves in between may have been missed
    baseline      the first look at a job: what is there, not what somebody added
    part, parts   a large observation is several events of one atomic append
    removed       whole, so that what vanished can be put back
    """

    updated_date: str
    since: str | None = None
    baseline: bool = False
    part: int = 1
    parts: int = 1
    added: tuple[Annotation, ...] = ()
    changed: tuple[Change, ...] = ()
    removed: tuple[Annotation, ...] = ()


class ChangeOutline(msgspec.Struct, frozen=True, gc=False):
    """A `Change` whose values stay spelled."""

    kind: Kind
    id: int
    old: dict[str, msgspec.Raw] = {}
    new: dict[str, msgspec.Raw] = {}


@outline_of(AnnotationsObserved)
class ObservedOutline(Fact, frozen=True, kw_only=True):
    """`AnnotationsObserved` as folds read it: annotations and values stay spelled."""

    updated_date: str
    since: str | None = None
    added: list[msgspec.Raw] = []
    changed: list[ChangeOutline] = []
    removed: list[Named] = []


@event("JobSettled")
class JobSettled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The job was quiet long enough that no half of a save can be hanging."""

    updated_date: str


@event("ActorLearned")
class ActorLearned(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A late delivery names who made an observed change; the event itself is never changed."""

    position: int
    actors: tuple[str, ...]


@event("JobUnreachable")
class JobUnreachable(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The job cannot be read with our rights (401, 403, or absent from a list)."""

    status: int
    reason: str = ""


@event("JobUnreadable")
class JobUnreadable(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The server answers errors for the job's annotations; the last good state stands."""

    status: int
    reason: str = ""


@event("JobReadable")
class JobReadable(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A job that was unreachable, unreadable, deleted or frozen is recorded again."""


@event("JobReplaced")
class JobReplaced(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Another job goes by this id since the server was restored: what is known of ours ends here.

    old, new  `created_date`, as the server writes it
    """

    old: str
    new: str


@event("JobDeleted")
class JobDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """404 by the job's own URL while the account itself is answered. No label is deleted."""


@event("IssueOpened")
class IssueOpened(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody opened an issue. Its text is its first comment's.

    position  points in pixels, as CVAT keeps them: [x, y, x, y, …]
    """

    issue: int
    frame: int
    position: tuple[float, ...] = ()
    created_date: str = ""
    resolved: bool = False
    baseline: bool = False


@event("IssueCommented")
class IssueCommented(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wrote a comment, or changed one. The text is kept outside the log, erasable.

    text          SHA-256 (hex) of a random salt and the text; both are with the text
    updated_date  of the comment, as the server writes it
    """

    issue: int
    comment: int
    text: str
    updated_date: str
    edited: bool = False
    baseline: bool = False


@event("IssueResolved")
class IssueResolved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An issue was resolved, or taken up again (`resolved` False)."""

    issue: int
    resolved: bool = True


@event("IssueRemoved")
class IssueRemoved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An issue, or one comment of it, is no longer there."""

    issue: int
    comment: int | None = None


@event("FramesDeleted")
class FramesDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The deleted frames of a task are other ones now; their annotations stay where they are."""

    old: tuple[int, ...] = ()
    new: tuple[int, ...] = ()


@event("TaskChanged")
class TaskChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Members of a task changed (name, project, status, assignee); the first one has all in `new`.

    `status` here is CVAT's stage of the task's jobs: annotation, validation, completed.
    """

    old: dict[str, object] = {}
    new: dict[str, object] = {}


@event("TaskDeleted")
class TaskDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """404 by the task's own URL while the account itself is answered. No label is deleted."""


FACTS = (
    JobDiscovered,
    JobChanged,
    JobSchemaChanged,
    AnnotationsObserved,
    JobSettled,
    ActorLearned,
    JobUnreachable,
    JobUnreadable,
    JobReadable,
    JobDeleted,
    JobReplaced,
    IssueOpened,
    IssueCommented,
    IssueResolved,
    IssueRemoved,
    FramesDeleted,
    TaskChanged,
    TaskDeleted,
)
