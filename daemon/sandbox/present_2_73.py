"""Rows as JSON documents of CVAT 2.73: those of 2.15 with other members, in another order.

Takes the same arguments as `present`; see there.
"""

from __future__ import annotations

from daemon.sandbox import present
from daemon.sandbox.model import (
    Comment,
    Data,
    Issue,
    Job,
    Json,
    Project,
    Task,
    User,
)
from daemon.sandbox.present import (
    basic_user,
    comment,
    issue,
    label,
    organization,
    person,
)
from daemon.sandbox.state import State, as_date

__all__ = [
    "basic_user",
    "columns",
    "comment",
    "data_meta",
    "full_user",
    "issue",
    "job",
    "label",
    "organization",
    "person",
    "project",
    "task",
]


def full_user(user: User, base: str) -> Json:
    """Show a user as he sees himself, or an admin sees him."""
    return present.full_user(user, base) | {"has_analytics_access": user.is_admin}


def _date(stamp_us: int | None) -> str | None:
    return None if stamp_us is None else as_date(stamp_us)


def _reordered(shown: Json, **inserted: tuple[str, Json]) -> Json:
    """Put members behind others: name=(behind which, value)."""
    made: Json = {}
    for known, value in shown.items():
        made[known] = value
        for name, (behind, added) in inserted.items():
            if behind == known:
                made[name] = added
    return made


def project(state: State, row: Project, base: str) -> Json:
    """Show a project."""
    shown = present.project(state, row, base)
    if not any(each.mode for each in state.tasks_of(row)):
        shown["dimension"] = None
    return _reordered(
        shown,
        organization_id=("organization", row.organization),
        assignee_updated_date=("labels", _date(row.assignee_updated)),
    )


def task(
    state: State, row: Task, base: str, *, counted: bool = True, reader: User | None = None
) -> Json:
    """Show a task; its jobs are counted always. Images and videos are both media of `image`."""
    shown = present.task(state, row, base)
    above = state.project_of(row)
    data = row.data
    head = ("url", "id", "name", "project_id")
    made = {name: shown[name] for name in head}
    named = above is not None and bool(base) and _sees(reader, above)
    made["project_name"] = above.name if above and named else None
    for name in ("owner", "assignee", "bug_tracker", "created_date", "updated_date"):
        made[name] = shown[name]
    made |= {name: shown[name] for name in ("overlap", "segment_size", "status")}
    made |= _task_data(data)
    return made | {
        "dimension": "2d" if row.mode else "",
        "mode": row.mode,
        "media_type": row.mode and "image",
        "subset": row.subset,
        "organization_id": row.organization,
        "organization": row.organization,
        "target_storage": None,
        "source_storage": None,
        "jobs": shown["jobs"] | {"url": f"{base}/api/jobs?task_id={row.id}"},
        "labels": {"url": f"{base}/api/labels?task_id={row.id}"},
        "assignee_updated_date": _date(row.assignee_updated),
        "validation_mode": None,
        "consensus_enabled": row.consensus_replicas > 0,
    }


def _task_data(data: Data | None) -> Json:
    """Show a task's media: nothing, an empty row, or all."""
    if data is None:
        return {"guide_id": None, "data": None}
    if not data.ready:
        return {"data_cloud_storage_id": None, "guide_id": None, "size": 0, "data": data.id}
    return {
        "data_chunk_size": data.chunk_size,
        "data_original_chunk_type": "video" if data.is_video else "imageset",
        "data_compressed_chunk_type": data.compressed_as,
        "data_cloud_storage_id": None,
        "guide_id": None,
        "size": data.size,
        "image_quality": data.image_quality,
        "data": data.id,
    }


def job(
    state: State, row: Job, base: str, *, counted: bool = True, reader: User | None = None
) -> Json:
    """Show a job.

    reader  who asks; the project's name is shown to him who may see the project
    """
    shown = present.job(state, row, base, counted=counted)
    parent = state.tasks[row.task]
    above = state.project_of(parent)
    data = parent.data
    assert data is not None, "a job without media"
    fresh = not parent.mode
    replicas = parent.consensus_replicas if row.parent is None else 0
    named = above is not None and bool(base) and _sees(reader, above)
    head = {name: shown[name] for name in ("url", "id", "task_id")}
    head["task_name"] = parent.name if base else None
    head["project_id"] = shown["project_id"]
    head["project_name"] = above.name if above and named else None
    head |= {name: shown[name] for name in ("assignee", "guide_id")}
    head["dimension"] = "" if fresh else "2d"
    head["mode"] = parent.mode
    head["media_type"] = "" if fresh else "image"
    head |= {name: shown[name] for name in ("bug_tracker", "status", "stage", "state")}
    # A job is told of before its task's media are whole.
    head["frame_count"] = int(row.start_frame == 0) if fresh else shown["frame_count"]
    head |= {name: shown[name] for name in ("start_frame", "stop_frame")}
    head["data_chunk_size"] = None if fresh else data.chunk_size
    head["data_compressed_chunk_type"] = "" if fresh else data.compressed_as
    head["data_original_chunk_type"] = "" if fresh else ("video" if data.is_video else "imageset")
    return head | {
        "created_date": shown["created_date"],
        "updated_date": shown["updated_date"],
        "issues": shown["issues"],
        "labels": {"url": f"{base}/api/labels?job_id={row.id}"},
        "type": row.type,
        "organization": parent.organization,
        "target_storage": None,
        "source_storage": None,
        "assignee_updated_date": _date(row.assignee_updated),
        "parent_job_id": row.parent,
        "replicas_count": replicas,
        "consensus_replicas": replicas,
    }


def _sees(reader: User | None, row: Project) -> bool:
    return reader is None or reader.is_admin or reader.id in (row.owner, row.assignee)


def data_meta(data: Data, start: int, stop: int, *, of_job: bool, chunks_updated: int) -> Json:
    """Show the media between two frames of a task; chunks have a date of their own."""
    shown = present.data_meta(data, start, stop, of_job=of_job)
    head: Json = {"chapters": [] if data.is_video else None}
    head["chunks_updated_date"] = as_date(chunks_updated)
    return head | shown | {"storage": "local", "cloud_storage_id": None}


def columns(row: Project | Task | Job | Issue | Comment) -> Json:
    """Return the columns of a row's model by which webhooks tell what changed."""
    first: Json = {"updated_date": as_date(row.updated)}
    match row:
        case Project():
            return first | {
                "name": row.name,
                "bug_tracker": row.bug_tracker,
                "assignee_id": row.assignee,
                "assignee_updated_date": _date(row.assignee_updated),
            }
        case Task():
            data = row.data
            return first | {
                "name": row.name,
                "project_id": row.project,
                "assignee_id": row.assignee,
                "assignee_updated_date": _date(row.assignee_updated),
                "bug_tracker": row.bug_tracker,
                "overlap": row.overlap,
                "segment_size": row.segment_size,
                "status": row.status,
                "data_id": data.id if data else None,
                "dimension": "2d" if row.mode else "",
                "mode": row.mode,
                "media_type": row.mode and "image",
                "subset": row.subset,
            }
        case Job():
            return first | {
                "assignee_id": row.assignee,
                "assignee_updated_date": _date(row.assignee_updated),
                "status": row.status,
                "stage": row.stage,
                "state": row.state,
            }
        case Issue():
            return first | {
                "position": row.position,
                "assignee_id": row.assignee,
                "resolved": row.resolved,
            }
        case Comment():
            return first | {"message": row.message}
