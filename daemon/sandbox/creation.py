"""The background work between an upload and a task's jobs."""

from __future__ import annotations

import dataclasses

from daemon.sandbox.call import Call
from daemon.sandbox.media import MediaUnreadable, read_media, segments
from daemon.sandbox.model import Job, Task

STARTED = ("Started", "Task is being saved in database")


def begin(
    call: Call, task: Task, files: dict[str, bytes], *, sorting: str, zip_chunks: bool
) -> None:
    """Start the creation of jobs, in the background of the request."""
    task.creation = STARTED
    # A worker of CVAT has no request: its links are relative.
    worker = dataclasses.replace(call, base="", signals=[])

    def finish() -> None:
        create_jobs(worker, task, files, sorting=sorting, zip_chunks=zip_chunks)
        worker.commit()

    call.background.append(finish)


def create_jobs(
    call: Call, task: Task, files: dict[str, bytes], *, sorting: str, zip_chunks: bool
) -> None:
    """Read the media and make the jobs, or say why that failed."""
    state = call.state
    assert task.data is not None, "the upload made the media row"
    if task.id not in state.tasks:
        return
    try:
        read_media(task.data, files, sorting=sorting, zip_chunks=zip_chunks)
    except MediaUnreadable as unreadable:
        trace = "Traceback (most recent call last):\nPIL.UnidentifiedImageError"
        task.creation = ("Failed", f"{trace}: {unreadable.message}")
        return
    before = (task.overlap, task.segment_size)
    cuts = segments(task)
    after = (task.overlap, task.segment_size)
    task.overlap, task.segment_size = before
    for first, last in cuts:
        job = Job(state.next_id("jobs"), task.id, first, last, state.now(), state.now())
        state.jobs[job.id] = job
        call.tell("create:job", job)
    with call.saving(task):
        task.mode = "interpolation" if task.data.is_video else "annotation"
        task.overlap, task.segment_size = after
    task.creation = ("Finished", "")
