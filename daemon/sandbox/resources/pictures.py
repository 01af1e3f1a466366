"""Frames, chunks and previews of tasks, jobs and projects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from daemon.sandbox import pictures
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import Refused, bad_request, crashed
from daemon.sandbox.model import Data
from daemon.sandbox.pictures import Picture
from daemon.sandbox.resources.jobs import job_of
from daemon.sandbox.resources.projects import project_of
from daemon.sandbox.resources.tasks import media_of, task_of
from daemon.sandbox.routes import route
from daemon.sandbox.state import newest_first
from daemon.sandbox.video import VideoUnreadable

NO_CHUNK = "requested chunk does not exist"


@route("GET", "/api/tasks/{id}/data")
async def task_picture(call: Call) -> Reply:
    """Send a frame or a chunk of a task."""
    data = media_of(task_of(call))
    frames = range(data.size)
    match _kind(call):
        case "frame":
            return await _frame(call, data, frames, "task")
        case "chunk":
            return await _chunk(call, data, _cut(data, frames, _number(call, "number")))
        case _:
            return _no_context()


@route("GET", "/api/jobs/{id}/data")
async def job_picture(call: Call) -> Reply:
    """Send a frame or a chunk of a job; 2.73 can count chunks from the job's first frame."""
    row = job_of(call)
    data = media_of(call.state.tasks[row.task])
    own = range(row.start_frame, row.stop_frame + 1)
    match _kind(call):
        case "frame":
            return await _frame(call, data, own, "job")
        case "chunk" if call.is_new and call.param("index") is not None:
            return await _chunk(call, data, _cut(data, own, _number(call, "index")))
        case "chunk":
            whole = _cut(data, range(data.size), _number(call, "number"))
            inside = [frame for frame in whole if frame in own]
            return await _chunk(call, data, inside if call.is_new else whole)
        case _:
            return _no_context()


@route("GET", "/api/tasks/{id}/preview")
async def task_preview(call: Call) -> Reply:
    """Send a small picture of a task's first frame."""
    data = task_of(call).data
    return await _preview(data, 0, "Task")


@route("GET", "/api/jobs/{id}/preview")
async def job_preview(call: Call) -> Reply:
    """Send a small picture of a job's first frame."""
    row = job_of(call)
    return await _preview(call.state.tasks[row.task].data, row.start_frame, "Job")


@route("GET", "/api/projects/{id}/preview")
async def project_preview(call: Call) -> Reply:
    """Send a small picture of a project's newest task."""
    tasks = newest_first(call.state.tasks_of(project_of(call)))
    return await _preview(tasks[0].data if tasks else None, 0, "Project")


def _kind(call: Call) -> str:
    kind = call.param("type")
    if kind not in {"frame", "chunk", "context_image"}:
        raise bad_request({"detail": "Data type not specified or not supported"})
    return kind


def _no_context() -> Reply:
    """Answer for context images: no task has any, since `related_images` are not read."""
    return Reply(404)


def _number(call: Call, name: str) -> int:
    """Read a number of the query; -1, which nothing has, where it is none."""
    told = call.param(name) or ""
    return int(told) if told.isascii() and told.isdigit() and len(told) < 10 else -1


def _cut(data: Data, frames: range, number: int) -> range:
    """Return the frames of a chunk; raises Refused (400) where there is none."""
    size = data.chunk_size or 1
    kept = frames[number * size : (number + 1) * size] if number >= 0 else frames[:0]
    if not kept:
        raise bad_request(NO_CHUNK)
    return kept


async def _frame(call: Call, data: Data, frames: range, owner: str) -> Reply:
    number = _number(call, "number")
    if number not in frames:
        raise bad_request(f"The frame number doesn't belong to the {owner}")
    compressed = call.param("quality") == "compressed"
    return await _made(partial(pictures.frame, data, number, compressed=compressed))


async def _chunk(call: Call, data: Data, frames: range | list[int]) -> Reply:
    if not frames:
        raise bad_request(NO_CHUNK)
    compressed = call.param("quality") == "compressed"
    return await _made(partial(pictures.chunk, data, frames, compressed=compressed))


async def _preview(data: Data | None, number: int, owner: str) -> Reply:
    if data is None or not data.ready:
        text = f"{owner} image preview not found".encode()
        return Reply(404, text, content_type="text/html; charset=utf-8")
    return await _made(partial(pictures.preview, data, number))


async def _made(make: Callable[[], Picture]) -> Reply:
    """Decode and encode outside of the event loop."""
    try:
        content, content_type = await asyncio.to_thread(make)
    except pictures.ChunkTooLarge as large:
        raise Refused(413, {"detail": large.message}) from large
    except (OSError, VideoUnreadable) as exc:
        # The header was whole when the task was made; the pictures are not.
        raise crashed() from exc
    return Reply(body=content, content_type=content_type)
