"""How far the creation of a task's jobs is, as a background request of 2.73."""

from __future__ import annotations

from daemon.sandbox.call import Call
from daemon.sandbox.model import Json, Task
from daemon.sandbox.state import as_date

# How long a request is kept: one that failed for a year.
KEPT_US = 500 * 1_000_000
FAILED_KEPT_US = 365 * 86_400 * 1_000_000
STATUS = {"Queued": "queued", "Started": "started", "Finished": "finished", "Failed": "failed"}


def request_id(task: Task) -> str:
    """Return the id of the request that makes a task's jobs."""
    return f"action=create&target=task&target_id={task.id}"


def creation_of(call: Call, task: Task) -> tuple[str, str]:
    """Return state and message of the creation of a task's jobs, as they are now."""
    state, message = task.creation
    if state == "Started" and call.state.clock.now_us() < (task.begun or 0):
        return "Queued", ""
    return state, message


def shown_request(call: Call, task: Task) -> Json:
    """Show the request that makes a task's jobs."""
    state, message = creation_of(call, task)
    owner = call.state.users[task.owner]
    ended, kept = task.ended, FAILED_KEPT_US if state == "Failed" else KEPT_US
    return {
        "status": STATUS[state],
        "message": message if state == "Failed" else "",
        "id": request_id(task),
        "operation": {
            "type": "create:task",
            "target": "task",
            "project_id": task.project,
            "task_id": task.id,
            "job_id": None,
            "org_id": task.organization,
            "format": None,
            "lightweight": None,
        },
        "progress": 0.0,
        "created_date": as_date(task.requested),
        "started_date": as_date(task.begun) if task.begun and state != "Queued" else None,
        "finished_date": as_date(ended) if ended else None,
        "expiry_date": as_date(ended + kept) if ended else None,
        "owner": {"id": owner.id, "username": owner.username},
        "result_url": None,
        "result_id": None,
    }
