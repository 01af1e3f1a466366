"""One request on its way through the sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

from daemon.sandbox import present
from daemon.sandbox.errors import bad_request, not_found, unauthorized
from daemon.sandbox.model import Comment, Issue, Job, Json, Organization, Project, Task, User
from daemon.sandbox.outbox import Outbox, Signal
from daemon.sandbox.present_2_73 import columns
from daemon.sandbox.state import State
from daemon.sandbox.views import VIEWS, Views

Subject: TypeAlias = Project | Task | Job | Issue | Comment


@dataclass
class Reply:
    """An answer: JSON, or bytes of a content type."""

    status: int = 200
    body: Json = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/vnd.cvat+json"


@dataclass
class Call:
    """A request, who makes it, and the webhooks that its changes will cause.

    Signals are kept here and only leave with `commit`: a request that is
    refused tells nobody.
    """

    state: State
    outbox: Outbox
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    raw: bytes
    base: str
    version: str
    ids: tuple[str, ...] = ()
    caller: User | None = None
    signals: list[Signal] = field(default_factory=list)
    # Annotation writes note the annotations of their jobs here, for the journal.
    journaled: bool = False
    before: dict[int, Json] = field(default_factory=dict)
    # 2.73: the columns of a task when the request first had it in hand.
    first_seen: dict[int, Json] = field(default_factory=dict)
    committed: bool = False
    # A personal token (2.73) was sent, and whether it is read-only.
    by_token: bool = False
    read_only: bool = False
    # What starts once the request is answered: the creation of jobs.
    background: list[Callable[[], None]] = field(default_factory=list)

    @property
    def views(self) -> Views:
        """Return how rows are shown in this version."""
        return VIEWS[self.version]

    @property
    def is_new(self) -> bool:
        """Tell whether this is the newer of the two versions."""
        return self.version != "2.15"

    @property
    def user(self) -> User:
        """Return who calls; raises Refused (401) when nobody is logged in."""
        if self.caller is None:
            raise unauthorized()
        return self.caller

    @property
    def id(self) -> int:
        """Return the id in the path."""
        return int(self.ids[0])

    def param(self, name: str) -> str | None:
        """Return the last query value of a name."""
        return next((value for key, value in reversed(self.query) if key == name), None)

    @property
    def json(self) -> Json:
        """Return the body; raises Refused (400) where it is no JSON."""
        try:
            return json.loads(self.raw or b"{}", parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            raise bad_request({"detail": f"JSON parse error - {exc}"}) from exc

    @property
    def organization(self) -> Organization | None:
        """Return the organization that the request names."""
        slug = self.organization_slug
        if not slug:
            return None
        # By slug, in a header or as `org`; or by number, as `org_id`.
        found = [
            row for row in self.state.organizations.values() if slug in (row.slug, str(row.id))
        ]
        if not found:
            raise not_found(f"{slug} organization does not exist.")
        return found[0]

    @property
    def organization_slug(self) -> str | None:
        """Return the named organization's slug; "" means none, null means any."""
        named = self.param("org_id") or self.param("org")
        return self.headers.get("x-organization", named)

    def signal(self, event: str, shown: Json, **scope: Any) -> None:
        """Remember that an event happened; `scope` as in `Signal`."""
        self.signals.append(Signal(event, shown, self._sender(), **scope))

    def _sender(self) -> Json:
        if self.base:
            return present.basic_user(self.user, self.base)
        return {"id": self.user.id, "username": self.user.username, "email": self.user.email}

    @contextmanager
    def saving(self, row: Subject, *, counted: bool = False) -> Iterator[None]:
        """Move a row's date after a change, and tell with what it was before.

        counted  the row came from a query of the view's own, which counted
                 (see `present.task`); what it was before never is
        """
        kind = type(row).__name__.lower()
        before = self._before(row) if self.state.webhooks else {}
        yield
        row.updated = self.state.now()
        # A task that moves is told to where it goes.
        scope = scope_of(self.state, row)
        if self.outbox.is_heard(f"update:{kind}", **scope):
            after = self._show(row, counted=counted)
            now = columns(row) if self.is_new else after
            changed = {
                name: before.get(name)
                for name in now
                if name != "labels" and before.get(name) != now[name]
            }
            news = {name: {"from": old, "to": now[name]} for name, old in changed.items()}
            changes = news if self.is_new else None
            self.signal(f"update:{kind}", after, before=changed, changes=changes, **scope)

    def _before(self, row: Subject) -> Json:
        """Show a row as it was before a change.

        2.73 compares a task with what it was when the request first had it in
        hand, so that several saves in one request all name the first date.
        """
        if not self.is_new:
            return self._show(row, counted=False)
        if isinstance(row, Task) and self.base:
            return self.first_seen.setdefault(row.id, columns(row))
        return columns(row)

    def touch(self, *rows: Subject | None, counted: bool = False) -> None:
        """Move the dates of rows, in order; `counted` as in `saving`."""
        for row in rows:
            if row is not None:
                with self.saving(row, counted=counted):
                    pass

    def tell(self, event: str, row: Subject, *, counted: bool = False) -> None:
        """Signal the creation or the end of a row."""
        self.signals += self.drafted(event, row, counted=counted)

    def drafted(self, event: str, row: Subject, *, counted: bool = False) -> list[Signal]:
        """Return the signal of an event as the row is now, to be sent later; or nothing."""
        scope = scope_of(self.state, row)
        if not self.outbox.is_heard(event, **scope):
            return []
        shown = self._show(row, counted=counted)
        return [Signal(event, shown, self._sender(), **scope)]

    def tell_comment(self, event: str, row: Comment) -> None:
        """Signal the creation or the end of a comment."""
        scope = scope_of(self.state, self.state.issues[row.issue])
        self.signal(event, present.comment(self.state, row, self.base), **scope)

    def new_uuid(self) -> str:
        """Return an id for an upload."""
        return str(UUID(bytes=self.state.clock.new_id()))

    def _show(self, row: Subject, *, counted: bool) -> Json:
        match row:
            case Project():
                return self.views.project(self.state, row, self.base)
            case Task():
                return self.views.task(
                    self.state, row, self.base, counted=counted, reader=self.user
                )
            case Job():
                return self.views.job(self.state, row, self.base, counted=counted, reader=self.user)
            case Issue():
                return present.issue(self.state, row, self.base)
            case Comment():
                return present.comment(self.state, row, self.base)

    def commit(self) -> None:
        """Hand the signals of a finished request to the webhooks."""
        self.committed = True
        self.outbox.post(self.signals)
        self.signals = []


def scope_of(state: State, row: Subject) -> dict[str, int | None]:
    """Return the project and organization whose webhooks hear of a row."""
    if isinstance(row, Project):
        return {"project": row.id, "organization": row.organization}
    if isinstance(row, Comment):
        return scope_of(state, state.issues[row.issue])
    if isinstance(row, Issue):
        return scope_of(state, state.jobs[row.job])
    task = state.tasks[row.task] if isinstance(row, Job) else row
    return {"project": task.project, "organization": task.organization}


def _refuse_constant(name: str) -> float:
    raise ValueError(f"Out of range float values are not JSON compliant: {name!r}")
