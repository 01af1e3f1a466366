"""Writes to a whole task: tracks are cut, twins are merged, 2.15 may crash on it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.recording import mp4
from tests.daemon.sandbox.conftest import World


@pytest.fixture
async def video(world: World) -> int:
    """A video of 20 frames in jobs of 8 with an overlap of 3."""
    wanted = {"name": "v", "project_id": world.project, "segment_size": 8, "overlap": 3}
    task: int = (await world.admin.post("/api/tasks", wanted))["id"]
    await world.admin.upload(task, {"clip.mp4": mp4(160, 120, 20)})
    return task


def key(frame: int, x: float, *, outside: bool = False) -> dict[str, Any]:
    points = [x, 0, x + 10, 10]
    return {"type": "rectangle", "frame": frame, "points": points, "outside": outside}


async def jobs(world: World, task: int) -> list[list[tuple[int, float, bool]]]:
    """Return the keyframes of each job: frame, left edge, outside."""
    rows = (await world.admin.get("/api/jobs", task_id=task))["results"][::-1]
    found = []
    for row in rows:
        document = await world.admin.get(f"/api/jobs/{row['id']}/annotations")
        shapes = [each for track in document["tracks"] for each in track["shapes"]]
        found.append([(each["frame"], each["points"][0], each["outside"]) for each in shapes])
    return found


async def test_a_track_is_cut_at_the_jobs_with_keyframes_at_their_borders(
    world: World, video: int
) -> None:
    """Nobody drew the border's keyframes; a recorder must know they are made up."""
    track = {"frame": 0, "label_id": world.car, "shapes": [key(0, 0), key(19, 190)]}

    await world.admin.put(f"/api/tasks/{video}/annotations", {"tracks": [track]})

    assert await jobs(world, video) == [
        [(0, 0.0, False), (7, 70.0, False)],
        [(5, 50.0, False), (12, 120.0, False)],
        [(10, 100.0, False), (17, 170.0, False)],
        [(15, 150.0, False), (19, 190.0, False)],
    ]


async def test_a_job_keeps_keyframes_outside_of_it(world: World, video: int) -> None:
    """Only writes to the task are cut."""
    job = (await world.admin.get("/api/jobs", task_id=video))["results"][-1]["id"]
    track = {"frame": 0, "label_id": world.car, "shapes": [key(0, 0), key(11, 11)]}
    path = f"/api/jobs/{job}/annotations"

    await world.admin.patch(path, {"tracks": [track]}, action="create")

    [read] = (await world.admin.get(path))["tracks"]
    assert [each["frame"] for each in read["shapes"]] == [0, 11]


async def test_a_track_that_ends_in_an_overlap_crashes_the_server_and_stores_nothing(
    world: World, video: int
) -> None:
    """Recorded: the cut doubles the last keyframe, and the merge fails on it."""
    shapes = [key(4, 0), key(5, 10), key(7, 30, outside=True)]
    track = {"frame": 4, "label_id": world.car, "shapes": shapes}
    await world.hears()

    await world.admin.put(f"/api/tasks/{video}/annotations", {"tracks": [track]})

    assert world.admin.status == 500
    assert await jobs(world, video) == [[], [], [], []]
    assert await world.hears() == []


async def test_twins_in_an_overlap_are_shown_once_and_one_id_is_dropped(
    world: World, video: int
) -> None:
    """Why job-level reads are the only truth."""
    path = f"/api/tasks/{video}/annotations"
    tag = {"frame": 6, "label_id": world.truck}

    await world.admin.put(path, {"shapes": [world.box(frame=6)], "tags": [tag]})

    shown = await world.admin.get(path)
    rows = (await world.admin.get("/api/jobs", task_id=video))["results"][::-1]
    stored = [await world.admin.get(f"/api/jobs/{row['id']}/annotations") for row in rows]
    assert (len(shown["shapes"]), len(shown["tags"])) == (1, 1)
    assert [len(document["shapes"]) for document in stored] == [1, 1, 0, 0]


async def test_different_shapes_in_an_overlap_are_both_shown(world: World, video: int) -> None:
    """Two boxes or polygons that overlap less than three quarters are two."""
    rows = (await world.admin.get("/api/jobs", task_id=video))["results"][::-1]
    square = [0, 0, 100, 0, 100, 100, 0, 100]
    moved = [value + 40 for value in square]
    for row, points in zip(rows, (square, moved), strict=False):
        shape = world.box(frame=6, type="polygon", points=points)
        same = world.box(frame=6, type="polygon", points=[v + 500 for v in square])
        path = f"/api/jobs/{row['id']}/annotations"
        await world.admin.patch(path, {"shapes": [shape, same]}, action="create")

    shown = await world.admin.get(f"/api/tasks/{video}/annotations")

    assert len(shown["shapes"]) == 3


async def test_a_document_of_a_whole_task_cannot_be_put_back_over_overlaps(
    world: World, video: int
) -> None:
    """One id would be in two jobs; there, the database's error is a 500."""
    path = f"/api/tasks/{video}/annotations"
    await world.admin.put(path, {"shapes": [world.box(frame=6)]})
    document = await world.admin.get(path)

    await world.admin.put(path, document)

    assert world.admin.status == 500
    assert len((await world.admin.get(path))["shapes"]) == 1
