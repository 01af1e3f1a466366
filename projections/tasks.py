"""From a look at a task to the facts of what changed: its members, its deleted frames, its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from events.job import FramesDeleted, TaskChanged, TaskDeleted
from events.registry import Fact
from projections import jobs
from projections.decision import Decision, Draft
from projections.observation import freeze
from projections.streams import versions
from projections.tables import Tables

# The states in which nobody works on a job any more.
DONE: Final = frozenset({"completed", "rejected"})


def task_members(row: Mapping[str, Any]) -> dict[str, Any]:
    """Read what we keep of `GET /api/tasks/{id}` (CVAT `TaskRead`)."""
    assignee = row.get("assignee")
    return {
        "name": str(row.get("name") or ""),
        "project": row.get("project_id"),
        "status": str(row.get("status") or ""),
        "assignee": assignee.get("id") if isinstance(assignee, dict) else assignee,
        "created_date": str(row.get("created_date") or ""),
    }


def watched_tasks(tables: Tables, server: str) -> dict[int, list[jobs.JobRow]]:
    """Return the recorded jobs of a server by their task; none of a frozen server."""
    held = tables.get(jobs.SERVERS, server)
    found: dict[int, list[jobs.JobRow]] = {}
    if held is None or not held.frozen:
        for row in tables.scan(jobs.JOBS, server):
            if row.condition not in ("deleted", "replaced"):
                found.setdefault(row.task, []).append(row)
    return found


def is_open(rows: Iterable[jobs.JobRow]) -> bool:
    """Tell whether somebody may still work on a task, by its jobs."""
    return any(row.state not in DONE and not row.condition for row in rows)


def observe_task(tables: Tables, server: str, task: int, row: Mapping[str, Any]) -> Decision:
    """Decide what the members of a task tell beyond what is known of it."""
    stream = f"task/{server}/{task}"
    expects = versions(tables, [stream])
    held, known = tables.get(jobs.SERVERS, server), tables.get(jobs.TASKS, server, task)
    if held and held.frozen:
        return Decision()
    members = task_members(row)
    created = members["created_date"]
    if known and known.created_date and created and known.created_date != created:
        reason = f"task {task} has another created_date than the one recorded under its id"
        old = {"task": task, "created": known.created_date}
        return freeze(tables, server, reason, old, {"task": task, "created": created}, expects)
    was = {name: getattr(known, name) for name in members} if known else {}
    new = {name: value for name, value in members.items() if was.get(name, "") != value}
    if not new and not (known and known.gone):
        return Decision()
    changed = TaskChanged(old={name: was[name] for name in new if name in was}, new=new)
    return Decision([Draft(stream, changed)], expects)


def observe_frames(tables: Tables, server: str, task: int, deleted: Iterable[int]) -> Decision:
    """Decide whether other frames of a task are deleted now; no date tells of it."""
    known = tables.get(jobs.TASKS, server, task)
    old, new = known.deleted_frames if known else (), tuple(sorted(set(deleted)))
    return _one(tables, server, task, FramesDeleted(old=old, new=new) if old != new else None)


def observe_end(tables: Tables, server: str, task: int) -> Decision:
    """Decide to call a task deleted, once."""
    known = tables.get(jobs.TASKS, server, task)
    return _one(tables, server, task, None if known and known.gone else TaskDeleted())


def _one(tables: Tables, server: str, task: int, fact: Fact | None) -> Decision:
    stream = f"task/{server}/{task}"
    held = tables.get(jobs.SERVERS, server)
    if fact is None or (held and held.frozen):
        return Decision()
    return Decision([Draft(stream, fact)], versions(tables, [stream]))
