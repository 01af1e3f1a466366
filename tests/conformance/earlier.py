"""What the recorded servers held before the recorded sessions."""

from __future__ import annotations

from typing import Any

from tests.conformance.replay import Replay

FRAMES = [f"{n}.jpg" for n in range(4)]


async def _project(replay: Replay, name: str, **headers: str) -> int:
    wanted = {"name": name, "labels": [{"name": "x"}]}
    made = await replay.ask("POST", "/api/projects", wanted, **headers)
    return int(made["id"])


async def _jobs(replay: Replay, name: str, project: int) -> list[int]:
    """Make a task of two jobs; returns them, the first frames first."""
    wanted = {"name": name, "project_id": project, "segment_size": 2}
    task: dict[str, Any] = await replay.ask("POST", "/api/tasks", wanted)
    await replay.upload(task["id"], FRAMES)
    listed = await replay.ask("GET", f"/api/jobs?task_id={task['id']}")
    return [row["id"] for row in reversed(listed["results"])]


async def reviewed_tasks(replay: Replay) -> None:
    """Make two tasks that were under review, each with an issue."""
    for name, state in (("t2-a", "new"), ("t2-b", "rejected")):
        first, _ = await _jobs(replay, name, await _project(replay, name))
        stage = {"stage": "acceptance", "state": state, "assignee": 2}
        await replay.ask("PATCH", f"/api/jobs/{first}", stage)
        issue = {"job": first, "frame": 0, "position": [1, 2], "message": "look"}
        await replay.ask("POST", "/api/issues", issue)


async def projects_of_others(replay: Replay) -> None:
    """Make five projects: an empty one, three with a task, one of an organization."""
    await _project(replay, "p-095457")
    for name in ("p-095509", "p-100347", "p-101235"):
        await _jobs(replay, name, await _project(replay, name))
    await replay.ask("POST", "/api/organizations", {"slug": "org-101235"})
    await _project(replay, "in-org", **{"x-organization": "org-101235"})


async def jobs_of_others(replay: Replay) -> None:
    """Make eight jobs, of which the last but one is somebody's."""
    for name in ("t-111300", "t-111500", "t-111700"):
        await _jobs(replay, name, await _project(replay, name))
    first, _ = await _jobs(replay, "t-111843", await _project(replay, "p-111843"))
    await replay.ask("PATCH", f"/api/jobs/{first}", {"assignee": 2})
