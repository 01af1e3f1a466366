"""Frames, chunks and previews: what is in them, not only that something comes."""

from __future__ import annotations

import io
import sys
import zipfile
from typing import Any

import av
import pytest
from PIL import Image

from tests.conformance.recording import mp4
from tests.daemon.sandbox.client import Client, jpeg, sandbox
from tests.daemon.sandbox.conftest import World

# What a lossy codec may make of a grey value.
GREY_ABS = 4


async def task_of(admin: Client, files: dict[str, bytes], **fields: str) -> int:
    """Make a task of media, in jobs of 5 frames with an overlap of 2."""
    wanted = {"name": "v", "labels": [{"name": "x"}], "segment_size": 5, "overlap": 2}
    task: int = (await admin.post("/api/tasks", wanted))["id"]
    await admin.upload(task, files, **fields)
    return task


def grey(image: Image.Image) -> int:
    """Return the grey value in the middle of a picture."""
    return int(image.convert("L").getpixel((image.width // 2, image.height // 2)))  # type: ignore[arg-type]


def greys_of_video(content: bytes) -> list[int]:
    with av.open(io.BytesIO(content)) as container:
        return [grey(frame.to_image()) for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("number", [0, 3, 5])
async def test_a_frame_of_a_video_is_a_png_of_that_frame(world: World, number: int) -> None:
    """Frames of a task count the frames that were kept: start and step are applied."""
    ranges = {"start_frame": "20", "stop_frame": "40", "frame_filter": "step=4"}
    task = await task_of(world.admin, {"clip.mp4": mp4(160, 120, 60)}, **ranges)

    await world.admin.get(
        f"/api/tasks/{task}/data", type="frame", number=number, quality="original"
    )

    image = opened(world.admin.content)
    assert world.admin.headers["Content-Type"] == "image/png"
    assert (image.format, image.size) == ("PNG", (160, 120))
    assert grey(image) == pytest.approx(20 + 4 * number, abs=GREY_ABS)


async def test_a_compressed_frame_is_a_jpeg_where_chunks_are_zips(world: World) -> None:
    """`use_zip_chunks` decides it; FiftyOne asks for it."""
    video = {"clip.mp4": mp4(160, 120, 8)}
    zips = await task_of(world.admin, video, use_zip_chunks="true")
    videos = await task_of(world.admin, video, use_zip_chunks="false")
    kinds = []

    for task in (zips, videos):
        query = {"type": "frame", "number": 7, "quality": "compressed"}
        await world.admin.get(f"/api/tasks/{task}/data", **query)
        kinds.append((world.admin.headers["Content-Type"], opened(world.admin.content).format))

    assert kinds == [("image/jpeg", "JPEG"), ("image/png", "PNG")]


async def test_chunks_of_a_video_are_mp4_with_all_their_frames(world: World) -> None:
    """FiftyOne puts them together to a video again."""
    task = await task_of(world.admin, {"clip.mp4": mp4(160, 120, 50)})
    path, told = f"/api/tasks/{task}/data", []

    for number in range(3):
        await world.admin.get(path, type="chunk", number=number, quality="original")
        if world.admin.status == 200:
            told.append((world.admin.headers["Content-Type"], greys_of_video(world.admin.content)))

    assert [kind for kind, _ in told] == ["video/mp4", "video/mp4"]
    greys = [value for _, values in told for value in values]
    assert greys == pytest.approx(list(range(50)), abs=GREY_ABS)
    assert [len(values) for _, values in told] == [36, 14]
    assert (world.admin.status, world.admin.content) == (400, b'"requested chunk does not exist"')


async def test_compressed_chunks_of_a_video_are_zips_or_a_halved_video(world: World) -> None:
    """Also an odd size is encoded: the codec needs an even one."""
    large = {"clip.mp4": mp4(640, 1100, 2)}
    query = {"type": "chunk", "number": 0, "quality": "compressed"}
    videos = await task_of(world.admin, large, use_zip_chunks="false")
    zips = await task_of(world.admin, large, use_zip_chunks="true")

    await world.admin.get(f"/api/tasks/{videos}/data", **query)
    with av.open(io.BytesIO(world.admin.content)) as container:
        frames = [(frame.width, frame.height) for frame in container.decode(video=0)]
    await world.admin.get(f"/api/tasks/{zips}/data", **query)
    with zipfile.ZipFile(io.BytesIO(world.admin.content)) as archive:
        names = archive.namelist()
        size = opened(archive.read(names[0])).size

    assert frames == [(320, 550), (320, 550)]
    assert (names, size) == (["000000.jpeg", "000001.jpeg"], (640, 1100))


async def test_an_odd_size_becomes_even_in_a_video(world: World) -> None:
    """H.264 stores colours for two pixels by two."""
    task = await task_of(world.admin, {"clip.mp4": mp4(322, 1082, 1)}, use_zip_chunks="false")

    query = {"type": "chunk", "number": 0, "quality": "compressed"}
    await world.admin.get(f"/api/tasks/{task}/data", **query)

    with av.open(io.BytesIO(world.admin.content)) as container:
        frames = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert frames == [(162, 542)]


@pytest.mark.parametrize(
    ("quality", "names"),
    [("original", ["000000.png", "000001.jpg"]), ("compressed", ["000000.jpeg", "000001.jpeg"])],
)
async def test_a_chunk_of_images_is_a_zip(world: World, quality: str, names: list[str]) -> None:
    """Numbered in the chunk; originals byte for byte."""
    png = io.BytesIO()
    Image.new("RGB", (8, 6)).save(png, "PNG")
    files = {"a.png": png.getvalue(), "b.jpg": jpeg(64, 48), "c.jpg": jpeg(4, 4)}
    task = await task_of(world.admin, files, chunk_size="2")

    query = {"type": "chunk", "number": 0, "quality": quality}
    await world.admin.get(f"/api/tasks/{task}/data", **query)

    assert world.admin.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(world.admin.content)) as archive:
        content = [archive.read(name) for name in archive.namelist()]
        assert archive.namelist() == names
    assert [opened(each).size for each in content] == [(8, 6), (64, 48)]
    assert (content == list(files.values())[:2]) == (quality == "original")


async def test_a_job_shows_its_own_frames_alone(world: World) -> None:
    """A chunk of a job is the task's in 2.15."""
    task = await task_of(world.admin, {f"{n}.jpg": jpeg(8, 8) for n in range(8)})
    job = (await world.admin.get("/api/jobs", task_id=task))["results"][0]["id"]
    path = f"/api/jobs/{job}/data"

    inside = await picture(world.admin, path, type="frame", number=3)
    outside = await picture(world.admin, path, type="frame", number=2)
    members = await chunk_of(world.admin, path, number=0)

    assert (inside, outside, len(members)) == (200, 400, 8)


async def test_a_newer_server_counts_chunks_of_a_job_from_its_first_frame() -> None:
    """By `index`; by `number` it is the part of the task's chunk that lies in the job."""
    admin = await Client(sandbox(version="2.73")).login()
    files = {f"{n}.jpg": jpeg(8 + n, 8) for n in range(8)}
    task = await task_of(admin, files, chunk_size="4")
    job = (await admin.get("/api/jobs", task_id=task))["results"][0]["id"]
    path = f"/api/jobs/{job}/data"

    found = [
        [opened(content).width - 8 for content in await chunk_of(admin, path, **query)]
        for query in ({"index": 0}, {"index": 1}, {"number": 0}, {"number": 1})
    ]

    assert found == [[3, 4, 5, 6], [7], [3], [4, 5, 6, 7]]


async def picture(admin: Client, path: str, **query: Any) -> int:
    await admin.get(path, **query | {"quality": "original"})
    return admin.status


async def chunk_of(admin: Client, path: str, **query: Any) -> list[bytes]:
    await admin.get(path, type="chunk", quality="original", **query)
    assert admin.status == 200, admin.content
    with zipfile.ZipFile(io.BytesIO(admin.content)) as archive:
        return [archive.read(name) for name in archive.namelist()]


async def test_a_preview_fits_into_256_pixels(world: World) -> None:
    """Of a task, of a job's first frame, and of a project's newest task."""
    wanted = {"name": "v", "project_id": world.project, "segment_size": 4, "overlap": 0}
    task = (await world.admin.post("/api/tasks", wanted))["id"]
    await world.admin.upload(task, {"clip.mp4": mp4(640, 320, 80)})
    job = (await world.admin.get("/api/jobs", task_id=task))["results"][0]["id"]
    seen = []

    for path in (f"tasks/{task}", f"projects/{world.project}", f"jobs/{job}"):
        await world.admin.get(f"/api/{path}/preview")
        image = opened(world.admin.content)
        seen.append((world.admin.headers["Content-Type"], image.size, grey(image)))

    assert [each[:2] for each in seen] == [("image/jpeg", (256, 128))] * 3
    assert [each[2] for each in seen] == pytest.approx([0, 0, 76], abs=GREY_ABS)


async def test_what_has_no_picture_is_not_found(world: World) -> None:
    """A project without tasks, a task without media, a frame without context images."""
    empty = (await world.admin.post("/api/projects", {"name": "e"}))["id"]
    task = (await world.admin.post("/api/tasks", {"name": "e", "project_id": world.project}))["id"]
    statuses = []

    for path in (f"projects/{empty}/preview", f"tasks/{task}/preview"):
        await world.admin.get(f"/api/{path}")
        statuses.append((world.admin.status, world.admin.content))
    await world.admin.get(f"/api/tasks/{world.task}/data", type="context_image", number=0)

    assert statuses == [
        (404, b"Project image preview not found"),
        (404, b"Task image preview not found"),
    ]
    assert (world.admin.status, world.admin.content) == (404, b"")


@pytest.mark.parametrize("number", ["20", "-1", "x", "9" * 40, "١"])
async def test_a_number_that_no_frame_has_is_refused(world: World, number: str) -> None:
    """Whatever stands there, it is an answer of 400."""
    task = await task_of(world.admin, {"clip.mp4": mp4(160, 120, 20)})

    statuses = [
        await picture(world.admin, f"/api/tasks/{task}/data", type=kind, number=number)
        for kind in ("frame", "chunk")
    ]

    assert statuses == [400, 400]


async def test_a_video_without_its_pictures_crashes_where_they_are_decoded(world: World) -> None:
    """Its tables were enough to make the task, as with a picture that is cut off."""
    whole = mp4(160, 120, 20)
    start = whole.index(b"mdat") + 4
    broken = (
        whole[:start] + bytes(whole.index(b"moov") - 4 - start) + whole[whole.index(b"moov") - 4 :]
    )
    task = await task_of(world.admin, {"clip.mp4": broken})

    status = await picture(world.admin, f"/api/tasks/{task}/data", type="frame", number=7)

    assert (await world.admin.get(f"/api/tasks/{task}"))["size"] == 20
    assert status == 500


async def test_without_pyav_a_video_makes_a_task_and_its_pictures_are_501(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is 36 MB; the answer says what to install."""
    monkeypatch.setitem(sys.modules, "av", None)
    task = await task_of(world.admin, {"clip.mp4": mp4(160, 120, 20)})

    size = (await world.admin.get(f"/api/tasks/{task}"))["size"]
    told = await world.admin.get(
        f"/api/tasks/{task}/data", type="frame", number=0, quality="original"
    )

    assert (size, world.admin.status) == (20, 501)
    assert "labeltrail[video]" in told["detail"]


async def test_a_chunk_that_does_not_fit_into_memory_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk is made in memory, and its size is the client's to say."""
    monkeypatch.setattr("daemon.sandbox.pictures.CHUNK_PIXELS_MAX", 100)

    path = f"/api/tasks/{world.task}/data"
    told = await world.admin.get(path, type="chunk", number=0, quality="original")

    assert (world.admin.status, "too large" in told["detail"]) == (413, True)
