"""Tasks: creation, upload, media, and the webhooks they refuse."""

from __future__ import annotations

import base64
import json

import pytest

from daemon.sandbox import Faults
from tests.conformance.recording import mp4
from tests.daemon.sandbox.client import Client, jpeg, sandbox
from tests.daemon.sandbox.conftest import World


async def test_the_same_name_makes_two_tasks(world: World) -> None:
    """There is no idempotency key."""
    wanted = {"name": "twin", "project_id": world.project}

    ids = [(await world.admin.post("/api/tasks", wanted))["id"] for _ in range(2)]

    assert ids[0] != ids[1]


async def test_a_task_without_data_is_finished_and_has_no_jobs(world: World) -> None:
    """`Finished` is no proof of readiness."""
    task = (await world.admin.post("/api/tasks", {"name": "x", "project_id": world.project}))["id"]

    status = await world.admin.get(f"/api/tasks/{task}/status")
    jobs = await world.admin.get("/api/jobs", task_id=task)
    await world.admin.get(f"/api/tasks/{task}/data/meta")

    assert (status["state"], jobs["count"], world.admin.status) == ("Finished", 0, 500)


async def test_a_second_upload_is_refused(world: World) -> None:
    """A resumed upload must look first."""
    answer = await world.admin.upload(world.task, {"x.jpg": jpeg(8, 8)})

    assert (world.admin.status, answer) == (400, "Adding more data is not supported")


async def test_a_file_that_is_no_image_fails_the_task(world: World) -> None:
    """The upload is accepted; the status tells."""
    task = (await world.admin.post("/api/tasks", {"name": "x", "project_id": world.project}))["id"]

    await world.admin.upload(task, {"x.jpg": b"no image"})

    status = await world.admin.get(f"/api/tasks/{task}/status")
    assert status["state"] == "Failed"
    assert "cannot identify image file" in status["message"]


async def test_a_nonce_in_the_subset_finds_exactly_the_task(world: World) -> None:
    """How a resumed creation adopts what was made."""
    wanted = {"name": "x", "project_id": world.project, "subset": "lt-0042", "assignee_id": 2}
    task = (await world.admin.post("/api/tasks", wanted))["id"]

    found = await world.admin.get("/api/tasks", subset="lt-0042")
    # Also by somebody who is no admin, and may see the task.
    theirs = await world.annotator.get("/api/tasks", subset="lt-0042")
    await world.admin.patch(f"/api/tasks/{task}", {"subset": ""})
    cleared = await world.admin.get("/api/tasks", subset="lt-0042")

    assert [row["id"] for row in found["results"]] == [task]
    assert [row["id"] for row in theirs["results"]] == [task]
    assert cleared["count"] == 0


async def test_what_was_made_names_its_address_where_it_has_one(world: World) -> None:
    """A `Location` for projects, tasks and webhooks; issues have no url of their own."""
    made = []

    for path, body in (
        ("projects", {"name": "x"}),
        ("tasks", {"name": "x", "project_id": world.project}),
        ("issues", {"job": world.first, "frame": 0, "position": [1, 2], "message": "look"}),
    ):
        row = await world.admin.post(f"/api/{path}", body)
        made.append(world.admin.headers.get("Location") == row.get("url"))

    assert made == [True] * 3
    assert "Location" not in world.admin.headers


async def test_a_link_to_a_tracker_finds_the_task_too(world: World) -> None:
    """As good a place for a nonce, where the subset is in use."""
    wanted = {"name": "x", "project_id": world.project, "bug_tracker": "http://lt/0042"}
    task = (await world.admin.post("/api/tasks", wanted))["id"]

    found = await world.admin.get("/api/tasks", tracker_link="http://lt/0042")

    assert [row["id"] for row in found["results"]] == [task]


async def test_tus_takes_a_file_in_parts_and_forgets_the_whole_one(world: World) -> None:
    """HEAD tells the offset while parts are missing; after that the upload is gone."""
    task = (await world.admin.post("/api/tasks", {"name": "x", "project_id": world.project}))["id"]
    path, content = f"/api/tasks/{task}/data/", jpeg(64, 48)
    tus = {"Tus-Resumable": "1.0.0"}
    name = base64.b64encode(b"a.jpg").decode()
    await world.admin.send("POST", path, raw=b"", headers={"Upload-Start": "true"})
    begin = {"Upload-Length": str(len(content)), "Upload-Metadata": f"filename {name}"}
    await world.admin.send("POST", path, raw=b"", headers=tus | begin)
    location = world.admin.headers["Location"].partition("8080")[2]

    async def part(start: int, stop: int) -> int:
        headers = tus | {"Upload-Offset": str(start)}
        await world.admin.send("PATCH", location, raw=content[start:stop], headers=headers)
        return world.admin.status

    first = await part(0, 100)
    await world.admin.send("HEAD", location, headers=tus)
    offset = world.admin.headers["Upload-Offset"]
    wrong = await part(50, 100)
    await part(100, len(content))
    await world.admin.send("HEAD", location, headers=tus)
    gone = world.admin.status
    finish = {"image_quality": 70}
    raw = json.dumps(finish).encode()
    await world.admin.send("POST", path, raw=raw, headers={"Upload-Finish": "true"})

    meta = await world.admin.get(f"/api/tasks/{task}/data/meta")
    assert (first, offset, wrong, gone) == (204, "100", 409, 404)
    assert [(f["name"], f["width"]) for f in meta["frames"]] == [("a.jpg", 64)]


async def test_a_video_is_cut_with_overlap_start_stop_and_step(world: World) -> None:
    """Frames of a task count the frames that were kept."""
    task = (await world.admin.post("/api/tasks", {"name": "v", "project_id": world.project}))["id"]
    ranges = {"start_frame": "2", "stop_frame": "17", "frame_filter": "step=3"}

    await world.admin.upload(task, {"clip.mp4": mp4(160, 120, 20)}, **ranges)

    shown = await world.admin.get(f"/api/tasks/{task}")
    meta = await world.admin.get(f"/api/tasks/{task}/data/meta")
    assert (shown["mode"], shown["size"], shown["overlap"]) == ("interpolation", 6, 3)
    assert (meta["start_frame"], meta["stop_frame"], len(meta["frames"])) == (2, 17, 1)


async def test_a_frame_comes_back_as_it_was_uploaded(world: World) -> None:
    """And smaller where the compressed one is asked for."""
    path = f"/api/jobs/{world.first}/data"

    await world.admin.get(path, type="frame", number=0, quality="original")
    original, kind = world.admin.content, world.admin.headers["Content-Type"]
    await world.admin.get(path, type="frame", number=0, quality="compressed")

    assert (original, kind) == (jpeg(64, 48), "image/jpeg")
    assert world.admin.content.startswith(b"\xff\xd8")


async def test_a_picture_that_is_cut_off_crashes_where_it_is_decoded(world: World) -> None:
    """Its header was enough to make the task; the original still comes as it is."""
    task = (await world.admin.post("/api/tasks", {"name": "x", "project_id": world.project}))["id"]
    await world.admin.upload(task, {"a.jpg": jpeg(640, 480)[:700]})
    path = f"/api/tasks/{task}/data"

    await world.admin.get(path, type="frame", number=0, quality="original")
    original = world.admin.status
    await world.admin.get(path, type="frame", number=0, quality="compressed")

    assert (original, world.admin.status) == (200, 500)


async def test_a_slow_creation_is_started_until_its_time_has_come() -> None:
    """Jobs appear later than the upload is answered."""
    server = sandbox(faults=Faults(task_creation_s=0.01))
    async with server:
        admin = await Client(server).login()
        task = (await admin.post("/api/tasks", {"name": "x", "labels": [{"name": "a"}]}))["id"]
        await admin.upload(task, {"a.jpg": jpeg(8, 8)})

        early = await admin.get(f"/api/tasks/{task}/status")
        none = await admin.get("/api/jobs", task_id=task)
        await server.created()
        late = await admin.get(f"/api/tasks/{task}/status")

    assert (early["state"], none["count"], late["state"]) == ("Started", 0, "Finished")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"target_url": "http://ledger:8080/x"}, {"target_url": ["Enter a valid URL."]}),
        ({"events": ["update:nothing"]}, {"events": ['"update:nothing" is not a valid choice.']}),
    ],
)
async def test_a_webhook_needs_a_dotted_host_and_known_events(
    world: World, change: dict[str, object], text: object
) -> None:
    """Doctor explains these two, so they must be met here first."""
    hook = {"target_url": "http://10.0.0.1/x", "type": "project", "events": ["update:job"]}

    answer = await world.admin.post("/api/webhooks", hook | {"project_id": world.project} | change)

    assert (world.admin.status, answer) == (400, text)
