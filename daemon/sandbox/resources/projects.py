"""Projects."""

from __future__ import annotations

from daemon.sandbox.call import Call, Reply
from daemon.sandbox.fields import Absent, Check, Missing, clean, integer, optional, record, text
from daemon.sandbox.labels import LABELS, change_labels, make_labels, move_dates
from daemon.sandbox.model import Project
from daemon.sandbox.query import listing
from daemon.sandbox.resources.tasks import check_assignee, remove_task
from daemon.sandbox.rights import in_scope, may_project, need
from daemon.sandbox.routes import route
from daemon.sandbox.state import newest_first

NAME_LONGEST = 256
BUG_TRACKER_LONGEST = 2000
PROJECT: Check = record(
    name=(text(longest=NAME_LONGEST), Missing),
    labels=(LABELS, list),
    assignee_id=(optional(integer()), None),
    bug_tracker=(text(longest=BUG_TRACKER_LONGEST, blank=True), ""),
)
CHANGE: Check = record(
    name=(text(longest=NAME_LONGEST), Absent),
    labels=(LABELS, Absent),
    assignee_id=(optional(integer()), Absent),
    bug_tracker=(text(longest=BUG_TRACKER_LONGEST, blank=True), Absent),
)


def _reply(call: Call, row: Project, status: int = 200) -> Reply:
    return Reply(status, call.views.project(call.state, row, call.base))


@route("POST", "/api/projects")
async def projects_create(call: Call) -> Reply:
    """Make a project with its labels."""
    sent = clean(PROJECT, call.json)
    named = call.organization
    check_assignee(call, sent["assignee_id"])
    row = Project(
        id=call.state.next_id("projects"),
        name=sent["name"],
        owner=call.user.id,
        assignee=sent["assignee_id"],
        bug_tracker=sent["bug_tracker"],
        organization=named.id if named else None,
        created=call.state.now(),
        updated=call.state.now(),
    )
    make_labels(call.state, row, sent["labels"])
    call.state.projects[row.id] = row
    call.tell("create:project", row)
    return _reply(call, row, 201)


@route("GET", "/api/projects")
async def projects_list(call: Call) -> Reply:
    """List the projects that the caller may see."""
    state = call.state
    rows = [
        row
        for row in newest_first(state.projects.values())
        if in_scope(call, row.organization) and may_project(call, row)
    ]
    fields = {
        "id": lambda row: row.id,
        "name": lambda row: row.name,
        "owner": lambda row: state.users[row.owner].username,
        "assignee": lambda row: state.users[row.assignee].username if row.assignee else None,
        "status": lambda row: "annotation",
        "updated_date": lambda row: row.updated,
    }
    return listing(
        call,
        rows,
        fields=fields,
        show=lambda row: call.views.project(state, row, call.base),
        search=("name", "owner", "assignee", "status"),
    )


def project_of(call: Call) -> Project:
    """Return the project that the path names; raises Refused (404, 403)."""
    row = call.state.must_find(call.state.projects, call.id, "Project")
    need(may_project(call, row))
    return row


@route("GET", "/api/projects/{id}")
async def projects_get(call: Call) -> Reply:
    """Show a project."""
    return _reply(call, project_of(call))


@route("PATCH", "/api/projects/{id}")
async def projects_change(call: Call) -> Reply:
    """Change a project; a change of its labels moves the dates below it, too."""
    row = project_of(call)
    sent = clean(CHANGE, call.json)
    check_assignee(call, sent.get("assignee_id"))
    with call.saving(row):
        if "labels" in sent:
            change_labels(call, row, sent["labels"])
        row.name = sent.get("name", row.name)
        if sent.get("assignee_id", row.assignee) != row.assignee:
            row.assignee, row.assignee_updated = sent["assignee_id"], call.state.now()
        row.bug_tracker = sent.get("bug_tracker", row.bug_tracker)
    if "labels" in sent:
        move_dates(call.state, row)
    return _reply(call, row)


@route("DELETE", "/api/projects/{id}")
async def projects_delete(call: Call) -> Reply:
    """Delete a project with all below it; its webhooks still hear of that."""
    row = project_of(call)
    state = call.state
    for task in newest_first(state.tasks_of(row)):
        remove_task(call, task)
    call.tell("delete:project", row)
    call.commit()
    for label in state.labels_of(row):
        del state.labels[label.id]
    for hook in [each for each in state.webhooks.values() if each.project == row.id]:
        state.deleted_webhooks[hook.id] = state.webhooks.pop(hook.id)
    del state.projects[row.id]
    return Reply(204)
