"""Task-level reads and writes: the cut of a document into its jobs."""

from __future__ import annotations

from daemon.sandbox.model import KINDS, Job, Json, Task


def cut_for_jobs(document: Json, jobs: list[Job]) -> list[tuple[Job, Json]]:
    """Give each job the part of a document that lies in its frames."""
    return [(job, _part(document, job)) for job in jobs]


def _part(document: Json, job: Job) -> Json:
    def inside(row: Json) -> bool:
        return bool(job.start_frame <= row["frame"] <= job.stop_frame)

    return {kind: [row for row in document[kind] if inside(row)] for kind in KINDS}


def merged(task: Task, jobs: list[Job], documents: list[Json]) -> Json:
    """Join the documents of a task's jobs."""
    body: Json = {"version": 0}
    for kind in KINDS:
        body[kind] = [row for document in documents for row in document[kind]]
    return body
