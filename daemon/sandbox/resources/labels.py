"""Labels as a resource of their own."""

from __future__ import annotations

from typing import TypeVar

from daemon.sandbox import present
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import invalid, not_found
from daemon.sandbox.fields import clean
from daemon.sandbox.labels import LABEL, change_labels, delete_label, move_dates
from daemon.sandbox.model import Label, Project, Task
from daemon.sandbox.query import listing
from daemon.sandbox.rights import in_scope, may_job, may_project, may_task, need
from daemon.sandbox.routes import route

T = TypeVar("T")


def _owner(call: Call, row: Label) -> Project | Task:
    if row.project is not None:
        return call.state.projects[row.project]
    assert row.task is not None, "a label belongs to a project or to a task"
    return call.state.tasks[row.task]


def _may(call: Call, owner: Project | Task) -> bool:
    if isinstance(owner, Project):
        return may_project(call, owner)
    return may_task(call, owner)


@route("GET", "/api/labels")
async def labels_list(call: Call) -> Reply:
    """List labels, of all that the caller may see or of one job, task or project."""
    fields = {
        "id": lambda row: row.id,
        "name": lambda row: row.name,
        "type": lambda row: row.type,
        "color": lambda row: row.color,
        "parent": lambda row: None,
    }
    rows = [row for row in _scope(call) if row.parent is None]
    return listing(
        call, rows, fields=fields, show=lambda row: present.label(call.state, row), search=("name",)
    )


def _scope(call: Call) -> list[Label]:
    state = call.state
    if (job_id := call.param("job_id")) is not None:
        job = _named(state.jobs, job_id)
        need(may_job(call, job))
        return state.labels_of(state.tasks[job.task])
    if (task_id := call.param("task_id")) is not None:
        task = _named(state.tasks, task_id)
        need(may_task(call, task))
        return state.labels_of(task)
    if (project_id := call.param("project_id")) is not None:
        project = _named(state.projects, project_id)
        need(may_project(call, project))
        return state.labels_of(project)
    owned = [(row, _owner(call, row)) for row in state.labels.values()]
    return [row for row, own in owned if in_scope(call, own.organization) and _may(call, own)]


def _named(table: dict[int, T], row_id: str) -> T:
    if not (row_id.isascii() and row_id.isdigit()) or int(row_id) not in table:
        raise not_found()
    return table[int(row_id)]


def _label(call: Call) -> Label:
    row = call.state.must_find(call.state.labels, call.id, "Label")
    need(_may(call, _owner(call, row)))
    return row


@route("GET", "/api/labels/{id}")
async def labels_get(call: Call) -> Reply:
    """Show a label."""
    return Reply(body=present.label(call.state, _label(call)))


@route("PATCH", "/api/labels/{id}")
async def labels_change(call: Call) -> Reply:
    """Change a label; its project or task hears of it, its jobs only get the date."""
    row = _label(call)
    if row.parent is not None:
        raise invalid(
            "Sublabels cannot be modified this way. Please send a PATCH request to the parent label"
        )
    owner = _owner(call, row)
    sent = clean(LABEL, call.json) | {"id": row.id}
    with call.saving(owner):
        change_labels(call, owner, [sent])
    move_dates(call.state, owner)
    return Reply(body=present.label(call.state, row))


@route("DELETE", "/api/labels/{id}")
async def labels_delete(call: Call) -> Reply:
    """Delete a label: its annotations vanish, and no job webhook says so."""
    row = _label(call)
    owner = _owner(call, row)
    with call.saving(owner):
        delete_label(call.state, owner, row)
    move_dates(call.state, owner)
    return Reply(204)
