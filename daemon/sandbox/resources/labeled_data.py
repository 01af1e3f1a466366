"""Annotations of jobs and tasks."""

from __future__ import annotations

from daemon.sandbox.annotations import Reader, Writer, written
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.documents import DOCUMENT
from daemon.sandbox.errors import invalid
from daemon.sandbox.fields import clean
from daemon.sandbox.model import KINDS, Job, Json, Task
from daemon.sandbox.resources.jobs import job_of
from daemon.sandbox.resources.tasks import task_of
from daemon.sandbox.routes import route
from daemon.sandbox.tracks import cut_for_jobs, merged

EMPTY: Json = {"tags": [], "shapes": [], "tracks": []}


def _reader(call: Call, task: Task) -> Reader:
    return Reader(call.state.labels_of(task))


def _action(call: Call) -> str:
    action = call.param("action")
    if action not in {"create", "update", "delete"}:
        raise invalid("Please specify a correct 'action' for the request")
    return action


def _write(call: Call, task: Task, action: str, documents: list[tuple[Job, Json]]) -> Json:
    """Work out the writes of all jobs, store them, and move the dates."""
    writer = Writer(call.state, call.state.labels_of(task))
    reader = _reader(call, task)
    for job, document in documents:
        getattr(writer, action)(job, document)
    call.before = {job.id: reader.document(job) for job, _ in documents} if call.journaled else {}
    for job in writer.store():
        call.touch(job, task, call.state.project_of(task))
    if action == "delete":
        return [document for _, document in documents]
    return [write.added for write in writer.writes]


def _answer(parts: list[Json]) -> Reply:
    body: Json = {"version": 0}
    for kind in KINDS:
        body[kind] = [written(kind, row) for part in parts for row in part[kind]]
    return Reply(body=body)


@route("GET", "/api/jobs/{id}/annotations")
async def job_read(call: Call) -> Reply:
    """Send all annotations of a job."""
    job = job_of(call)
    return Reply(body=_reader(call, call.state.tasks[job.task]).document(job))


@route("PUT", "/api/jobs/{id}/annotations")
async def job_replace(call: Call) -> Reply:
    """Replace all annotations of a job; what comes without an id gets a new one."""
    job = job_of(call)
    document = clean(DOCUMENT, call.json)
    return _answer(_write(call, call.state.tasks[job.task], "replace", [(job, document)]))


@route("PATCH", "/api/jobs/{id}/annotations")
async def job_change(call: Call) -> Reply:
    """Create, update or delete annotations of a job."""
    job = job_of(call)
    action = _action(call)
    document = clean(DOCUMENT, call.json)
    return _answer(_write(call, call.state.tasks[job.task], action, [(job, document)]))


@route("DELETE", "/api/jobs/{id}/annotations")
async def job_clear(call: Call) -> Reply:
    """Delete all annotations of a job."""
    job = job_of(call)
    _write(call, call.state.tasks[job.task], "replace", [(job, EMPTY)])
    return Reply(204)


@route("GET", "/api/tasks/{id}/annotations")
async def task_read(call: Call) -> Reply:
    """Send the annotations of all jobs, where jobs overlap merged as CVAT does."""
    task = task_of(call)
    reader = _reader(call, task)
    jobs = call.state.jobs_of(task)
    return Reply(body=merged(task, jobs, [reader.document(job) for job in jobs]))


@route("PUT", "/api/tasks/{id}/annotations")
async def task_replace(call: Call) -> Reply:
    """Replace the annotations of all jobs; tracks are cut at the jobs' borders."""
    task = task_of(call)
    document = clean(DOCUMENT, call.json)
    return _answer(_write(call, task, "replace", cut_for_jobs(document, call.state.jobs_of(task))))


@route("PATCH", "/api/tasks/{id}/annotations")
async def task_change(call: Call) -> Reply:
    """Create, update or delete in all jobs; what no job holds is dropped in silence."""
    task = task_of(call)
    action = _action(call)
    document = clean(DOCUMENT, call.json)
    return _answer(_write(call, task, action, cut_for_jobs(document, call.state.jobs_of(task))))


@route("DELETE", "/api/tasks/{id}/annotations")
async def task_clear(call: Call) -> Reply:
    """Delete all annotations of a task."""
    task = task_of(call)
    _write(call, task, "replace", [(job, EMPTY) for job in call.state.jobs_of(task)])
    return Reply(204)
