"""The background work between an upload and a task's jobs."""

from __future__ import annotations

import asyncio
import dataclasses
import functools

from daemon.sandbox.call import Call, scope_of
from daemon.sandbox.media import MediaUnreadable, read_media, segments
from daemon.sandbox.model import Data, Job, Task
from daemon.sandbox.outbox import Signal
from daemon.sandbox.progress import shown_request

# What `/status` says while the work is at it.
READING = "Media files are being extracted..."
PREPARING_VIDEO = "Start prepare a manifest file"
SAVING = "Task is being saved in database"
ERROR = "PIL.UnidentifiedImageError"
TRACE = f"Traceback (most recent call last):\n{ERROR}"


async def begin(
    call: Call, task: Task, files: dict[str, bytes], *, sorting: str, zip_chunks: bool
) -> None:
    """Read a task's media, and make its jobs in the background of the request."""
    data = task.data
    assert data is not None, "the upload made the media row"
    read = functools.partial(_read, sorting=sorting, zip_chunks=zip_chunks, is_new=call.is_new)
    failure = await asyncio.to_thread(read, data, files)
    task.creation = ("Started", _at_work(data, failure))
    faults = call.outbox.faults
    queue_s = min(faults.task_queue_s, faults.task_creation_s)
    task.requested = call.state.now()
    task.begun = call.state.now() + int(queue_s * 1e6)
    # A worker of CVAT has no request: its links are relative.
    worker = dataclasses.replace(call, base="", signals=[])

    def finish() -> None:
        if task.id not in call.state.tasks:
            return
        if failure is None:
            create_jobs(worker, task)
        task.creation = ("Finished", "") if failure is None else ("Failed", failure)
        task.ended = call.state.now()
        tell_end(worker, task)
        worker.commit()

    call.background.append(finish)


def _read(
    data: Data, files: dict[str, bytes], *, sorting: str, zip_chunks: bool, is_new: bool
) -> str | None:
    """Read media; returns what is wrong with them."""
    try:
        read_media(data, files, sorting=sorting, zip_chunks=zip_chunks)
    except MediaUnreadable as unreadable:
        return f"{TRACE if not is_new else ERROR}: {unreadable.message}" + "\n" * is_new
    return None


def _at_work(data: Data, failure: str | None) -> str:
    if failure is not None:
        return READING
    return PREPARING_VIDEO if data.is_video else SAVING


def create_jobs(call: Call, task: Task) -> None:
    """Make the jobs of a task whose media were read; then its media show."""
    state = call.state
    assert task.data is not None, "the upload made the media row"
    task.data.ready = True
    before = (task.overlap, task.segment_size)
    cuts = segments(task, is_new=call.is_new)
    after = (task.overlap, task.segment_size)
    task.overlap, task.segment_size = before
    for first, last in cuts:
        chunks = state.now()
        job = _add_job(call, task, (first, last), chunks)
        for _ in range(task.consensus_replicas):
            _add_job(call, task, (first, last), chunks, parent=job.id)
    with call.saving(task):
        task.mode = "interpolation" if task.data.is_video else "annotation"
        task.overlap, task.segment_size = after
    if call.is_new:
        call.touch(task)


def _add_job(
    call: Call, task: Task, frames: tuple[int, int], chunks: int, parent: int | None = None
) -> Job:
    state = call.state
    job = Job(state.next_id("jobs"), task.id, *frames, state.now(), state.now())
    job.chunks_updated, job.parent = chunks, parent
    state.jobs[job.id] = job
    call.tell("create:job", job)
    return job


def tell_end(call: Call, task: Task) -> None:
    """Tell that the request ended (2.73); such an event names no sender."""
    if call.is_new:
        shown = shown_request(call, task)
        scope = scope_of(call.state, task)
        event = "completed:request[create:task]"
        call.signals.append(Signal(event, shown, None, **scope))
