"""Rows as the JSON documents of CVAT's answers and webhooks (2.15 serializers).

`base` is the scheme and host of links. CVAT's workers have no request and
therefore no host: there, links are relative, and `labels`, `issues` and the
jobs' link are null. Callers say so with `base=""`.
"""

from __future__ import annotations

from daemon.sandbox.model import (
    Comment,
    Data,
    Issue,
    Job,
    Json,
    Label,
    Organization,
    Project,
    Spec,
    Task,
    User,
)
from daemon.sandbox.state import State, as_date

VIDEO_CHUNK_SIZE = 36


def basic_user(user: User, base: str) -> Json:
    """Show a user as other documents refer to him."""
    return {
        "url": f"{base}/api/users/{user.id}",
        "id": user.id,
        "username": user.username,
        "first_name": user.first_name,
        "last_name": user.last_name,
    }


def full_user(user: User, base: str) -> Json:
    """Show a user as he sees himself, or an admin sees him."""
    return basic_user(user, base) | {
        "email": user.email,
        "groups": ["admin", "user"] if user.is_admin else ["user"],
        "is_staff": user.is_admin,
        "is_superuser": user.is_admin,
        "is_active": True,
        "last_login": as_date(user.last_login) if user.last_login else None,
        "date_joined": as_date(user.date_joined),
    }


def person(state: State, user_id: int | None, base: str) -> Json:
    """Show an owner or assignee, or null."""
    return None if user_id is None else basic_user(state.users[user_id], base)


def organization(state: State, row: Organization, base: str) -> Json:
    """Show an organization."""
    return {
        "id": row.id,
        "slug": row.slug,
        "name": row.name,
        "description": row.description,
        "created_date": as_date(row.created),
        "updated_date": as_date(row.updated),
        "contact": row.contact,
        "owner": person(state, row.owner, base),
    }


def project(state: State, row: Project, base: str) -> Json:
    """Show a project."""
    tasks = state.tasks_of(row)
    return {
        "url": f"{base}/api/projects/{row.id}",
        "id": row.id,
        "name": row.name,
        "owner": person(state, row.owner, base),
        "assignee": person(state, row.assignee, base),
        "guide_id": None,
        "bug_tracker": row.bug_tracker,
        "created_date": as_date(row.created),
        "updated_date": as_date(row.updated),
        "status": "annotation",
        "dimension": "2d" if tasks else None,
        "organization": row.organization,
        "target_storage": None,
        "source_storage": None,
        "tasks": {"count": len(tasks), "url": f"{base}/api/tasks?project_id={row.id}"}
        if base
        else None,
        "labels": {"url": f"{base}/api/labels?project_id={row.id}"} if base else None,
        "task_subsets": sorted({task.subset for task in tasks} - {""}),
    }


def _job_counts(state: State, row: Task, base: str, *, counted: bool) -> Json:
    jobs = state.jobs_of(row)
    done = sum(job.stage == "acceptance" and job.state == "completed" for job in jobs)
    return {
        "count": len(jobs),
        "completed": done if counted else None,
        "validation": sum(job.stage == "validation" for job in jobs) if counted else None,
        "url": f"{base}/api/jobs?task_id={row.id}" if base else None,
    }


def task(
    state: State, row: Task, base: str, *, counted: bool = True, reader: User | None = None
) -> Json:
    """Show a task.

    counted  whether CVAT's query counted the jobs by state; rows that it
             reaches through another row were not counted and show null
    reader   who asks; newer versions hide names from him
    """
    data = row.data
    shown = {
        "url": f"{base}/api/tasks/{row.id}",
        "id": row.id,
        "name": row.name,
        "project_id": row.project,
        "mode": row.mode,
        "owner": person(state, row.owner, base),
        "assignee": person(state, row.assignee, base),
        "bug_tracker": row.bug_tracker,
        "created_date": as_date(row.created),
        "updated_date": as_date(row.updated),
        "overlap": row.overlap,
        "segment_size": row.segment_size,
        "status": row.status,
    }
    if data is not None:
        shown |= {
            "data_chunk_size": data.chunk_size,
            "data_compressed_chunk_type": data.compressed_as,
        }
    shown["guide_id"] = None
    if data is not None:
        shown |= {
            "data_original_chunk_type": "video" if data.is_video else "imageset",
            "size": data.size,
            "image_quality": data.image_quality,
            "data": data.id,
        }
    return shown | {
        "dimension": "2d",
        "subset": row.subset,
        "organization": row.organization,
        "target_storage": None,
        "source_storage": None,
        "jobs": _job_counts(state, row, base, counted=counted),
        "labels": {"url": f"{base}/api/labels?task_id={row.id}"} if base else None,
    }


def job(
    state: State, row: Job, base: str, *, counted: bool = True, reader: User | None = None
) -> Json:
    """Show a job; `counted` as for a task: without it the issues count 0.

    reader  who asks; newer versions hide names from him
    """
    parent = state.tasks[row.task]
    above = state.project_of(parent)
    data = parent.data
    assert data is not None, "a job without media"
    issues = {
        "url": f"{base}/api/issues?job_id={row.id}",
        "count": len(state.issues_of(row)) if counted else 0,
    }
    return {
        "url": f"{base}/api/jobs/{row.id}",
        "id": row.id,
        "task_id": parent.id,
        "project_id": parent.project,
        "assignee": person(state, row.assignee, base),
        "guide_id": None,
        "dimension": "2d",
        "bug_tracker": parent.bug_tracker or (above.bug_tracker if above else None),
        "status": row.status,
        "stage": row.stage,
        "state": row.state,
        "mode": parent.mode or ("interpolation" if data.is_video else "annotation"),
        "frame_count": row.stop_frame - row.start_frame + 1,
        "start_frame": row.start_frame,
        "stop_frame": row.stop_frame,
        "data_chunk_size": data.chunk_size,
        "data_compressed_chunk_type": data.compressed_as,
        "created_date": as_date(row.created),
        "updated_date": as_date(row.updated),
        "issues": issues if base else None,
        "labels": {"url": f"{base}/api/labels?job_id={row.id}"} if base else None,
        "type": "annotation",
        "organization": parent.organization,
        "target_storage": None,
        "source_storage": None,
    }


def spec(row: Spec) -> Json:
    """Show an attribute of a label."""
    return {
        "id": row.id,
        "name": row.name,
        "mutable": row.mutable,
        "input_type": row.input_type,
        "default_value": row.default_value,
        "values": row.values,
    }


def sublabel(row: Label) -> Json:
    """Show a label inside its skeleton."""
    return {
        "id": row.id,
        "name": row.name,
        "color": row.color,
        "attributes": [spec(each) for each in row.specs.values()],
        "type": row.type,
        "has_parent": True,
    }


def label(state: State, row: Label) -> Json:
    """Show a label with its attributes and sublabels."""
    below = [each for each in state.labels.values() if each.parent == row.id]
    owner = {"project_id": row.project} if row.project is not None else {"task_id": row.task}
    shown = {
        "id": row.id,
        "name": row.name,
        "color": row.color,
        "attributes": [spec(each) for each in row.specs.values()],
        "type": row.type,
        "sublabels": [sublabel(each) for each in below],
        **owner,
        "parent_id": row.parent,
        "has_parent": row.parent is not None,
    }
    return shown if row.svg is None else shown | {"svg": row.svg}


def issue(state: State, row: Issue, base: str, *, counted: bool = True) -> Json:
    """Show an issue; its comments by number and link."""
    return {
        "id": row.id,
        "frame": row.frame,
        "position": row.position,
        "job": row.job,
        "owner": person(state, row.owner, base),
        "assignee": person(state, row.assignee, base),
        "created_date": as_date(row.created),
        "updated_date": as_date(row.updated),
        "resolved": row.resolved,
        "comments": {
            "count": len(state.comments_of(row)) if counted else 0,
            "url": f"{base}/api/comments?issue_id={row.id}",
        },
    }


def comment(state: State, row: Comment, base: str) -> Json:
    """Show a comment."""
    return {
        "id": row.id,
        "issue": row.issue,
        "owner": person(state, row.owner, base),
        "message": row.message,
        "created_date": as_date(row.created),
        "updated_date": as_date(row.updated),
    }


def data_meta(data: Data, start: int, stop: int, *, of_job: bool, chunks_updated: int = 0) -> Json:
    """Show the media between two frames of a task, both included.

    chunks_updated  date of the chunks, which newer versions show
    """
    step = data.step
    whole = not of_job
    return {
        "chunk_size": data.chunk_size,
        "size": stop - start + 1,
        "image_quality": data.image_quality,
        "start_frame": data.start_frame if whole else data.start_frame + start * step,
        "stop_frame": data.stop_frame if whole else data.start_frame + stop * step,
        "frame_filter": data.frame_filter,
        "frames": [
            {
                "width": frame.width,
                "height": frame.height,
                "name": frame.name,
                "related_files": 0,
                "has_related_context": False,
            }
            for frame in (data.frames if data.is_video else data.frames[start : stop + 1])
        ],
        "deleted_frames": sorted(n for n in data.deleted_frames if start <= n <= stop),
        "included_frames": None,
    }
