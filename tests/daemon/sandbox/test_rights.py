"""Who sees what: 401, 403, 404, and lists that just leave out."""

from __future__ import annotations

import base64

from tests.daemon.sandbox.client import Client
from tests.daemon.sandbox.conftest import World


async def test_an_assignee_reads_his_job_and_not_its_task(world: World) -> None:
    """His token is enough for a recorder that uses job-level endpoints only."""
    await world.admin.patch(f"/api/jobs/{world.first}", {"assignee": 2})
    job, task = f"/api/jobs/{world.first}", f"/api/tasks/{world.task}"
    allowed = [job, f"{job}/data/meta", f"{job}/annotations", "/api/labels"]
    refused = [task, f"{task}/data/meta", f"{task}/annotations"]

    got = []
    for path in allowed:
        await world.annotator.get(path, job_id=world.first)
        got.append(world.annotator.status)
    for path in refused:
        await world.annotator.get(path)
        got.append(world.annotator.status)
    await world.annotator.get("/api/labels", task_id=world.task)

    assert got == [200] * 4 + [403] * 3
    assert world.annotator.status == 403


async def test_an_assignee_changes_the_state_and_not_the_stage(world: World) -> None:
    """Stages are the reviewers'."""
    path = f"/api/jobs/{world.first}"
    await world.admin.patch(path, {"assignee": 2})

    await world.annotator.patch(path, {"state": "completed"})
    state = world.annotator.status
    await world.annotator.patch(path, {"stage": "validation"})

    assert (state, world.annotator.status) == (200, 403)


async def test_who_is_unassigned_loses_the_job_from_his_list_in_silence(world: World) -> None:
    """Absence from a list is no deletion."""
    path = f"/api/jobs/{world.first}"
    await world.admin.patch(path, {"assignee": 2})
    before = await world.annotator.get("/api/jobs")

    await world.admin.patch(path, {"assignee": None})

    after = await world.annotator.get("/api/jobs")
    await world.annotator.get(path)
    assert (before["count"], after["count"]) == (1, 0)
    assert world.annotator.status == 403


async def test_a_stranger_is_refused_and_a_deleted_job_is_not_found(world: World) -> None:
    """403 says it exists; only 404 says it is gone."""
    await world.stranger.get(world.annotations)
    refused = world.stranger.status
    await world.admin.delete(f"/api/tasks/{world.task}")

    await world.stranger.get(world.annotations)

    assert (refused, world.stranger.status) == (403, 404)


async def test_a_bad_token_is_unauthorized(world: World) -> None:
    """401 with nobody and with somebody unknown."""
    nobody = Client(world.sandbox)
    await nobody.get("/api/tasks")
    without = nobody.status
    nobody.extra["Authorization"] = "Token 0123"

    await nobody.get("/api/tasks")

    assert (without, nobody.status) == (401, 401)


async def test_basic_and_session_log_in_too(world: World) -> None:
    """As FiftyOne and browsers do."""
    basic = Client(world.sandbox)
    basic.extra["Authorization"] = "Basic " + base64.b64encode(b"annotator1:pw1").decode()
    session = Client(world.sandbox)
    await session.post("/api/auth/login", {"username": "annotator2", "password": "pw2"})
    session.extra["Cookie"] = session.headers["Set-Cookie"].partition(";")[0]

    names = [(await each.get("/api/users/self"))["username"] for each in (basic, session)]

    assert names == ["annotator1", "annotator2"]


async def test_lists_depend_on_the_organization_and_details_do_not(world: World) -> None:
    """An unknown organization is not found."""
    await world.admin.post("/api/organizations", {"slug": "org"})
    named = {"X-Organization": "org"}

    tasks = await world.admin.send("GET", "/api/tasks", headers=named)
    await world.admin.send("GET", f"/api/tasks/{world.task}", headers=named)
    detail = world.admin.status
    unknown = await world.admin.send("GET", "/api/tasks", headers={"X-Organization": "no"})

    assert (tasks["count"], detail) == (0, 200)
    assert unknown == {"detail": "no organization does not exist."}
