"""All rows of the sandbox, and the counters that give them ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TypeVar

from daemon.clock import Clock
from daemon.sandbox.errors import not_found
from daemon.sandbox.model import (
    AccessToken,
    Comment,
    Delivery,
    Issue,
    Job,
    Label,
    Organization,
    Project,
    Task,
    User,
    Webhook,
)

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_date(stamp_us: int) -> str:
    """Write a date as CVAT does: ISO 8601 in UTC, no fraction where there is none."""
    return (EPOCH + timedelta(microseconds=stamp_us)).isoformat().replace("+00:00", "Z")


class State:
    """What the server knows.

    Ids count up per table and are never given twice. Dates never repeat: a
    frozen clock would make two saves look like one to a reader who compares
    `updated_date`, which no real server does.
    """

    def __init__(self, users: dict[str, str], clock: Clock, version: str = "2.15") -> None:
        self.clock = clock
        self.version = version
        self.last_us = 0
        self.users: dict[int, User] = {}
        self.access_tokens: dict[int, AccessToken] = {}
        self.organizations: dict[int, Organization] = {}
        self.projects: dict[int, Project] = {}
        self.tasks: dict[int, Task] = {}
        self.jobs: dict[int, Job] = {}
        self.labels: dict[int, Label] = {}
        self.issues: dict[int, Issue] = {}
        self.comments: dict[int, Comment] = {}
        self.webhooks: dict[int, Webhook] = {}
        # Events that happened before a webhook's end are still delivered to it.
        self.deleted_webhooks: dict[int, Webhook] = {}
        self.deliveries: dict[int, Delivery] = {}
        self.counters: dict[str, count[int]] = {}
        # Ids are unique over a whole table, not within a job. A skeleton's
        # elements live in the table of their parents.
        self.taken: dict[str, set[int]] = {k: set() for k in ("tags", "shapes", "tracks", "inner")}
        for position, (username, password) in enumerate(users.items()):
            self.add_user(username, password, is_admin=position == 0)

    def now(self) -> int:
        """Return the microseconds since 1970, later than ever before."""
        self.last_us = max(self.clock.now_us(), self.last_us + 1)
        return self.last_us

    def next_id(self, table: str) -> int:
        """Return an id that no row of the table ever had."""
        return next(self.counters.setdefault(table, count(1)))

    def add_user(self, username: str, password: str, *, is_admin: bool) -> User:
        """Add a user; his token is derived from his name, so that two runs are alike."""
        secret = hashlib.sha1(f"{username}:{password}".encode(), usedforsecurity=False).hexdigest()
        row = User(
            id=self.next_id("users"),
            username=username,
            password=password,
            key=secret,
            session=secret[::-1][:32],
            is_admin=is_admin,
            date_joined=self.now(),
        )
        self.users[row.id] = row
        return row

    def labels_of(self, owner: Project | Task) -> list[Label]:
        """Return the labels that hold for a project or a task, sublabels included."""
        if isinstance(owner, Task) and owner.project is not None:
            owner = self.projects[owner.project]
        kind = "project" if isinstance(owner, Project) else "task"
        return [row for row in self.labels.values() if getattr(row, kind) == owner.id]

    def jobs_of(self, task: Task) -> list[Job]:
        """Return a task's jobs in the order of their frames."""
        return [row for row in self.jobs.values() if row.task == task.id]

    def annotated_jobs_of(self, task: Task) -> list[Job]:
        """Return the jobs that hold a task's annotations: all but the replicas."""
        return [row for row in self.jobs_of(task) if row.parent is None]

    def tasks_of(self, project: Project) -> list[Task]:
        """Return a project's tasks, oldest first."""
        return [row for row in self.tasks.values() if row.project == project.id]

    def issues_of(self, job: Job) -> list[Issue]:
        """Return the issues of a job."""
        return [row for row in self.issues.values() if row.job == job.id]

    def comments_of(self, issue: Issue) -> list[Comment]:
        """Return the comments of an issue."""
        return [row for row in self.comments.values() if row.issue == issue.id]

    def project_of(self, row: Task | Job) -> Project | None:
        """Return the project that a task or a job is in, if any."""
        task = self.tasks[row.task] if isinstance(row, Job) else row
        return self.projects[task.project] if task.project is not None else None

    def must_find(self, table: dict[int, T], row_id: int, name: str) -> T:
        """Return a row; raises Refused (404) when there is none.

        name  of CVAT's model, which newer versions tell
        """
        if row_id in table:
            return table[row_id]
        if self.version == "2.15":
            raise not_found()
        raise not_found(f"No {name} matches the given query.")


def newest_first(rows: Iterable[T]) -> list[T]:
    """Return rows in the order in which CVAT lists them: highest id first."""
    return list(rows)[::-1]
