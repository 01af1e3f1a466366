"""Issues and their comments: what changed since the last look, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from events import dataset, job, log, run, server
from events.envelope import Recorded
from events.job import IssueCommented, IssueOpened, IssueRemoved, IssueResolved
from events.registry import Fact
from events.server import DeliveryReceived
from projections import jobs
from projections.attribution import date_us
from projections.decision import Decision, Draft
from projections.fold import Fold, Handler
from projections.jobs import job_of
from projections.streams import versions
from projections.tables import Table, Tables


class IssueRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One issue of a job."""

    server: str
    job: int
    issue: int
    frame: int = 0
    resolved: bool = False


class CommentRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One comment. `text` names its text, which is kept elsewhere."""

    server: str
    job: int
    comment: int
    issue: int
    text: str
    updated_date: str


class IssueStepRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who changed an issue last, as a delivery tells, and the issue's date then."""

    server: str
    issue: int
    updated_date: str
    sender: int


ISSUES = Table("issues", ("server", "job", "issue"), IssueRow)
COMMENTS = Table("comments", ("server", "job", "comment"), CommentRow)
ISSUE_STEPS = Table("issue_steps", ("server", "issue"), IssueStepRow)


class IssueSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An issue as the server shows it."""

    issue: int
    frame: int
    position: tuple[float, ...]
    resolved: bool
    owner: int | None
    created_date: str
    updated_date: str


class CommentSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A comment as the server shows it; its text does not come this far."""

    comment: int
    issue: int
    owner: int | None
    created_date: str
    updated_date: str


class Unsure(NamedTuple):
    """Ids that a look could not read anything of but that they are there; None: of any."""

    issues: frozenset[int | None] = frozenset()
    comments: frozenset[int | None] = frozenset()


def unknown_comments(
    tables: Tables, server_name: str, number: int, comments: Sequence[CommentSeen]
) -> list[int]:
    """Return the comments whose text is not known as it is now."""
    return [
        seen.comment
        for seen in comments
        if (row := tables.get(COMMENTS, server_name, number, seen.comment)) is None
        or row.updated_date != seen.updated_date
    ]


def observe_issues(
    tables: Tables,
    server_name: str,
    number: int,
    issues: Sequence[IssueSeen],
    comments: Sequence[CommentSeen],
    texts: Mapping[int, str],
    unsure: Unsure = Unsure(),  # noqa: B008
) -> Decision:
    """Decide what the issues of a job tell beyond what is known.

    texts   comment → name of its text, for those that are new or were changed
    unsure  none of these is called gone
    """
    if tables.get(jobs.JOBS, server_name, number) is None:
        return Decision()
    if (held := tables.get(jobs.SERVERS, server_name)) and held.frozen:
        return Decision()
    stream = f"job/{server_name}/{number}"
    drafts = [
        *_issues(tables, server_name, number, issues, unsure),
        *_comments(tables, server_name, number, comments, texts, unsure),
    ]
    return Decision(
        [_draft(stream, server_name, *draft) for draft in drafts], versions(tables, [stream])
    )


Found = tuple[Fact, int | None, str]
"""A fact, whom the server names for it, and when it was."""


def _draft(stream: str, server_name: str, fact: Fact, owner: int | None, date: str) -> Draft:
    occurred_at = date_us(date) or None
    if owner is None:
        return Draft(stream, fact, occurred_at=occurred_at)
    evidence = "webhook" if isinstance(fact, IssueResolved) else "owner"
    return Draft(stream, fact, f"{server_name}/{owner}", evidence, occurred_at)  # type: ignore[arg-type]


def _issues(
    tables: Tables,
    server_name: str,
    number: int,
    issues: Sequence[IssueSeen],
    unsure: Unsure,
) -> Iterator[Found]:
    for seen in issues:
        row = tables.get(ISSUES, server_name, number, seen.issue)
        if row is None:
            opened = IssueOpened(
                issue=seen.issue,
                frame=seen.frame,
                position=seen.position,
                created_date=seen.created_date,
                resolved=seen.resolved,
            )
            yield opened, seen.owner, seen.created_date
        elif row.resolved != seen.resolved:
            step = tables.get(ISSUE_STEPS, server_name, seen.issue)
            is_known = step is not None and step.updated_date == seen.updated_date
            sender = step.sender if step is not None and is_known else None
            yield (
                IssueResolved(issue=seen.issue, resolved=seen.resolved),
                sender,
                seen.updated_date,
            )
    left = {seen.issue for seen in issues}
    for row in tables.scan(ISSUES, server_name, number):
        if row.issue not in left and not unsure.issues & {row.issue, None}:
            yield IssueRemoved(issue=row.issue), None, ""


def _comments(
    tables: Tables,
    server_name: str,
    number: int,
    comments: Sequence[CommentSeen],
    texts: Mapping[int, str],
    unsure: Unsure,
) -> Iterator[Found]:
    for seen in comments:
        row = tables.get(COMMENTS, server_name, number, seen.comment)
        is_new = row is None or row.updated_date != seen.updated_date
        if is_new and seen.comment in texts:
            said = IssueCommented(
                issue=seen.issue,
                comment=seen.comment,
                text=texts[seen.comment],
                updated_date=seen.updated_date,
                edited=row is not None,
            )
            yield said, seen.owner, seen.updated_date
    left = {seen.comment for seen in comments}
    for row in tables.scan(COMMENTS, server_name, number):
        is_hidden = unsure.comments & {row.comment, None} or unsure.issues & {row.issue, None}
        if row.comment not in left and not is_hidden:
            yield IssueRemoved(issue=row.issue, comment=row.comment), None, ""


# The fold


def _opened(tables: Tables, at: Recorded, fact: IssueOpened) -> None:
    name, number = job_of(at.stream)
    tables.put(
        ISSUES,
        IssueRow(
            server=name, job=number, issue=fact.issue, frame=fact.frame, resolved=fact.resolved
        ),
    )


def _commented(tables: Tables, at: Recorded, fact: IssueCommented) -> None:
    name, number = job_of(at.stream)
    tables.put(
        COMMENTS,
        CommentRow(
            server=name,
            job=number,
            comment=fact.comment,
            issue=fact.issue,
            text=fact.text,
            updated_date=fact.updated_date,
        ),
    )


def _resolved(tables: Tables, at: Recorded, fact: IssueResolved) -> None:
    row = tables.get(ISSUES, *job_of(at.stream), fact.issue)
    assert row is not None, f"{at.stream} has no issue {fact.issue}"
    tables.put(ISSUES, msgspec.structs.replace(row, resolved=fact.resolved))


def _removed(tables: Tables, at: Recorded, fact: IssueRemoved) -> None:
    name, number = job_of(at.stream)
    if fact.comment is not None:
        tables.delete(COMMENTS, name, number, fact.comment)
        return
    tables.delete(ISSUES, name, number, fact.issue)


def _delivered(tables: Tables, at: Recorded, fact: DeliveryReceived) -> None:
    known = fact.resource_id is not None and fact.updated_date and fact.sender is not None
    if fact.event != "update:issue" or not known:
        return
    assert fact.resource_id is not None
    assert fact.sender is not None
    tables.put(
        ISSUE_STEPS,
        IssueStepRow(
            server=at.stream.removeprefix("server/"),
            issue=fact.resource_id,
            updated_date=fact.updated_date or "",
            sender=fact.sender,
        ),
    )


_HANDLERS: dict[type[Fact], Handler] = {
    IssueOpened: _opened,
    IssueCommented: _commented,
    IssueResolved: _resolved,
    IssueRemoved: _removed,
    DeliveryReceived: _delivered,
}

_EVERY: frozenset[type[Fact]] = frozenset(
    (*dataset.FACTS, *server.FACTS, *job.FACTS, *run.FACTS, *log.FACTS)
)

ISSUES_FOLD = Fold(
    name="issues",
    revision=1,
    tables=(ISSUES, COMMENTS, ISSUE_STEPS),
    handlers=_HANDLERS,
    ignores=_EVERY - _HANDLERS.keys(),
)
