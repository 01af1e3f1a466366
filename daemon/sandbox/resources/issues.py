"""Issues and their comments."""

from __future__ import annotations

from daemon.sandbox import present
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import bad_request
from daemon.sandbox.fields import (
    Absent,
    Check,
    Missing,
    boolean,
    clean,
    integer,
    listed,
    number,
    optional,
    record,
    text,
)
from daemon.sandbox.model import Comment, Issue
from daemon.sandbox.query import listing
from daemon.sandbox.resources.tasks import check_assignee, forget_issue
from daemon.sandbox.rights import may_issue, may_job, need
from daemon.sandbox.routes import route
from daemon.sandbox.state import newest_first

ISSUE: Check = record(
    job=(integer(), Missing),
    frame=(integer(lowest=0), Missing),
    position=(listed(number()), Missing),
    message=(text(), Missing),
    assignee=(optional(integer()), None),
    resolved=(boolean, False),
)
ISSUE_CHANGE: Check = record(
    position=(listed(number()), Absent),
    assignee=(optional(integer()), Absent),
    resolved=(boolean, Absent),
)
COMMENT: Check = record(issue=(integer(), Missing), message=(text(), Missing))
COMMENT_CHANGE: Check = record(message=(text(), Absent))


def _show(call: Call, row: Issue) -> object:
    return present.issue(call.state, row, call.base)


@route("POST", "/api/issues")
async def issues_create(call: Call) -> Reply:
    """Open an issue; its message is the first comment."""
    state = call.state
    sent = clean(ISSUE, call.json)
    job = state.jobs.get(sent["job"])
    if job is None:
        raise bad_request({"job": [_unknown(sent["job"])]})
    need(may_job(call, job))
    check_assignee(call, sent["assignee"])
    row = Issue(
        id=state.next_id("issues"),
        job=job.id,
        frame=sent["frame"],
        position=sent["position"],
        owner=call.user.id,
        assignee=sent["assignee"],
        created=state.now(),
        updated=state.now(),
        resolved=sent["resolved"],
    )
    state.issues[row.id] = row
    call.tell("create:issue", row, counted=True)
    _add_comment(call, row, sent["message"])
    return Reply(201, _show(call, row))


def _unknown(row_id: int) -> str:
    return f'Invalid pk "{row_id}" - object does not exist.'


def _add_comment(call: Call, issue: Issue, message: str) -> Comment:
    state = call.state
    row = Comment(
        state.next_id("comments"), issue.id, call.user.id, message, state.now(), state.now()
    )
    state.comments[row.id] = row
    call.tell_comment("create:comment", row)
    return row


@route("GET", "/api/issues")
async def issues_list(call: Call) -> Reply:
    """List the issues that the caller may see."""
    state = call.state
    rows = [row for row in newest_first(state.issues.values()) if may_issue(call, row)]
    fields = {
        "id": lambda row: row.id,
        "job_id": lambda row: row.job,
        "task_id": lambda row: state.jobs[row.job].task,
        "frame_id": lambda row: row.frame,
        "owner": lambda row: state.users[row.owner].username,
        "assignee": lambda row: state.users[row.assignee].username if row.assignee else None,
        "resolved": lambda row: row.resolved,
    }
    return listing(
        call, rows, fields=fields, show=lambda row: _show(call, row), search=("owner", "assignee")
    )


def _issue(call: Call) -> Issue:
    row = call.state.must_find(call.state.issues, call.id, "Issue")
    need(may_issue(call, row))
    return row


@route("GET", "/api/issues/{id}")
async def issues_get(call: Call) -> Reply:
    """Show an issue."""
    return Reply(body=_show(call, _issue(call)))


@route("PATCH", "/api/issues/{id}")
async def issues_change(call: Call) -> Reply:
    """Resolve, move or assign an issue."""
    row = _issue(call)
    sent = clean(ISSUE_CHANGE, call.json)
    check_assignee(call, sent.get("assignee"))
    with call.saving(row, counted=True):
        row.resolved = sent.get("resolved", row.resolved)
        row.position = sent.get("position", row.position)
        row.assignee = sent.get("assignee", row.assignee)
    return Reply(body=_show(call, row))


@route("DELETE", "/api/issues/{id}")
async def issues_delete(call: Call) -> Reply:
    """Delete an issue with its comments."""
    row = _issue(call)
    for comment in newest_first(call.state.comments_of(row)):
        call.tell_comment("delete:comment", comment)
    call.tell("delete:issue", row, counted=True)
    forget_issue(call.state, row)
    return Reply(204)


@route("POST", "/api/comments")
async def comments_create(call: Call) -> Reply:
    """Answer an issue."""
    sent = clean(COMMENT, call.json)
    issue = call.state.issues.get(sent["issue"])
    if issue is None:
        raise bad_request({"issue": [_unknown(sent["issue"])]})
    need(may_issue(call, issue))
    row = _add_comment(call, issue, sent["message"])
    return Reply(201, present.comment(call.state, row, call.base))


@route("GET", "/api/comments")
async def comments_list(call: Call) -> Reply:
    """List comments."""
    state = call.state
    rows = [
        row
        for row in newest_first(state.comments.values())
        if may_issue(call, state.issues[row.issue])
    ]
    fields = {
        "id": lambda row: row.id,
        "issue_id": lambda row: row.issue,
        "job_id": lambda row: state.issues[row.issue].job,
        "frame_id": lambda row: state.issues[row.issue].frame,
        "owner": lambda row: state.users[row.owner].username,
    }
    return listing(
        call,
        rows,
        fields=fields,
        show=lambda row: present.comment(state, row, call.base),
        search=("owner",),
    )


def _comment(call: Call) -> Comment:
    row = call.state.must_find(call.state.comments, call.id, "Comment")
    need(may_issue(call, call.state.issues[row.issue]))
    return row


@route("GET", "/api/comments/{id}")
async def comments_get(call: Call) -> Reply:
    """Show a comment."""
    return Reply(body=present.comment(call.state, _comment(call), call.base))


@route("PATCH", "/api/comments/{id}")
async def comments_change(call: Call) -> Reply:
    """Change the message of a comment."""
    row = _comment(call)
    sent = clean(COMMENT_CHANGE, call.json)
    with call.saving(row):
        row.message = sent.get("message", row.message)
    return Reply(body=present.comment(call.state, row, call.base))


@route("DELETE", "/api/comments/{id}")
async def comments_delete(call: Call) -> Reply:
    """Delete a comment."""
    row = _comment(call)
    call.tell_comment("delete:comment", row)
    del call.state.comments[row.id]
    return Reply(204)
