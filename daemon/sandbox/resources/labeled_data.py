"""Annotations of jobs and tasks."""

from __future__ import annotations

from collections.abc import Callable

from daemon.sandbox.annotations import Reader, Writer, written
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.documents import checked_document
from daemon.sandbox.errors import IdTaken, crashed, invalid
from daemon.sandbox.merging import merged
from daemon.sandbox.model import KINDS, Job, Json, Task
from daemon.sandbox.resources.jobs import job_of
from daemon.sandbox.resources.tasks import task_of
from daemon.sandbox.routes import route
from daemon.sandbox.tracks import cut_for_jobs
from daemon.sandbox.unsupported import FILE_EXPORT, FILE_IMPORT, unsupported

# How 2.73 answers who asks for a file as 2.15 gave it.
GONE = b"This endpoint is no longer supported.\n"

EMPTY: Json = {"tags": [], "shapes": [], "tracks": []}


def _reader(call: Call, task: Task) -> Reader:
    return Reader(call.state.labels_of(task))


def _document(call: Call, action: str) -> Json:
    return checked_document(call.json, action=action, is_new=call.is_new)


def _with_intervals(call: Call, body: Json) -> Json:
    """Add the intervals of audio that documents of 2.73 have, too."""
    return body | {"intervals": []} if call.is_new else body


def _no_file(call: Call, what: str) -> None:
    """Refuse a request that names a file format: it means an export or an import."""
    if call.param("format") is not None:
        raise unsupported(what)


def _gone() -> Reply:
    return Reply(410, GONE, content_type="text/html; charset=utf-8")


def _action(call: Call) -> str:
    action = call.param("action")
    if action not in {"create", "update", "delete"}:
        raise invalid("Please specify a correct 'action' for the request")
    return action


def _write(
    call: Call,
    task: Task,
    action: str,
    parts: list[tuple[Job, Json]],
    answer: Callable[[list[Json]], Json],
) -> Json:
    """Work out the writes of all jobs and their answer; then store, and move the dates.

    Whatever is refused, or crashes, leaves no trace.
    """
    writer = Writer(call.state, call.state.labels_of(task))
    for job, document in parts:
        getattr(writer, action)(job, document)
    written_parts = [write.added for write in writer.writes]
    body = answer([part for _, part in parts] if action == "delete" else written_parts)
    if call.journaled:
        reader = _reader(call, task)
        call.before = {job.id: reader.document(job) for job, _ in parts}
    for job in writer.store():
        call.touch(job, task, call.state.project_of(task))
    return body


def _shown(part: Json) -> Json:
    return {kind: [written(kind, row) for row in part[kind]] for kind in KINDS}


def _of_job(parts: list[Json]) -> Json:
    [part] = parts
    return {"version": 0, **_shown(part)}


@route("GET", "/api/jobs/{id}/annotations")
async def job_read(call: Call) -> Reply:
    """Send all annotations of a job."""
    job = job_of(call)
    if call.is_new and call.param("format") is not None:
        return _gone()
    _no_file(call, FILE_EXPORT)
    document = _reader(call, call.state.tasks[job.task]).document(job)
    return Reply(body=_with_intervals(call, document))


@route("PUT", "/api/jobs/{id}/annotations")
async def job_replace(call: Call) -> Reply:
    """Replace all annotations of a job; what comes without an id gets a new one."""
    job = job_of(call)
    _no_file(call, FILE_IMPORT)
    document = _document(call, "replace")
    parts = [(job, document)]
    return Reply(
        body=_with_intervals(
            call, _write(call, call.state.tasks[job.task], "replace", parts, _of_job)
        )
    )


@route("PATCH", "/api/jobs/{id}/annotations")
async def job_change(call: Call) -> Reply:
    """Create, update or delete annotations of a job."""
    job = job_of(call)
    action = _action(call)
    document = _document(call, action)
    parts = [(job, document)]
    return Reply(
        body=_with_intervals(call, _write(call, call.state.tasks[job.task], action, parts, _of_job))
    )


@route("DELETE", "/api/jobs/{id}/annotations")
async def job_clear(call: Call) -> Reply:
    """Delete all annotations of a job."""
    job = job_of(call)
    _write(call, call.state.tasks[job.task], "replace", [(job, EMPTY)], _of_job)
    return Reply(204)


@route("GET", "/api/tasks/{id}/annotations")
async def task_read(call: Call) -> Reply:
    """Send the annotations of all jobs, where jobs overlap merged as CVAT does."""
    task = task_of(call)
    if call.is_new and call.param("format") is not None:
        return _gone()
    _no_file(call, FILE_EXPORT)
    reader = _reader(call, task)
    jobs = call.state.annotated_jobs_of(task)
    body = merged(task, jobs, [reader.document(job) for job in jobs])
    return Reply(body=_with_intervals(call, body))


@route("PUT", "/api/tasks/{id}/annotations")
async def task_replace(call: Call) -> Reply:
    """Replace the annotations of all jobs; tracks are cut at the jobs' borders."""
    task = task_of(call)
    _no_file(call, FILE_IMPORT)
    try:
        return _write_task(call, task, "replace")
    except IdTaken as taken:
        # Nobody catches the database's error here, as they do everywhere else.
        raise crashed() from taken


@route("PATCH", "/api/tasks/{id}/annotations")
async def task_change(call: Call) -> Reply:
    """Create, update or delete in all jobs; what no job holds is dropped in silence."""
    task = task_of(call)
    return _write_task(call, task, _action(call))


def _write_task(call: Call, task: Task, action: str) -> Reply:
    document = _document(call, action)
    jobs = call.state.annotated_jobs_of(task)
    parts = cut_for_jobs(document, jobs, repeats_end=not call.is_new)

    def answer(documents: list[Json]) -> Json:
        return merged(task, jobs, [_shown(part) for part in documents])

    return Reply(body=_with_intervals(call, _write(call, task, action, parts, answer)))


@route("DELETE", "/api/tasks/{id}/annotations")
async def task_clear(call: Call) -> Reply:
    """Delete all annotations of a task."""
    task = task_of(call)
    parts = [(job, EMPTY) for job in call.state.annotated_jobs_of(task)]
    _write(call, task, "replace", parts, lambda documents: None)
    return Reply(204)
