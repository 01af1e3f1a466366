"""Jobs, without their annotations."""

from __future__ import annotations

from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import crashed
from daemon.sandbox.fields import Absent, Check, choice, clean, integer, listed, optional, record
from daemon.sandbox.model import Data, Job, Json
from daemon.sandbox.query import listing
from daemon.sandbox.resources.tasks import media_of
from daemon.sandbox.rights import in_scope, may_job, may_task, need
from daemon.sandbox.routes import route
from daemon.sandbox.state import newest_first

STAGES = ("annotation", "validation", "acceptance")
STATES = ("new", "in progress", "completed", "rejected")
CHANGE: Check = record(
    assignee=(optional(integer()), Absent),
    stage=(choice(STAGES), Absent),
    state=(choice(STATES), Absent),
)
META: Check = record(deleted_frames=(listed(integer(lowest=0)), list))


def job_of(call: Call) -> Job:
    """Return the job that the path names; raises Refused (404, 403)."""
    row = call.state.must_find(call.state.jobs, call.id, "Job")
    need(may_job(call, row))
    return row


def _shown(call: Call, row: Job) -> Json:
    return call.views.job(call.state, row, call.base, reader=call.user)


@route("GET", "/api/jobs")
async def jobs_list(call: Call) -> Reply:
    """List the jobs that the caller may see; one that lost its assignee is just gone."""
    state = call.state
    rows = [
        row
        for row in newest_first(state.jobs.values())
        if in_scope(call, state.tasks[row.task].organization) and may_job(call, row)
    ]

    def project_name(row: Job) -> str | None:
        project = state.project_of(row)
        return project.name if project else None

    fields = {
        "id": lambda row: row.id,
        "task_id": lambda row: row.task,
        "task_name": lambda row: state.tasks[row.task].name,
        "project_id": lambda row: state.tasks[row.task].project,
        "project_name": project_name,
        "assignee": lambda row: state.users[row.assignee].username if row.assignee else None,
        "stage": lambda row: row.stage,
        "state": lambda row: row.state,
        "type": lambda row: row.type,
        "dimension": lambda row: "2d",
        "updated_date": lambda row: row.updated,
    }
    return listing(
        call,
        rows,
        fields=fields,
        show=lambda row: _shown(call, row),
        search=("task_name", "project_name", "assignee", "state", "stage"),
    )


@route("GET", "/api/jobs/{id}")
async def jobs_get(call: Call) -> Reply:
    """Show a job."""
    return Reply(body=_shown(call, job_of(call)))


@route("PATCH", "/api/jobs/{id}")
async def jobs_change(call: Call) -> Reply:
    """Change who works on a job and how far it is; a new stage starts as `new`."""
    row = job_of(call)
    sent = clean(CHANGE, call.json)
    if "stage" in sent or "assignee" in sent:
        need(may_task(call, call.state.tasks[row.task]))
    if sent.get("assignee") is not None and sent["assignee"] not in call.state.users:
        raise crashed()
    with call.saving(row, counted=True):
        if sent.keys() & {"stage", "state"}:
            moved = sent.get("stage", row.stage) != row.stage
            row.state = sent.get("state", "new" if moved else row.state)
            row.stage = sent.get("stage", row.stage)
            row.status = _status(row.stage, row.state)
        if sent.get("assignee", row.assignee) != row.assignee:
            row.assignee, row.assignee_updated = sent["assignee"], call.state.now()
    _renew_task_status(call, row)
    return Reply(body=_shown(call, row))


def _status(stage: str, state: str) -> str:
    if stage == "annotation":
        return "annotation"
    return "completed" if stage == "acceptance" and state == "completed" else "validation"


def _renew_task_status(call: Call, row: Job) -> None:
    """Set the task's status from its jobs (engine/signals.py, __save_job_handler)."""
    task = call.state.tasks[row.task]
    stages = {job.stage for job in call.state.jobs_of(task)}
    status = next((name for name in STAGES[:2] if name in stages), "completed")
    if status != task.status:
        with call.saving(task):
            task.status = status


def _meta(call: Call, row: Job, data: Data) -> Json:
    first, last, chunks = row.start_frame, row.stop_frame, row.chunks_updated
    return call.views.data_meta(data, first, last, of_job=True, chunks_updated=chunks)


@route("GET", "/api/jobs/{id}/data/meta")
async def jobs_meta(call: Call) -> Reply:
    """Show the media of a job."""
    row = job_of(call)
    data = media_of(call.state.tasks[row.task])
    return Reply(body=_meta(call, row, data))


@route("PATCH", "/api/jobs/{id}/data/meta")
async def jobs_delete_frames(call: Call) -> Reply:
    """Delete frames of a job: task and project get a new date, the job does not."""
    row = job_of(call)
    task = call.state.tasks[row.task]
    need(may_task(call, task))
    data = media_of(task)
    wanted = set(clean(META, call.json)["deleted_frames"])
    inside = set(range(row.start_frame, row.stop_frame + 1))
    data.deleted_frames = (data.deleted_frames - inside) | (wanted & inside)
    call.touch(task, call.state.project_of(task))
    return Reply(body=_meta(call, row, data))
