"""The client against a whole CVAT server: one run's life, and what goes wrong in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from daemon.cvat.server import PasswordLogin
from daemon.ports.cvat import (
    ASIDE_MAX,
    Aside,
    CvatApi,
    Forbidden,
    MediaFailed,
    MediaLate,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unauthorized,
    UnreadableAnswer,
)
from daemon.sandbox import RequestFault, Sandbox

ADMIN = PasswordLogin("admin", "admin")
LABELS = [{"name": "car", "attributes": []}, {"name": "dog", "attributes": []}]


@pytest.fixture(params=["2.15", "2.73"])
async def sandbox(request: Any) -> AsyncIterator[Sandbox]:
    async with Sandbox(version=request.param) as sandbox:
        yield sandbox


@pytest.fixture
async def cvat(sandbox: Sandbox, connect: Any) -> CvatApi:
    client: CvatApi = await connect(sandbox.url, credentials=ADMIN)
    return client


def images(folder: Path, count: int) -> list[tuple[str, Path]]:
    for number in range(count):
        Image.new("RGB", (32, 24), (number, 0, 0)).save(folder / f"{number}.png")
    # Not in the order of their names: the order sent is the order of the frames.
    return [
        (f"img_{number * 7 % count:03}.png", folder / f"{number}.png") for number in range(count)
    ]


async def make_task(cvat: CvatApi, folder: Path, *, count: int = 5, **spec: Any) -> int:
    task = (await cvat.create_task({"name": "t", "labels": LABELS, "segment_size": 2, **spec}))[
        "id"
    ]
    request = await cvat.upload_media(task, images(folder, count))
    await wait_for(cvat, task, count, request)
    return task


async def wait_for(cvat: CvatApi, task: int, count: int, request: str | None) -> None:
    """Wait in real time: the client's own clock does not wait, the server's does."""
    for _ in range(1_000):
        try:
            await cvat.await_task_data(task, size=count, timeout_s=30, request=request)
        except MediaLate:
            continue
        return
    raise AssertionError("the sandbox made no task")


def rectangle(label: int, frame: int, **more: Any) -> dict:
    return {
        "type": "rectangle",
        "label_id": label,
        "frame": frame,
        "points": [1, 2, 10, 20],
        "attributes": [],
        **more,
    }


def document(*shapes: dict) -> dict:
    return {"version": 0, "tags": [], "shapes": list(shapes), "tracks": []}


async def shapes(cvat: CvatApi, job: int) -> list[dict]:
    found: list[dict] = json.loads(await cvat.job_annotations(job))["shapes"]
    return found


async def test_a_task_gets_its_frames_in_the_order_sent(cvat, tmp_path):
    """Frame numbers are all that ties an annotation to its sample."""
    task = await make_task(cvat, tmp_path)

    meta = await cvat.task_meta(task)
    jobs = [job async for job in cvat.jobs(task=task)]

    assert [frame["name"] for frame in meta["frames"]] == [n for n, _ in images(tmp_path, 5)]
    assert sorted((job["start_frame"], job["stop_frame"]) for job in jobs) == [
        (0, 1),
        (2, 3),
        (4, 4),
    ]


async def test_a_task_sent_in_groups_and_by_tus_is_the_same(sandbox, connect, tmp_path):
    """A hundred thousand images take the long way, and their order must survive it."""
    cvat = await connect(
        sandbox.url,
        credentials=ADMIN,
        limits={"group_files_max": 2, "group_bytes_max": 85, "tus_chunk_bytes": 50},
    )
    Image.effect_noise((32, 24), 90).save(tmp_path / "large.png")
    task = (await cvat.create_task({"name": "t", "labels": LABELS}))["id"]
    order = [("big.png", tmp_path / "large.png"), *images(tmp_path, 3)]

    request = await cvat.upload_media(task, order)
    await wait_for(cvat, task, 4, request)

    meta = await cvat.task_meta(task)
    assert [frame["name"] for frame in meta["frames"]] == [name for name, _ in order]


async def test_annotations_are_created_updated_deleted_and_replaced(cvat, tmp_path):
    """The three steps of a save, with the ids that the server gives."""
    task = await make_task(cvat, tmp_path)
    job = next(iter([job["id"] async for job in cvat.jobs(task=task) if job["start_frame"] == 0]))
    car, dog = (label["id"] for label in await cvat.job_labels(job))

    made = (await cvat.patch_annotations(job, "create", document(rectangle(car, 0))))["shapes"]
    await cvat.patch_annotations(job, "update", document({**made[0], "label_id": dog}))
    (changed,) = await shapes(cvat, job)
    await cvat.patch_annotations(job, "delete", document(changed))

    assert (changed["id"], changed["label_id"]) == (made[0]["id"], dog)
    assert await shapes(cvat, job) == []
    await cvat.put_annotations(job, document(rectangle(car, 0), rectangle(car, 1)))
    assert len(await shapes(cvat, job)) == 2
    with pytest.raises(Refused, match="is invalid"):
        await cvat.patch_annotations(job, "create", document(rectangle(99_999_999, 0)))


@pytest.mark.parametrize("kind", ["after", "reset-after"])
async def test_a_write_that_was_done_and_not_answered_is_found_by_reading(
    sandbox, cvat, tmp_path, kind
):
    """What OutcomeUnknown is for: repeating it would double the shapes."""
    task = await make_task(cvat, tmp_path)
    job = next(iter([job["id"] async for job in cvat.jobs(task=task) if job["start_frame"] == 0]))
    car = (await cvat.job_labels(job))[0]["id"]
    sandbox.faults.requests = [RequestFault(kind, method="PATCH")]

    with pytest.raises(OutcomeUnknown):
        await cvat.patch_annotations(job, "create", document(rectangle(car, 0)))

    assert len(await shapes(cvat, job)) == 1


async def test_a_task_whose_creation_was_not_answered_is_found_by_its_subset(sandbox, cvat):
    """CVAT has no idempotency key; a nonce in the subset takes its place."""
    sandbox.faults.requests = [RequestFault("after", method="POST", path="/api/tasks")]

    with pytest.raises(OutcomeUnknown):
        await cvat.create_task({"name": "t", "labels": LABELS, "subset": "lt-4711"})

    assert [task["name"] async for task in cvat.tasks(subset="lt-4711")] == ["t"]
    assert [task async for task in cvat.tasks(subset="lt-4712")] == []


async def test_a_read_survives_a_server_that_stumbles(sandbox, cvat):
    """Two lost connections and an error in a row."""
    task = (await cvat.create_task({"name": "t", "labels": LABELS}))["id"]
    sandbox.faults.requests = [
        RequestFault("reset", method="GET", times=2),
        RequestFault("before", method="GET", status=503),
    ]

    assert (await cvat.task(task))["id"] == task


async def test_a_file_that_is_no_image_fails_the_task_with_the_servers_reason(cvat, tmp_path):
    """The user must learn why there is no task."""
    (tmp_path / "x.jpg").write_bytes(b"no image")
    task = (await cvat.create_task({"name": "t", "labels": LABELS}))["id"]
    request = await cvat.upload_media(task, [("x.jpg", tmp_path / "x.jpg")])

    with pytest.raises(MediaFailed, match="cannot identify"):
        await wait_for(cvat, task, 1, request)


async def test_jobs_of_one_date_are_walked_over_many_pages(sandbox, connect, tmp_path):
    """A label renamed: all jobs of its task change in one statement, with one date."""
    cvat = await connect(sandbox.url, credentials=ADMIN, limits={"page_size": 2})
    task = await make_task(cvat, tmp_path, segment_size=1)
    car = (await cvat.task_labels(task))[0]["id"]
    await cvat.patch_task(task, {"labels": [{"id": car, "name": "lorry"}]})

    found = [(job["id"], job["updated_date"]) async for job in cvat.jobs(task=task)]

    assert len({number for number, _ in found}) == len(found) == 5
    since = max(date for _, date in found)
    later = [job["id"] async for job in cvat.jobs(task=task, since=since)]
    assert later == [number for number, date in found if date == since]


async def test_projects_webhooks_and_their_deliveries(sandbox, cvat):
    """A hook is made from the names that the server offers, pinged, read back and deleted."""
    project = (await cvat.create_project({"name": "p", "labels": LABELS}))["id"]
    events = await cvat.webhook_events("project")
    hook = await cvat.create_webhook(
        {
            "target_url": "http://127.0.0.1:9/webhooks/cvat/main",
            "type": "project",
            "project_id": project,
            "events": sorted(events & {"update:job", "create:task"}),
            "content_type": "application/json",
            "secret": "s3cret",
            "enable_ssl": False,
            "is_active": True,
        }
    )

    ping = await cvat.ping_webhook(hook["id"])
    await cvat.create_task({"name": "t", "project_id": project})
    await sandbox.deliveries_idle()
    found = [row async for row in cvat.deliveries(hook["id"])]
    newer = [row async for row in cvat.deliveries(hook["id"], after=ping["id"])]

    assert [row["event"] for row in found] == ["create:task", "ping"]
    assert [row["event"] for row in newer] == ["create:task"]
    assert [row["id"] async for row in cvat.webhooks(project=project)] == [hook["id"]]
    await cvat.delete_webhook(hook["id"])
    assert [row async for row in cvat.webhooks(project=project)] == []
    assert [row["id"] async for row in cvat.projects(name="p")] == [project]
    await cvat.delete_project(project)
    with pytest.raises(NotFound):
        await cvat.project(project)


async def test_a_stranger_is_forbidden_and_a_wrong_password_unauthorized(
    sandbox, cvat, connect, tmp_path
):
    """403 means that the job exists: it must not be taken for deleted."""
    task = await make_task(cvat, tmp_path)
    job = next(iter([job["id"] async for job in cvat.jobs(task=task)]))
    stranger = await connect(sandbox.url, credentials=PasswordLogin("annotator1", "pw1"))
    nobody = await connect(sandbox.url, credentials=PasswordLogin("admin", "wrong"))

    assert (await stranger.self_user())["username"] == "annotator1"
    with pytest.raises(Forbidden):
        await stranger.job(job)
    with pytest.raises(Unauthorized):
        await nobody.job(job)
    await cvat.delete_task(task)
    with pytest.raises(NotFound):
        await cvat.job(job)


HIDDEN = ({0}, {1}, {0, 1}, {2, 3}, {4, 5}, {1, 2, 3, 4}, set(range(6)))


@pytest.mark.parametrize(
    "members", [{"task_id": "3"}, {"updated_date": ...}, {"updated_date": "soon"}, {"id": None}]
)
async def test_rows_that_cannot_be_read_are_put_aside_wherever_they_stand(
    sandbox: Sandbox, connect: Any, tmp_path: Path, members: dict[str, Any]
) -> None:
    """Pages are found by the last row seen: one that has no place may neither hide nor repeat."""
    cvat = await connect(sandbox.url, credentials=ADMIN, limits={"page_size": 2, "pages_max": 20})
    await make_task(cvat, tmp_path, count=12)
    jobs = [row["id"] async for row in cvat.jobs()]
    for hidden in HIDDEN:
        sandbox.faults.spoiled = {("/api/jobs", jobs[place]): members for place in hidden}
        aside: Aside = []

        found = [row["id"] async for row in cvat.jobs(aside=aside)]

        assert found == [job for place, job in enumerate(jobs) if place not in hidden], hidden
        known = {jobs[place] for place in hidden} if "id" not in members else {None}
        assert {row.id for row in aside} == known, hidden
    with pytest.raises(UnreadableAnswer, match="not what CVAT documents"):
        _ = [row async for row in cvat.jobs()]


async def test_a_list_in_which_hardly_a_row_can_be_read_is_trouble(
    script: Any, connect: Any
) -> None:
    """What is no CVAT server must not fill the log row by row."""
    rows = [{"id": number} for number in range(ASIDE_MAX + 1)]
    script.on("GET", "/api/jobs", (200, {"next": None, "results": rows}))
    cvat = await connect(script.url, limits={"page_size": 500})
    aside: Aside = []

    with pytest.raises(UnreadableAnswer):
        _ = [row async for row in cvat.jobs(aside=aside)]

    assert len(aside) == ASIDE_MAX
