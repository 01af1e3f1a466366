"""Dates, webhooks and retries: where 2.73 differs from 2.15, as measured on a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.daemon.sandbox.client import jpeg
from tests.daemon.sandbox.conftest import Newer


async def dates(newer: Newer) -> list[str]:
    """Return the dates of job, task and project."""
    paths = (f"jobs/{newer.job}", f"tasks/{newer.task}", f"projects/{newer.project}")
    return [(await newer.admin.get(f"/api/{path}"))["updated_date"] for path in paths]


async def test_updates_tell_what_changed_by_column(newer: Newer) -> None:
    """`changes` has old and new; keys are columns of the model."""
    await newer.hears()

    await newer.admin.patch(f"/api/jobs/{newer.job}", {"assignee": 2})

    [body] = await newer.hears()
    names = ["updated_date", "assignee_id", "assignee_updated_date"]
    assert list(body["changes"]) == list(body["before_update"]) == names
    assert body["changes"]["assignee_id"] == {"from": None, "to": 2}


async def test_the_end_of_an_upload_is_an_event_without_a_sender(newer: Newer) -> None:
    """A receiver must not need one."""
    ended = [body for body in await newer.hears() if body["event"].startswith("completed:")]

    [body] = ended
    assert "sender" not in body
    assert (body["request"]["status"], body["request"]["operation"]["task_id"]) == (
        "finished",
        newer.task,
    )


async def test_a_failed_delivery_comes_again_after_newer_ones_with_the_same_bytes(
    newer: Newer,
) -> None:
    """5 s later, then 300 s; a manual redelivery has other bytes."""
    await newer.hears()
    newer.heard.status = 503
    await newer.create(newer.box())
    await newer.sandbox.outbox.drain()
    failed = [body for _, _, body in newer.heard.requests]
    newer.heard.requests.clear()

    newer.heard.status = 204
    await newer.create(newer.box())
    newer.clock.advance(4.9)
    await newer.sandbox.outbox.drain()
    early = [body for _, _, body in newer.heard.requests]
    newer.clock.advance(0.2)
    await newer.sandbox.outbox.drain()
    late = [body for _, _, body in newer.heard.requests[len(early) :]]

    deliveries = await newer.admin.get("/api/webhooks/1/deliveries", page_size=3)
    assert len(early) == 3
    assert late == failed
    assert [row["attempt"] for row in deliveries["results"]] == [2, 2, 2]


async def test_a_refusal_is_final(newer: Newer) -> None:
    """400, 404 and redirects are not repeated, so a receiver answers 503 instead."""
    await newer.hears()
    newer.heard.status = 400
    await newer.create(newer.box())
    await newer.sandbox.outbox.drain()

    newer.clock.advance(10)
    await newer.sandbox.outbox.drain()

    assert len(newer.heard.requests) == 3


async def test_frames_deleted_on_the_task_tell_of_the_task_alone(newer: Newer) -> None:
    """2.15 tells nobody."""
    await newer.hears()

    await newer.admin.patch(f"/api/tasks/{newer.task}/data/meta", {"deleted_frames": [0]})

    assert [body["event"] for body in await newer.hears()] == ["update:task"]


async def test_the_end_of_a_project_is_not_told_to_its_own_hook(newer: Newer) -> None:
    """Only the organization's hook hears of it."""
    await newer.hears()

    await newer.admin.delete(f"/api/projects/{newer.project}")

    events = [body["event"] for body in await newer.hears()]
    assert events[-1] == "delete:task"


async def test_jobs_and_issues_are_gone_from_what_changed(newer: Newer) -> None:
    """2.15 names these members, which are no columns."""
    await newer.hears()
    issue = {"job": newer.job, "frame": 0, "position": [1, 2], "message": "look"}
    await newer.admin.post("/api/issues", issue)
    await newer.admin.patch(f"/api/tasks/{newer.task}", {"assignee_id": 2})
    await newer.admin.patch(f"/api/jobs/{newer.job}", {"state": "completed"})

    bodies = await newer.hears()

    named = {name for body in bodies for name in body.get("changes", ())}
    assert named == {"updated_date", "assignee_id", "state"}
    assert all(
        body.get("changes", {}).keys() == body.get("before_update", {}).keys() for body in bodies
    )


async def test_events_are_listed_as_objects_and_posted_by_their_keys(newer: Newer) -> None:
    """2.15 lists plain texts."""
    listed = (await newer.admin.get("/api/webhooks/events", type="organization"))["events"]
    hook = {"target_url": "http://127.0.0.1:1/y", "type": "project", "project_id": newer.project}

    made = await newer.admin.post("/api/webhooks", hook | {"events": ["update:job"]})

    assert {"key": "update:job", "group": {"display_name": "Job"}} in listed
    assert all(set(each) == {"key", "group"} for each in listed)
    assert made["events"] == ["update:job"]


async def fail(newer: Newer, status: int | type[Exception]) -> list[bytes]:
    """Make a save of which each delivery fails; returns what was sent."""
    await newer.hears()

    async def send(url: str, headers: dict[str, str], body: bytes) -> int:
        newer.heard.requests.append((url, headers, body))
        if isinstance(status, int):
            return status
        raise status

    newer.sandbox.outbox.send = send
    await newer.create(newer.box())
    await newer.sandbox.outbox.drain()
    newer.sandbox.outbox.send = newer.heard
    bodies = [body for _, _, body in newer.heard.requests]
    newer.heard.requests.clear()
    return bodies


@pytest.mark.parametrize(
    ("failure", "logged"),
    [
        (503, 503),
        (500, 500),
        (429, 429),
        (408, 408),
        (ConnectionRefusedError, 502),
        (TimeoutError, 504),
    ],
)
async def test_what_may_pass_is_sent_again(
    newer: Newer, failure: int | type[Exception], logged: int
) -> None:
    """After about 5 s, with the same bytes; the log has a row for each attempt."""
    failed = await fail(newer, failure)

    newer.clock.advance(5.1)
    await newer.sandbox.outbox.drain()

    rows = (await newer.admin.get("/api/webhooks/1/deliveries", page_size=6))["results"]
    assert [body for _, _, body in newer.heard.requests] == failed
    assert [(row["attempt"], row["status_code"]) for row in rows] == [(2, 204)] * 3 + [
        (1, logged)
    ] * 3


@pytest.mark.parametrize("status", [400, 404, 302])
async def test_what_is_refused_is_not_sent_again(newer: Newer, status: int) -> None:
    """So a receiver that cannot persist must not answer 4xx."""
    await fail(newer, status)

    newer.clock.advance(200_000)
    await newer.sandbox.outbox.drain()

    assert newer.heard.requests == []


async def test_retries_come_after_longer_and_longer_pauses_and_end(newer: Newer) -> None:
    """5 s, 5 min, 30 min, 3 h, then a day, four times; a day later nothing comes any more."""
    await fail(newer, 503)
    newer.heard.status = 503
    came = []

    for pause in (5, 300, 1_800, 10_800, 86_400, 86_400, 86_400, 86_400, 86_400):
        newer.clock.advance(pause - 1)
        early = len(await newer.hears())
        newer.clock.advance(1)
        came.append((early, len(await newer.hears())))

    assert came == [(0, 3)] * 8 + [(0, 0)]


async def test_no_header_tells_the_delivery_or_the_attempt(newer: Newer) -> None:
    """Deduplication has the body alone, and the log of deliveries."""
    await fail(newer, 503)
    newer.clock.advance(5.1)
    await newer.sandbox.outbox.drain()

    names = {name for _, headers, _ in newer.heard.requests for name in headers}

    assert names <= {"User-Agent", "Content-Type", "X-Signature-256"}


async def test_a_redelivery_has_other_bytes_where_a_retry_has_the_same(newer: Newer) -> None:
    """The keys are in the order in which the database keeps them."""
    [first, *_] = await fail(newer, 503)
    rows = (await newer.admin.get("/api/webhooks/1/deliveries", page_size=3))["results"]

    await newer.admin.post(f"/api/webhooks/1/deliveries/{rows[-1]['id']}/redelivery")
    await newer.sandbox.outbox.drain()

    [(_, _, again)] = newer.heard.requests
    assert json.loads(again) == json.loads(first)
    assert again != first


@pytest.mark.parametrize(
    "change",
    [
        {"name": "auto"},
        {"color": "#123456"},
        {"attributes": [{"name": "new", "mutable": True, "input_type": "text", "values": [""]}]},
        None,
    ],
    ids=["renamed", "recoloured", "another attribute", "deleted"],
)
async def test_a_change_of_a_label_moves_all_dates_and_tells_of_the_project_alone(
    newer: Newer, change: dict[str, Any] | None
) -> None:
    """Polling sees that each job may read otherwise; a receiver hears of the project."""
    before = await dates(newer)
    await newer.hears()

    if change is None:
        await newer.admin.delete(f"/api/labels/{newer.car}")
    else:
        await newer.admin.patch(f"/api/labels/{newer.car}", change)

    assert newer.admin.status < 300
    assert all(new > old for new, old in zip(await dates(newer), before, strict=True))
    assert [body["event"] for body in await newer.hears()] == ["update:project"]


async def test_a_task_that_moves_is_told_to_its_new_project_alone(newer: Newer) -> None:
    """Annotations keep their ids, labels get others, and the job's date stays."""
    admin = newer.admin
    labels = [{"name": "car"}]
    other = (await admin.post("/api/projects", {"name": "o", "labels": labels}))["id"]
    hook = {"target_url": "http://127.0.0.1:1/o", "type": "project", "project_id": other}
    await admin.post("/api/webhooks", hook | {"events": ["update:task"]})
    task = (await admin.post("/api/tasks", {"name": "m", "labels": labels}))["id"]
    await admin.upload(task, {"a.jpg": jpeg(8, 8)})
    job = (await admin.get("/api/jobs", task_id=task))["results"][0]
    label = (await admin.get("/api/labels", job_id=job["id"]))["results"][0]["id"]
    path = f"/api/jobs/{job['id']}/annotations"
    await admin.patch(path, {"shapes": [newer.box(label_id=label)]}, action="create")
    [made] = (await admin.get(path))["shapes"]
    date = (await admin.get(f"/api/jobs/{job['id']}"))["updated_date"]
    await newer.hears()

    await admin.patch(f"/api/tasks/{task}", {"project_id": newer.project})

    [read] = (await admin.get(path))["shapes"]
    heard = [(body["event"], body["webhook_id"]) for body in await newer.hears()]
    assert (read["id"], read["label_id"]) == (made["id"], newer.car)
    assert (await admin.get(f"/api/jobs/{job['id']}"))["updated_date"] == date
    assert heard == [("update:task", 1), ("update:project", 1)]


async def test_frames_deleted_on_the_job_move_task_and_project_alone(newer: Newer) -> None:
    """As in 2.15; the job's own date stays."""
    job, task, project = await dates(newer)
    await newer.hears()

    await newer.admin.patch(f"/api/jobs/{newer.job}/data/meta", {"deleted_frames": [0]})

    after = await dates(newer)
    assert after[0] == job
    assert after[1] > task
    assert after[2] > project
    assert [body["event"] for body in await newer.hears()] == ["update:task", "update:project"]
