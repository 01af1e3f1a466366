"""Which change moves which date, and who is told."""

from __future__ import annotations

import hashlib
import hmac
import json

from tests.daemon.sandbox.client import jpeg
from tests.daemon.sandbox.conftest import World

SAVE = ["update:job", "update:task", "update:project"]


async def test_a_save_gives_three_deliveries_with_the_old_date_alone(world: World) -> None:
    """A delivery that shows more in before_update was no save."""
    await world.hears()

    await world.create(world.box())

    await world.sandbox.outbox.drain()
    assert world.heard.events == SAVE
    assert [list(body["before_update"]) for body in world.heard.bodies] == [["updated_date"]] * 3


async def test_the_signature_is_over_the_bytes_that_were_sent(world: World) -> None:
    """A receiver checks the raw body."""
    await world.create(world.box())
    await world.sandbox.outbox.drain()

    _, headers, body = world.heard.requests[-1]

    expected = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["X-Signature-256"] == f"sha256={expected}"
    assert json.dumps(json.loads(body)).encode() == body


async def test_a_put_without_a_change_tells_and_empty_lists_and_reads_do_not(
    world: World,
) -> None:
    """A hint is only a hint."""
    await world.create(world.box())
    document = await world.read()
    await world.hears()

    await world.admin.put(world.annotations, document)
    put = await world.hears()
    await world.admin.patch(world.annotations, {"shapes": []}, action="create")
    await world.read()
    nothing = await world.hears()
    unknown = {"shapes": [world.box(id=99_999)]}
    await world.admin.patch(world.annotations, unknown, action="delete")

    assert put == SAVE
    assert nothing == []
    assert await world.hears() == SAVE


async def test_a_state_change_names_its_members_and_the_same_state_tells_again(
    world: World,
) -> None:
    """The receiver tells saves from other changes by this."""
    await world.hears()

    await world.admin.patch(f"/api/jobs/{world.first}", {"state": "completed"})
    await world.admin.patch(f"/api/jobs/{world.first}", {"state": "completed"})

    await world.sandbox.outbox.drain()
    members = [sorted(body["before_update"]) for body in world.heard.bodies]
    assert world.heard.events == ["update:job", "update:job"]
    assert members == [["state", "updated_date"], ["updated_date"]]


async def test_a_new_stage_sets_the_state_to_new(world: World) -> None:
    """Measured; a recorder sees two members change."""
    path = f"/api/jobs/{world.first}"
    await world.admin.patch(path, {"state": "completed"})

    shown = await world.admin.patch(path, {"stage": "acceptance"})

    assert (shown["stage"], shown["state"]) == ("acceptance", "new")


async def test_a_renamed_label_keeps_its_id_and_moves_the_jobs_date_without_a_job_webhook(
    world: World,
) -> None:
    """Polling sees what webhooks do not."""
    await world.hears()
    before = await world.dates()

    await world.admin.patch(f"/api/labels/{world.car}", {"name": "auto"})

    after = await world.dates()
    assert (await world.admin.get(f"/api/labels/{world.car}"))["name"] == "auto"
    assert await world.hears() == ["update:project"]
    assert after[0] == after[1] == after[2] > max(before)


async def test_frames_deleted_on_the_job_move_task_and_project_alone(world: World) -> None:
    """The job's own date stays."""
    await world.hears()
    job, task, project = await world.dates()

    await world.admin.patch(f"/api/jobs/{world.first}/data/meta", {"deleted_frames": [1]})

    after = await world.dates()
    assert after[0] == job
    assert after[1] > task
    assert after[2] > project
    assert await world.hears() == ["update:task", "update:project"]


async def test_frames_deleted_on_the_task_move_nothing_and_tell_nobody(world: World) -> None:
    """Only reading the meta again finds it."""
    await world.hears()
    before = await world.dates()

    await world.admin.patch(f"/api/tasks/{world.task}/data/meta", {"deleted_frames": [1, 3]})

    meta = await world.admin.get(f"/api/jobs/{world.first}/data/meta")
    assert meta["deleted_frames"] == [1]
    assert await world.dates() == before
    assert await world.hears() == []


async def test_a_task_moved_into_a_project_gets_other_label_ids_under_the_same_dates(
    world: World,
) -> None:
    """Label ids change and no job date moves: the bracket must hold labels too."""
    admin = world.admin
    attributes = [{"name": "label_id", "mutable": True, "input_type": "text", "values": [""]}]
    labels = [{"name": "car", "attributes": attributes}]
    task = (await admin.post("/api/tasks", {"name": "alone", "labels": labels}))["id"]
    await admin.upload(task, {"a.jpg": jpeg(8, 8)})
    job = (await admin.get("/api/jobs", task_id=task))["results"][0]["id"]
    label = (await admin.get("/api/labels", job_id=job))["results"][0]
    value = {"spec_id": label["attributes"][0]["id"], "value": "x"}
    shape = world.box(label_id=label["id"], attributes=[value])
    path = f"/api/jobs/{job}/annotations"
    [made] = (await admin.patch(path, {"shapes": [shape]}, action="create"))["shapes"]
    before = await world.date("job", job)

    await admin.patch(f"/api/tasks/{task}", {"project_id": world.project})

    [read] = (await admin.get(path))["shapes"]
    texts = {each["spec_id"]: each["value"] for each in read["attributes"]}
    assert (read["id"], read["label_id"]) == (made["id"], world.car)
    assert texts == {world.text: "x", world.kind: "a"}
    assert await world.date("job", job) == before


async def test_a_task_outside_a_project_and_organization_tells_nobody(world: World) -> None:
    """Only polling covers it."""
    await world.hears()
    admin = world.admin

    task = (await admin.post("/api/tasks", {"name": "alone", "labels": [{"name": "x"}]}))["id"]
    await admin.upload(task, {"a.jpg": jpeg(8, 8)})
    await admin.delete(f"/api/tasks/{task}")

    assert await world.hears() == []


async def test_two_hooks_hear_an_event_twice(world: World) -> None:
    """An organization's hook and a project's hook; the copies name different webhooks."""
    admin = world.admin
    await admin.post("/api/organizations", {"slug": "org"})
    named = {"X-Organization": "org"}
    hook = {"target_url": "http://127.0.0.1:1/o", "events": ["create:task"]}
    raw = json.dumps({"name": "po", "labels": [{"name": "x"}]}).encode()
    project = (await admin.send("POST", "/api/projects", raw=raw, headers=named))["id"]
    for extra in ({"type": "organization"}, {"type": "project", "project_id": project}):
        raw = json.dumps(hook | extra).encode()
        await admin.send("POST", "/api/webhooks", raw=raw, headers=named)
    await world.hears()

    raw = json.dumps({"name": "t", "project_id": project}).encode()
    await admin.send("POST", "/api/tasks", raw=raw, headers=named)

    await world.sandbox.outbox.drain()
    assert world.heard.events == ["create:task"] * 2
    assert len({body["webhook_id"] for body in world.heard.bodies}) == 2


async def test_a_redelivery_has_other_bytes_and_a_valid_signature(world: World) -> None:
    """Deduplication by the body's hash would take it for a new event."""
    await world.create(world.box())
    await world.sandbox.outbox.drain()
    sent = world.heard.requests[-3][2]
    hook = (await world.admin.get("/api/webhooks"))["results"][0]["id"]
    rows = (await world.admin.get(f"/api/webhooks/{hook}/deliveries"))["results"]
    delivery = next(row["id"] for row in rows if row["event"] == "update:job")

    await world.admin.post(f"/api/webhooks/{hook}/deliveries/{delivery}/redelivery")
    await world.sandbox.outbox.drain()

    _, headers, body = world.heard.requests[-1]
    expected = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert body != sent
    assert json.loads(body) == json.loads(sent)
    assert headers["X-Signature-256"] == f"sha256={expected}"


async def test_a_receiver_that_fails_is_logged_and_not_asked_again(world: World) -> None:
    """500 as 500, refused as 502, too late as 504; 2.15 never repeats."""
    hook = (await world.admin.get("/api/webhooks"))["results"][0]["id"]
    await world.hears()
    endings: list[int | BaseException] = [500, ConnectionRefusedError(), TimeoutError()]
    asked = []

    async def receive(url: str, headers: dict[str, str], body: bytes) -> int:
        asked.append(url)
        ending = endings.pop(0)
        if isinstance(ending, BaseException):
            raise ending
        return ending

    world.sandbox.outbox.send = receive
    await world.create(world.box())
    await world.sandbox.outbox.drain()

    rows = (await world.admin.get(f"/api/webhooks/{hook}/deliveries"))["results"][:3]
    assert [row["status_code"] for row in rows] == [504, 502, 500]
    assert len(asked) == 3


async def test_the_end_of_a_project_is_told_to_its_own_webhook(world: World) -> None:
    """The last event of a hook that ends with its project."""
    await world.hears()

    await world.admin.delete(f"/api/projects/{world.project}")

    ended = await world.hears()
    assert ended == ["delete:job", "delete:job", "update:project", "delete:task", "delete:project"]
    await world.admin.get(f"/api/jobs/{world.first}")
    assert world.admin.status == 404
