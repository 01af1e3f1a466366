"""Creating and access: where 2.73 differs from 2.15, as measured on a real server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from daemon.sandbox import Faults
from tests.conformance.clock import StepClock
from tests.daemon.sandbox.client import Client, jpeg, sandbox
from tests.daemon.sandbox.conftest import Newer


async def test_an_upload_is_followed_by_its_request(newer: Newer) -> None:
    """`/status` still answers."""
    request = await newer.admin.get(f"/api/requests/{newer.accepted['rq_id']}")
    status = await newer.admin.get(f"/api/tasks/{newer.task}/status")

    assert (request["status"], status["state"]) == ("finished", "Finished")


async def test_a_personal_token_reads_and_does_not_write(newer: Newer) -> None:
    """`read_only` is the default, and all that a recorder needs."""
    made = await newer.admin.post("/api/auth/access_tokens", {"name": "recorder"})
    reader = Client(newer.sandbox)
    reader.extra["Authorization"] = f"Bearer {made['value']}"

    await reader.get(newer.path)
    read = reader.status
    await reader.patch(newer.path, {"shapes": [newer.box()]}, action="create")
    written = reader.status
    [listed] = (await newer.admin.get("/api/auth/access_tokens"))["results"]
    await newer.admin.delete(f"/api/auth/access_tokens/{made['id']}")
    await reader.get(newer.path)

    assert (read, written, reader.status) == (200, 403, 401)
    assert listed["last_used_date"] is not None
    assert "value" not in listed


async def test_what_is_missing_has_its_models_name(newer: Newer) -> None:
    """And what the sandbox does not know of this version is 501, never a 404."""
    missing = await newer.admin.get("/api/jobs/999")
    await newer.admin.get("/api/consensus/settings")

    assert missing == {"detail": "No Job matches the given query."}
    assert newer.admin.status == 501


async def test_a_request_is_queued_then_started_then_finished() -> None:
    """How far it is follows from the time that has passed."""
    clock = StepClock()
    faults = Faults(task_queue_s=2, task_creation_s=5)
    async with sandbox(version="2.73", clock=clock, faults=faults) as server:
        admin = await Client(server).login()
        task = (await admin.post("/api/tasks", {"name": "t", "labels": [{"name": "x"}]}))["id"]
        path = f"/api/requests/{(await admin.upload(task, {'a.jpg': jpeg(8, 8)}))['rq_id']}"
        await clock.asleep.wait()
        seen = []

        for pause in (0, 3, 3):
            clock.advance(pause)
            await server.created() if pause and len(seen) == 2 else None
            shown = await admin.get(path)
            status = (await admin.get(f"/api/tasks/{task}/status"))["state"]
            seen.append((shown["status"], status, shown["started_date"] is None))

    assert seen == [
        ("queued", "Queued", True),
        ("started", "Started", False),
        ("finished", "Finished", False),
    ]


async def test_a_request_that_failed_is_kept_for_a_year(newer: Newer) -> None:
    """One that ended well for some minutes."""
    wanted = {"name": "x", "project_id": newer.project}
    task = (await newer.admin.post("/api/tasks", wanted))["id"]

    accepted = await newer.admin.upload(task, {"x.jpg": b"no image"})

    shown = await newer.admin.get(f"/api/requests/{accepted['rq_id']}")
    kept = datetime.fromisoformat(shown["expiry_date"]) - datetime.fromisoformat(
        shown["finished_date"]
    )
    assert (shown["status"], kept.days) == ("failed", 365)
    assert shown["message"].startswith("PIL.UnidentifiedImageError")


async def test_replicas_are_jobs_over_the_same_frames(newer: Newer) -> None:
    """A consensus task: each job is annotated by several people, each for himself."""
    wanted = {"name": "c", "project_id": newer.project, "segment_size": 2}
    made = await newer.admin.post("/api/tasks", wanted | {"consensus_replicas": 2})
    await newer.admin.upload(made["id"], {f"{n}.jpg": jpeg(8, 8) for n in range(4)})

    rows = (await newer.admin.get("/api/jobs", task_id=made["id"]))["results"][::-1]

    first, second = (row["id"] for row in rows if row["type"] == "annotation")
    frames = [(row["type"], row["parent_job_id"], row["start_frame"]) for row in rows]
    assert made["consensus_enabled"] is True
    assert frames == [
        ("annotation", None, 0),
        ("consensus_replica", first, 0),
        ("consensus_replica", first, 0),
        ("annotation", None, 2),
        ("consensus_replica", second, 2),
        ("consensus_replica", second, 2),
    ]
    assert [row["replicas_count"] for row in rows] == [2, 0, 0] * 2


async def test_what_a_replica_holds_is_not_the_tasks(newer: Newer) -> None:
    """The task reads and writes the first jobs alone, until a merge that is not covered."""
    wanted = {"name": "c", "project_id": newer.project, "consensus_replicas": 2}
    task = (await newer.admin.post("/api/tasks", wanted))["id"]
    await newer.admin.upload(task, {"a.jpg": jpeg(8, 8)})
    first, replica, _ = (await newer.admin.get("/api/jobs", task_id=task))["results"][::-1]
    path = f"/api/jobs/{replica['id']}/annotations"

    await newer.admin.patch(path, {"shapes": [newer.box()]}, action="create")
    await newer.admin.put(f"/api/tasks/{task}/annotations", {"shapes": [newer.box(frame=0)] * 2})

    paths = (f"jobs/{first['id']}", f"jobs/{replica['id']}", f"tasks/{task}")
    read = [await newer.admin.get(f"/api/{path}/annotations") for path in paths]
    assert [len(document["shapes"]) for document in read] == [2, 1, 2]


@pytest.mark.parametrize("replicas", [1, -1, 11])
async def test_replicas_are_none_or_several(newer: Newer, replicas: int) -> None:
    """One more would be no vote."""
    wanted = {"name": "c", "project_id": newer.project, "consensus_replicas": replicas}

    await newer.admin.post("/api/tasks", wanted)

    assert newer.admin.status == 400


async def test_an_export_as_2_15_asks_for_it_is_gone(newer: Newer) -> None:
    """An older client must hear that it is too old, not that there is nothing."""
    statuses = []

    for path in (newer.path, f"/api/tasks/{newer.task}/annotations"):
        await newer.admin.get(path, format="COCO 1.0")
        statuses.append(newer.admin.status)

    assert statuses == [410, 410]


async def token(newer: Newer, **members: object) -> Client:
    """Return a client with a new personal token."""
    made = await newer.admin.post("/api/auth/access_tokens", {"name": "t"} | members)
    client = Client(newer.sandbox)
    client.extra["Authorization"] = f"Bearer {made['value']}"
    return client


async def test_a_token_that_may_write_makes_no_token(newer: Newer) -> None:
    """Whoever finds one cannot make himself at home."""
    writer = await token(newer, read_only=False)

    await writer.patch(newer.path, {"shapes": [newer.box()]}, action="create")
    written = writer.status
    await writer.post("/api/auth/access_tokens", {"name": "another"})

    assert (written, writer.status) == (200, 403)


async def test_a_token_ends_when_it_expires(newer: Newer) -> None:
    """The daemon must tell it from a job that was deleted: 401, not 404."""
    now = datetime.fromtimestamp(newer.clock.now_us() / 1e6, UTC)
    reader = await token(newer, expiry_date=now.replace(year=now.year + 1).isoformat())

    await reader.get(newer.path)
    early = reader.status
    newer.clock.advance(366 * 86_400)
    await reader.get(newer.path)

    assert (early, reader.status) == (200, 401)


async def test_a_login_key_is_a_token_and_a_personal_token_a_bearer(newer: Newer) -> None:
    """Each kind of credential has its own word, and the other word is refused."""
    key = newer.admin.extra["Authorization"].partition(" ")[2]
    value = (await token(newer)).extra["Authorization"].partition(" ")[2]
    statuses = []

    for word, secret in (("Token", key), ("Bearer", value), ("Bearer", key), ("Token", value)):
        client = Client(newer.sandbox)
        client.extra["Authorization"] = f"{word} {secret}"
        await client.get("/api/users/self")
        statuses.append(client.status)

    assert statuses == [200, 200, 401, 401]


async def test_a_job_tells_more_than_in_2_15(newer: Newer) -> None:
    """Fields may come and go; a client must not need them."""
    shown = await newer.admin.get(f"/api/jobs/{newer.job}")

    assert {
        "parent_job_id": None,
        "consensus_replicas": 0,
        "replicas_count": 0,
        "media_type": "image",
        "assignee_updated_date": None,
        "task_name": "t",
        "project_name": "p",
    }.items() <= shown.items()
