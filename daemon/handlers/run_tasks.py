"""One task of a run on the server: made once, found again, filled with media, taken away."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from daemon.ports.cvat import CvatApi, MediaFailed, MediaLate, NotFound, OutcomeUnknown
from events.run import Frame, JobRange, MediaUploaded, TaskCreated
from projections import runs
from projections.codec.cvat import labels_to_wire

MEDIA_WAIT_S: Final = 3_600.0
# A server that took a task's media says so, or shows the frames, within this time.
MEDIA_LOOK_S: Final = 15.0
DELETE_TRIES_MAX: Final = 3


def next_nonce(run: runs.RunRow, task: runs.RunTaskRow) -> str:
    """Return a nonce for the task that no task of the run had."""
    first = f"lt-{run.nonce}-{task.index}"
    if not task.nonce:
        return first
    tries = task.nonce.removeprefix(first).lstrip("-")
    return f"{first}-{int(tries or 1) + 1}"


async def created(
    cvat: CvatApi, run: runs.RunRow, task: runs.RunTaskRow, nonce: str
) -> TaskCreated:
    """Make the task, or find the one that a request without an answer made."""
    found = [row async for row in cvat.tasks(subset=nonce)]
    if not found:
        try:
            found = [await cvat.create_task(_spec(run, task, nonce))]
        except OutcomeUnknown:
            found = [row async for row in cvat.tasks(subset=nonce)]
            if not found:
                raise
    return TaskCreated(
        index=task.index, task=found[0]["id"], created_date=found[0].get("created_date", "")
    )


def _spec(run: runs.RunRow, task: runs.RunTaskRow, nonce: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": task.name, "subset": nonce, "overlap": 0}
    if run.request.segment_size:
        spec["segment_size"] = run.request.segment_size
    if run.project is None:
        return spec | {"labels": labels_to_wire(run.labels)}
    return spec | {"project_id": run.project}


async def uploaded(
    cvat: CvatApi, task: runs.RunTaskRow, number: int, request: str | None
) -> MediaUploaded:
    """Wait until the server has the media of a task; return its frames and jobs.

    request  what the server called the upload, where it said so
    """
    await cvat.await_task_data(
        number, size=len(task.samples), timeout_s=MEDIA_WAIT_S, request=request
    )
    meta = await cvat.task_meta(number)
    frames = tuple(
        Frame(sample=sample, name=row["name"], width_px=row["width"], height_px=row["height"])
        for sample, row in zip(task.samples, meta["frames"], strict=True)
    )
    jobs = tuple(
        sorted(
            [
                JobRange(
                    job=row["id"],
                    start_frame=row["start_frame"],
                    stop_frame=row["stop_frame"],
                )
                async for row in cvat.jobs(task=number)
            ],
            key=lambda span: span.start_frame,
        )
    )
    return MediaUploaded(index=task.index, task=number, frames=frames, jobs=jobs)


async def has_media(cvat: CvatApi, task: runs.RunTaskRow) -> bool:
    """Look whether a task that was left somewhere got its media, or is about to.

    "Finished" is said of a task that never got any, so a while without frames decides.
    """
    assert task.task is not None
    try:
        await cvat.await_task_data(task.task, size=len(task.samples), timeout_s=MEDIA_LOOK_S)
    except MediaLate as exc:
        return exc.facts.get("state") in ("queued", "started")
    except (MediaFailed, NotFound):
        return False
    return True


async def drop_twins(cvat: CvatApi, nonce: str, task: int) -> None:
    """Delete what a request made that was given up for lost, and was carried out later."""
    async for row in cvat.tasks(subset=nonce):
        if row["id"] != task:
            await gone(cvat, row["id"])


async def set_subset(cvat: CvatApi, task: int) -> None:
    """Take the nonce off a complete task; twice is as once."""
    try:
        await cvat.patch_task(task, {"subset": ""})
    except OutcomeUnknown:
        await cvat.patch_task(task, {"subset": ""})


async def gone(cvat: CvatApi, task: int) -> None:
    """Delete a task; one that is not there is gone as well."""
    for left in reversed(range(DELETE_TRIES_MAX)):
        try:
            await cvat.delete_task(task)
        except NotFound:
            return
        except OutcomeUnknown:
            if not left:
                raise
        else:
            return


def plain_names(paths: Sequence[Path]) -> list[str]:
    """Return the file names that CVAT shows: base names, a repeated one with a number."""
    taken: set[str] = set()
    names = []
    for path in paths:
        candidates = (f"{path.stem}-{nth}{path.suffix}" for nth in count(2))
        name = next(name for name in chain([path.name], candidates) if name not in taken)
        taken.add(name)
        names.append(name)
    return names
