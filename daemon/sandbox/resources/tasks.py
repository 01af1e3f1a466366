"""Tasks, without their media and annotations."""

from __future__ import annotations

from daemon.sandbox.annotations import forget_ids
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import crashed, invalid
from daemon.sandbox.fields import (
    Absent,
    Check,
    FieldInvalid,
    Missing,
    clean,
    integer,
    optional,
    record,
    text,
)
from daemon.sandbox.labels import LABELS, change_labels, make_labels, move_dates
from daemon.sandbox.model import KINDS, Data, Issue, Job, Task
from daemon.sandbox.moves import move_task
from daemon.sandbox.query import listing
from daemon.sandbox.rights import in_scope, may_project, may_task, need
from daemon.sandbox.routes import route
from daemon.sandbox.state import State, as_date, newest_first

NAME_LONGEST = 256
BUG_TRACKER_LONGEST = 2000
SUBSET_LONGEST = 64
REPLICAS_MAX = 10


def _replicas(value: object) -> int:
    replicas: int = integer()(value)
    if replicas and not 2 <= replicas <= REPLICAS_MAX:
        raise FieldInvalid(
            [
                "Consensus replicas must be 0 or a positive number more than 1 "
                f"and less than {REPLICAS_MAX + 1}, got {replicas}"
            ]
        )
    return replicas


TASK: Check = record(
    name=(text(longest=NAME_LONGEST), Missing),
    labels=(LABELS, list),
    project_id=(optional(integer()), None),
    assignee_id=(optional(integer()), None),
    bug_tracker=(text(longest=BUG_TRACKER_LONGEST, blank=True), ""),
    subset=(text(longest=SUBSET_LONGEST, blank=True), ""),
    overlap=(optional(integer(lowest=0)), None),
    segment_size=(integer(lowest=0), 0),
    consensus_replicas=(_replicas, 0),
)
CHANGE: Check = record(
    name=(text(longest=NAME_LONGEST), Absent),
    labels=(LABELS, Absent),
    project_id=(optional(integer()), Absent),
    assignee_id=(optional(integer()), Absent),
    bug_tracker=(text(longest=BUG_TRACKER_LONGEST, blank=True), Absent),
    subset=(text(longest=SUBSET_LONGEST, blank=True), Absent),
)


def _reply(call: Call, row: Task, status: int = 200) -> Reply:
    return Reply(status, call.views.task(call.state, row, call.base, reader=call.user))


@route("POST", "/api/tasks")
async def tasks_create(call: Call) -> Reply:
    """Make a task without media; the same name twice makes two."""
    sent = clean(TASK, call.json)
    _check_owner_of_labels(call, sent)
    check_assignee(call, sent["assignee_id"])
    named = call.organization
    row = Task(
        id=call.state.next_id("tasks"),
        name=sent["name"],
        project=sent["project_id"],
        owner=call.user.id,
        assignee=sent["assignee_id"],
        bug_tracker=sent["bug_tracker"],
        subset=sent["subset"],
        overlap=sent["overlap"],
        segment_size=sent["segment_size"],
        organization=named.id if named else None,
        created=call.state.now(),
        updated=call.state.now(),
        consensus_replicas=sent["consensus_replicas"] if call.is_new else 0,
    )
    make_labels(call.state, row, sent["labels"])
    call.state.tasks[row.id] = row
    if (project := call.state.project_of(row)) is not None:
        row.organization = project.organization
    call.tell("create:task", row)
    # 2.15 saves the task once more, for its storages.
    if not call.is_new:
        call.touch(row)
    call.touch(project)
    return _reply(call, row, 201)


def check_assignee(call: Call, user_id: int | None) -> None:
    """Refuse an assignee who does not exist."""
    if user_id is not None and user_id not in call.state.users:
        raise invalid(f'Invalid pk "{user_id}" - object does not exist.')


def _check_owner_of_labels(call: Call, sent: dict[str, object]) -> None:
    project_id = sent["project_id"]
    if not sent["labels"] and project_id is None:
        raise invalid("Label set or project_id must be present")
    if sent["labels"] and project_id is not None:
        raise invalid("Project must have only one of Label set or project_id")
    if isinstance(project_id, int):
        if project_id not in call.state.projects:
            raise invalid(f"The specified project #{project_id} does not exist.")
        need(may_project(call, call.state.projects[project_id]))


@route("GET", "/api/tasks")
async def tasks_list(call: Call) -> Reply:
    """List the tasks that the caller may see."""
    state = call.state
    rows = [
        row
        for row in newest_first(state.tasks.values())
        if in_scope(call, row.organization) and may_task(call, row)
    ]
    fields = {
        "id": lambda row: row.id,
        "name": lambda row: row.name,
        "project_id": lambda row: row.project,
        "project_name": lambda row: state.projects[row.project].name if row.project else None,
        "owner": lambda row: state.users[row.owner].username,
        "assignee": lambda row: state.users[row.assignee].username if row.assignee else None,
        "status": lambda row: row.status,
        "subset": lambda row: row.subset,
        "mode": lambda row: row.mode,
        "dimension": lambda row: "2d",
        "tracker_link": lambda row: row.bug_tracker,
        "updated_date": lambda row: row.updated,
    }
    search = ("project_name", "name", "owner", "status", "assignee", "subset", "mode", "dimension")
    return listing(
        call,
        rows,
        fields=fields,
        show=lambda row: call.views.task(state, row, call.base, reader=call.user),
        search=(*search, "tracker_link"),
    )


def task_of(call: Call) -> Task:
    """Return the task that the path names; raises Refused (404, 403)."""
    row = call.state.must_find(call.state.tasks, call.id, "Task")
    need(may_task(call, row))
    return row


def media_of(row: Task) -> Data:
    """Return a task's media; the real server crashes where there are none."""
    if row.data is None or not row.data.ready:
        raise crashed()
    return row.data


@route("GET", "/api/tasks/{id}")
async def tasks_get(call: Call) -> Reply:
    """Show a task."""
    return _reply(call, task_of(call))


@route("PATCH", "/api/tasks/{id}")
async def tasks_change(call: Call) -> Reply:
    """Change a task, or move it into a project."""
    row = task_of(call)
    sent = clean(CHANGE, call.json)
    check_assignee(call, sent.get("assignee_id"))
    with call.saving(row, counted=True):
        if "labels" in sent:
            if row.project is not None:
                raise invalid("Project tasks labels cannot be changed")
            change_labels(call, row, sent["labels"])
        if sent.get("project_id") is not None:
            move_task(call, row, sent["project_id"])
        row.name = sent.get("name", row.name)
        assigned = sent.get("assignee_id", row.assignee) != row.assignee
        row.assignee = sent.get("assignee_id", row.assignee)
        row.bug_tracker = sent.get("bug_tracker", row.bug_tracker)
        row.subset = sent.get("subset", row.subset)
    if "labels" in sent:
        move_dates(call.state, row)
    call.touch(call.state.project_of(row))
    reply = _reply(call, row)
    if assigned and call.is_new:
        # 2.73 shows this date here, and does not keep it.
        reply.body["assignee_updated_date"] = as_date(call.state.now())
    return reply


@route("DELETE", "/api/tasks/{id}")
async def tasks_delete(call: Call) -> Reply:
    """Delete a task with its jobs, annotations, issues and own labels."""
    remove_task(call, task_of(call))
    return Reply(204)


def remove_task(call: Call, row: Task) -> None:
    """Delete a task; tells of each row that goes with it."""
    state = call.state
    jobs = state.jobs_of(row)
    issues = [issue for job in jobs for issue in state.issues_of(job)]
    for comment in newest_first(c for issue in issues for c in state.comments_of(issue)):
        call.tell_comment("delete:comment", comment)
    for issue in newest_first(issues):
        call.tell("delete:issue", issue, counted=True)
    for job in newest_first(jobs):
        call.tell("delete:job", job)
    project = state.project_of(row)
    ended = call.drafted("delete:task", row, counted=True)
    for issue in issues:
        forget_issue(state, issue)
    for job in jobs:
        _forget(call, job)
    for label in [each for each in state.labels.values() if each.task == row.id]:
        del state.labels[label.id]
    del state.tasks[row.id]
    # The project is told before the task's end, and of a state without it.
    call.touch(project)
    call.signals += ended


def forget_issue(state: State, issue: Issue) -> None:
    """Drop an issue and its comments."""
    for comment in state.comments_of(issue):
        del state.comments[comment.id]
    del state.issues[issue.id]


def _forget(call: Call, job: Job) -> None:
    for kind in KINDS:
        for annotation in job.table(kind).values():
            forget_ids(call.state, kind, annotation)
    del call.state.jobs[job.id]
