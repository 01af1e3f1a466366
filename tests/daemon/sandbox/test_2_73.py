"""Where 2.73 differs from 2.15, as measured on a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daemon.sandbox import Faults, Sandbox
from tests.conformance.clock import StepClock
from tests.daemon.sandbox.client import Client, Heard, jpeg, sandbox


class Newer:
    """A project with a hooked task in a sandbox of 2.73."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.clock = StepClock()
        self.sandbox: Sandbox = sandbox(
            self.heard, version="2.73", clock=self.clock, faults=Faults(task_creation_s=0)
        )
        self.admin = Client(self.sandbox)

    async def build(self) -> Newer:
        admin = await self.admin.login()
        labels = [{"name": "car"}, {"name": "truck"}]
        self.project = (await admin.post("/api/projects", {"name": "p", "labels": labels}))["id"]
        listed = (await admin.get("/api/webhooks/events", type="project"))["events"]
        hook = {"target_url": "http://127.0.0.1:1/x", "type": "project"}
        events = [event["key"] for event in listed]
        await admin.post("/api/webhooks", hook | {"project_id": self.project, "events": events})
        wanted = {"name": "t", "project_id": self.project}
        self.task = (await admin.post("/api/tasks", wanted))["id"]
        self.accepted = await admin.upload(self.task, {"a.jpg": jpeg(8, 8)})
        self.job = (await admin.get("/api/jobs", task_id=self.task))["results"][0]["id"]
        self.car = (await admin.get("/api/labels", task_id=self.task))["results"][0]["id"]
        self.path = f"/api/jobs/{self.job}/annotations"
        return self

    def box(self, **members: Any) -> dict[str, Any]:
        shape = {"type": "rectangle", "frame": 0, "label_id": self.car, "points": [1, 2, 3, 4]}
        return shape | members

    async def create(self, *shapes: dict[str, Any]) -> Any:
        return await self.admin.patch(self.path, {"shapes": shapes}, action="create")

    async def hears(self) -> list[dict[str, Any]]:
        await self.sandbox.outbox.drain()
        bodies = self.heard.bodies
        self.heard.requests.clear()
        return bodies


@pytest.fixture
async def newer() -> Newer:
    return await Newer().build()


async def test_a_document_that_was_read_cannot_be_put_back(newer: Newer) -> None:
    """Ids are the server's to give: a restore makes new ones."""
    await newer.create(newer.box())
    document = await newer.admin.get(newer.path)

    answer = await newer.admin.put(newer.path, document)

    assert newer.admin.status == 400
    assert answer == {"shapes": [{"id": ["must be absent"]}]}


async def test_an_update_with_an_unknown_id_inserts_under_it(newer: Newer) -> None:
    """And one with a known id keeps it."""
    await newer.admin.patch(newer.path, {"shapes": [newer.box(id=4711)]}, action="update")

    [read] = (await newer.admin.get(newer.path))["shapes"]
    assert read["id"] == 4711


async def test_a_delete_without_ids_is_refused(newer: Newer) -> None:
    """2.15 deletes nothing and says 200."""
    await newer.admin.patch(newer.path, {"shapes": [newer.box()]}, action="delete")

    assert newer.admin.status == 400


@pytest.mark.parametrize(
    "members", [{"score": 1.5}, {"score": None}, {"source": "anchored"}, {"points": [1, 2, 3]}]
)
async def test_values_are_checked_that_2_15_takes(newer: Newer, members: dict[str, Any]) -> None:
    """One bad value refuses the batch."""
    await newer.create(newer.box(**members))

    assert newer.admin.status == 400


async def test_a_score_is_always_shown_and_no_group_is_0(newer: Newer) -> None:
    """Documents have intervals, too."""
    await newer.create(newer.box(group=None))

    document = await newer.admin.get(newer.path)

    [read] = document["shapes"]
    assert (read["score"], read["group"], document["intervals"]) == (1.0, 0, [])


async def test_a_poisoned_job_is_healed_by_a_put(newer: Newer) -> None:
    """The write is stored and answered with 500; every read is 500 until then."""
    raw = json.dumps({"shapes": [newer.box()]}).encode().replace(b"[1,", b"[1e400,")
    await newer.admin.send("PATCH", newer.path, raw=raw, action="create")
    written = newer.admin.status
    await newer.admin.get(newer.path)
    read = newer.admin.status

    await newer.admin.put(newer.path, {"shapes": [newer.box()]})

    healed = await newer.admin.get(newer.path)
    assert (written, read, newer.admin.status) == (500, 500, 200)
    assert len(healed["shapes"]) == 1


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


async def test_an_upload_is_followed_by_its_request(newer: Newer) -> None:
    """`/status` still answers."""
    request = await newer.admin.get(f"/api/requests/{newer.accepted['rq_id']}")
    status = await newer.admin.get(f"/api/tasks/{newer.task}/status")

    assert (request["status"], status["state"]) == ("finished", "Finished")


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


async def test_what_is_missing_has_its_models_name(newer: Newer) -> None:
    """And what the sandbox does not know of this version is 501, never a 404."""
    missing = await newer.admin.get("/api/jobs/999")
    await newer.admin.get("/api/consensus/settings")

    assert missing == {"detail": "No Job matches the given query."}
    assert newer.admin.status == 501
