"""What handlers may ask of a CVAT server, and what can go wrong on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from events.errors import SyncError

Row = Mapping[str, Any]
"""One JSON object as the server sent it. Fields come and go between releases: read with `get`."""

Action = Literal["create", "update", "delete"]
WebhookType = Literal["project", "organization"]
Sorting = Literal["predefined", "lexicographical", "natural", "random"]


waited_s: ContextVar[float] = ContextVar("waited_s", default=0.0)
"""How long requests of this task waited, all together, before they were tried again."""


class CvatError(SyncError):
    """A request to CVAT did not give what was asked for.

    facts  server, method, path, and where there was an answer: status, reason (the server's words,
           cut short). Never headers, credentials or whole bodies.
    """


class ServerUnreachable(CvatError):
    """No connection was made, so the server has not seen the request."""


class ServerTrouble(CvatError):
    """A read failed: 5xx, a timeout, a broken or unreadable answer."""


class UnreadableAnswer(ServerTrouble):
    """An object of the server's is not what CVAT documents; others of it may well be."""


class AnswerTooLarge(CvatError):
    """An answer passed the limit for bodies and was dropped while reading it."""


class ServerMoved(CvatError):
    """The server answered with a redirect; none is followed, as it could carry credentials away."""


class OutcomeUnknown(CvatError):
    """A write may or may not have happened; read before deciding what to do next."""


class Throttled(CvatError):
    """The server asks for more patience than the client has; nothing was done."""


class Unauthorized(CvatError):
    """The credentials are not accepted (401, or a refused login)."""


class Forbidden(CvatError):
    """The object may exist, but these credentials may not do this (403)."""


class NotFound(CvatError):
    """There is no such object (404). For a deletion this means that it is gone."""


class Refused(CvatError):
    """The server understood the request and said no (400 and the other 4xx); nothing was done."""


class MediaFailed(CvatError):
    """The server could not turn the uploaded media into the frames that were sent."""


class MediaLate(CvatError):
    """The task was not ready in the time given; it may still become so."""


class UnsendableMedia(SyncError):
    """A media file cannot be sent as it is: its name, its size, or it changed meanwhile."""


class UnreadableRow(NamedTuple):
    """A row of a list that is not what CVAT documents, and why; `id`, `date` where it has them."""

    id: int | None
    reason: str
    date: str = ""


ASIDE_MAX: Final = 200
Aside = list[UnreadableRow]
"""Where a walk puts the rows that cannot be read, at most `ASIDE_MAX` of them.

More of them, and any at all where a caller gives no such place, are UnreadableAnswer.
"""


def number(row: Row, name: str) -> int:
    """Return a number that every object of a list has. Raises ServerTrouble where one has none."""
    found = row.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise ServerTrouble("an object of the server's list lacks a number", member=name)
    return found


def text(row: Row, name: str) -> str:
    """Return a text that an object must have. Raises ServerTrouble where it has none."""
    found = row.get(name)
    if not isinstance(found, str):
        raise ServerTrouble("an object of the server's lacks a text", member=name)
    return found


class CvatApi(Protocol):
    """One CVAT server, of any release from 2.15 on.

    Every method may raise `ServerUnreachable`, `Unauthorized`, `Forbidden`, `NotFound`, `Refused`
    and `Throttled`; reads also `ServerTrouble` and `AnswerTooLarge`, writes `OutcomeUnknown`.
    Reads are repeated by themselves, writes are not (but for `put_annotations`).
    """

    @property
    def name(self) -> str:
        """The name by which the settings know this server."""

    async def about(self) -> Row:
        """Return {"version": "2.15.0", …}."""

    async def clock_us(self) -> int | None:
        """Return the server's time in µs since 1970 UTC, by its `Date` header; None without one."""

    async def self_user(self) -> Row:
        """Return the user whom the credentials belong to."""

    def users(self, search: str) -> AsyncIterator[Row]:
        """Walk the users whose names contain a text."""

    # Jobs. These need no more than an assignee's rights.

    async def job(self, job: int) -> Row: ...

    def jobs(
        self,
        *,
        since: str | None = None,
        project: int | None = None,
        task: int | None = None,
        aside: Aside | None = None,
    ) -> AsyncIterator[Row]:
        """Walk jobs by (updated_date, id), oldest first, from `since` (included) on.

        since  a date as the server writes it, "2026-11-22T10:18:04.496224Z"

        A job that changes meanwhile may come twice, never not at all.
        """

    async def job_annotations(self, job: int) -> bytes:
        """Return the JSON body as sent. It can be large: decode it in a process pool."""

    async def job_labels(self, job: int) -> Sequence[Row]: ...

    async def job_meta(self, job: int) -> Row: ...

    async def job_issues(self, job: int, *, aside: Aside | None = None) -> Sequence[Row]: ...

    async def job_comments(self, job: int, *, aside: Aside | None = None) -> Sequence[Row]: ...

    def issues(self, *, aside: Aside | None = None) -> AsyncIterator[Row]:
        """Walk all issues in sight."""

    def comments(self, *, aside: Aside | None = None) -> AsyncIterator[Row]:
        """Walk all comments of issues in sight."""

    async def patch_annotations(self, job: int, action: Action, data: Row | bytes) -> Row:
        """Create, update or delete annotations; return what was written, in order, with ids.

        data  LabeledData; bytes are sent as they are, so that a large one can be encoded elsewhere
        """

    async def put_annotations(self, job: int, data: Row | bytes) -> Row:
        """Replace all annotations. Repeated on trouble, as the second time changes nothing more."""

    async def patch_job(self, job: int, changes: Row) -> Row:
        """Change {"assignee": user id, "stage": …, "state": …}. A new stage resets the state."""

    # Tasks.

    async def task(self, task: int) -> Row: ...

    def tasks(
        self,
        *,
        since: str | None = None,
        project: int | None = None,
        subset: str | None = None,
        aside: Aside | None = None,
    ) -> AsyncIterator[Row]:
        """Walk tasks by (updated_date, id), as `jobs` does."""

    async def create_task(self, spec: Row) -> Row: ...

    async def patch_task(self, task: int, changes: Row) -> Row: ...

    async def delete_task(self, task: int) -> None: ...

    async def task_labels(self, task: int) -> Sequence[Row]: ...

    async def task_meta(self, task: int) -> Row: ...

    async def upload_media(
        self,
        task: int,
        files: Sequence[tuple[str, Path]],
        *,
        image_quality: int = 75,
        sorting: Sorting = "predefined",
        use_cache: bool = True,
        options: Row | None = None,
    ) -> str | None:
        """Give a new task its images, or one video; return the request id where the server has one.

        files    (name that CVAT shows, file); names are plain and unique
        options  further fields of CVAT's DataSerializer: start_frame, stop_frame, frame_filter, …

        The server works on it afterwards: see `await_task_data`. Raises UnsendableMedia before
        anything is sent. A task takes data once only: after OutcomeUnknown look whether it got
        them, else delete it.
        """

    async def await_task_data(
        self, task: int, *, size: int | None, timeout_s: float, request: str | None = None
    ) -> Row:
        """Wait until the task has its frames and jobs, and return it.

        size     frames expected; None when only the server can count them (a video)
        request  what `upload_media` returned, if it is still known

        Raises MediaFailed or MediaLate. A status alone is not believed: servers say "Finished" of
        a task that never got data.
        """

    # Projects.

    async def project(self, project: int) -> Row: ...

    def projects(self, *, name: str | None = None) -> AsyncIterator[Row]:
        """Walk projects, all or those of exactly this name."""

    async def create_project(self, spec: Row) -> Row: ...

    async def patch_project(self, project: int, changes: Row) -> Row: ...

    async def delete_project(self, project: int) -> None: ...

    async def project_labels(self, project: int) -> Sequence[Row]: ...

    # Webhooks.

    def webhooks(
        self, *, project: int | None = None, aside: Aside | None = None
    ) -> AsyncIterator[Row]: ...

    async def create_webhook(self, spec: Row) -> Row: ...

    async def patch_webhook(self, webhook: int, changes: Row) -> Row: ...

    async def delete_webhook(self, webhook: int) -> None: ...

    async def ping_webhook(self, webhook: int) -> Row:
        """Let the server send a ping; return the delivery, whose `status_code` is our answer."""

    def deliveries(
        self, webhook: int, *, after: int = 0, aside: Aside | None = None
    ) -> AsyncIterator[Row]:
        """Walk past deliveries, newest first, down to the one with id `after` (not included)."""

    async def webhook_events(self, kind: WebhookType) -> frozenset[str]:
        """Return the event names that this server offers, as `create_webhook` wants them."""

    async def close(self) -> None:
        """Close the connections."""
