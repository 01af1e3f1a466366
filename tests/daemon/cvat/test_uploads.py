"""Media go from the disk to the server piece by piece, under the names and in the order given."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from aiohttp import web

from daemon.ports.cvat import (
    MediaFailed,
    MediaLate,
    OutcomeUnknown,
    Refused,
    UnsendableMedia,
)

DATA = "/api/tasks/5/data"
TASK = "/api/tasks/5"
STATUS = "/api/tasks/5/status"


class MediaServer:
    """The receiving end of CVAT's uploads: one request, groups, and tus as 2.15 does it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fields: dict[str, str] = {}
        self.finish: dict | None = None
        self.requests: list[str] = []
        self.tus: dict[str, tuple[str, int, bytearray]] = {}
        self.cut_after: list[int | None] = []
        self.location = "http://elsewhere.invalid"
        self.lengths: list[str | None] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        marks = [name for name in request.headers if name.startswith(("Upload-St", "Upload-M"))]
        marks += [name for name in ("Upload-Finish", "Tus-Resumable") if name in request.headers]
        self.requests.append(f"{request.method} {marks[-1] if marks else 'plain'}")
        if "Tus-Resumable" in request.headers:
            return await self._tus(request)
        if "Upload-Start" in request.headers:
            return web.Response(status=202)
        if "Upload-Finish" in request.headers:
            self.finish = await request.json()
            return web.json_response({"rq_id": "action=create&target=task&target_id=5"}, status=202)
        await self._multipart(request)
        if "Upload-Multiple" in request.headers:
            return web.Response(status=200)
        return web.json_response({"client_files": list(self.files)}, status=202)

    async def _multipart(self, request: web.Request) -> None:
        self.lengths.append(request.headers.get("Content-Length"))
        async for part in await request.multipart():
            if part.filename is None:
                self.fields[part.name] = await part.text()
            else:
                self.files[part.filename] = bytes(await part.read())

    async def _tus(self, request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            name = base64.b64decode(request.headers["Upload-Metadata"].split()[1]).decode()
            number = f"1_{len(self.tus)}-ab.c"
            self.tus[number] = (name, int(request.headers["Upload-Length"]), bytearray())
            # As 2.15 does, the address begins with what it was told, or anything.
            headers = {"Location": f"{self.location}{DATA}/{number}"}
            return web.Response(status=201, headers=headers)
        number = request.path.rpartition("/")[2]
        if number not in self.tus:
            return web.Response(status=404)
        name, length, received = self.tus[number]
        if request.method == "HEAD":
            return web.Response(headers={"Upload-Offset": str(len(received))})
        if int(request.headers["Upload-Offset"]) != len(received):
            return web.Response(status=409)
        stop = self.cut_after.pop(0) if self.cut_after else None
        async for piece in request.content.iter_any():
            received += piece[:stop]
            if stop is not None:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
        if len(received) == length:
            self.files[name] = bytes(received)
            del self.tus[number]
        return web.Response(status=204, headers={"Upload-Offset": str(len(received))})


@pytest.fixture
def media() -> MediaServer:
    return MediaServer()


def make(folder: Path, **sizes: int) -> list[tuple[str, Path]]:
    """Write files whose bytes tell where in which file they stand."""
    for name, size in sizes.items():
        pattern = b"".join(f"{name}{i:09}".encode() for i in range(size // 10 + 1))
        (folder / name).write_bytes(pattern[:size])
    return [(f"{name}.jpg", folder / name) for name in sizes]


def contents(files: list[tuple[str, Path]]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files}


async def test_a_small_set_is_one_request(serve, connect, media, tmp_path):
    """As FiftyOne sends it: fields first, then client_files[n]."""
    files = make(tmp_path, b=30_000, a=2_500_000, c=1)
    client = await connect(await serve(media.handle))

    request = await client.upload_media(5, files, options={"frame_filter": "step=2"})

    assert request is None
    assert media.files == contents(files)
    assert list(media.files) == ["b.jpg", "a.jpg", "c.jpg"]
    assert media.fields == {
        "image_quality": "75",
        "use_cache": "true",
        "use_zip_chunks": "true",
        "sorting_method": "predefined",
        "frame_filter": "step=2",
    }
    assert media.requests == ["POST plain"]
    assert int(media.lengths[0] or 0) > 2_530_001


async def test_a_large_set_goes_in_groups_and_large_files_by_tus(serve, connect, media, tmp_path):
    """And the server is told the order, which the groups do not keep."""
    files = make(tmp_path, d=600, big=2_500, b=600, a=600, c=10)
    client = await connect(
        await serve(media.handle), limits={"group_bytes_max": 1_300, "tus_chunk_bytes": 1_000}
    )

    request = await client.upload_media(5, files, use_cache=False)

    assert request == "action=create&target=task&target_id=5"
    assert media.files == contents(files)
    assert media.requests == [
        "POST Upload-Start",
        "POST Upload-Multiple",
        "POST Upload-Multiple",
        *(["POST Tus-Resumable"] + ["PATCH Tus-Resumable"] * 3),
        "POST Upload-Finish",
    ]
    assert media.finish == {
        "image_quality": 75,
        "use_cache": False,
        "use_zip_chunks": True,
        "sorting_method": "predefined",
        "upload_file_order": ["d.jpg", "big.jpg", "b.jpg", "a.jpg", "c.jpg"],
    }


async def test_a_group_has_no_more_files_than_allowed(serve, connect, media, tmp_path):
    """A hundred thousand small images are not one request."""
    files = make(tmp_path, **{f"f{i}": 10 for i in range(7)})
    client = await connect(await serve(media.handle), limits={"group_files_max": 3})

    await client.upload_media(5, files)

    assert media.requests.count("POST Upload-Multiple") == 3
    assert media.files == contents(files)


async def test_memory_does_not_grow_with_the_media(serve, connect, tmp_path):
    """A video of some gigabytes must fit through."""
    size = 96 << 20
    with (tmp_path / "video").open("wb") as file:
        file.truncate(size)
    received = 0

    async def swallow(request: web.Request) -> web.StreamResponse:
        nonlocal received
        async for piece in request.content.iter_any():
            received += len(piece)
        return web.json_response({}, status=202)

    client = await connect(await serve(swallow))
    tracemalloc.start()
    try:
        await client.upload_media(5, [("video.mp4", tmp_path / "video")])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert received > size
    assert peak < 16 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_cancelled_upload_closes_its_file(serve, connect, tmp_path):
    """Runs are cancelled; a daemon that lives for months must not run out of descriptors."""
    file = ("video.mp4", tmp_path / "video")
    with file[1].open("wb") as empty:
        empty.truncate(32 << 20)
    begun = asyncio.Event()

    async def stuck(request: web.Request) -> web.StreamResponse:
        await request.content.readexactly(2 << 20)
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    client = await connect(await serve(stuck))
    upload = asyncio.create_task(client.upload_media(5, [file]))
    await begun.wait()
    assert opened(file[1])

    upload.cancel()

    with pytest.raises(asyncio.CancelledError):
        await upload
    async with asyncio.timeout(5):
        while opened(file[1]):
            gc.collect()
            await asyncio.sleep(0)


def opened(path: Path) -> bool:
    """Tell whether this process has a file open (Linux)."""
    links = Path("/proc/self/fd").iterdir()
    return any(os.path.realpath(link) == str(path) for link in links)


async def test_a_broken_tus_upload_goes_on_where_the_server_was(serve, connect, media, tmp_path):
    """Hours of upload are not begun again for one lost packet."""
    files = make(tmp_path, big=200_000)
    media.cut_after = [700, 1]
    client = await connect(
        await serve(media.handle), limits={"group_bytes_max": 1_000, "tus_chunk_bytes": 100_000}
    )

    await client.upload_media(5, files)

    assert media.files == contents(files)
    assert media.requests.count("HEAD Tus-Resumable") == 2


@pytest.mark.parametrize(
    "cuts",
    [[0, 0, 0, None, 0, 0, 0], [100] * 9],
    ids=["between chunks", "within one"],
)
async def test_only_failures_without_any_progress_end_a_tus_upload(
    serve, connect, media, tmp_path, cuts
):
    """A bad line over a long night is not a reason to give up."""
    files = make(tmp_path, big=5_000)
    media.cut_after = cuts
    client = await connect(
        await serve(media.handle), limits={"group_bytes_max": 10, "tus_chunk_bytes": 2_500}
    )

    await client.upload_media(5, files)

    assert media.files == contents(files)


async def test_a_tus_upload_survives_a_server_that_restarts(connect, media, clock, tmp_path):
    """Some seconds without anybody listening are an update, not the end of a night's upload."""
    files = make(tmp_path, big=5_000)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", media.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    media.cut_after = [0]

    async def restart(sleeps: int) -> None:
        if sleeps == 1:
            await site.stop()
        if sleeps == 6:
            await web.TCPSite(runner, "127.0.0.1", port).start()

    clock.on_sleep = restart
    client = await connect(f"http://127.0.0.1:{port}", limits={"group_bytes_max": 10})

    try:
        await client.upload_media(5, files)
    finally:
        await runner.cleanup()

    assert media.files == contents(files)
    assert len(clock.slept) >= 6


async def test_a_tus_upload_that_never_gets_on_is_unknown(serve, connect, media, clock, tmp_path):
    """The attempts are counted only as long as no chunk came through."""
    media.cut_after = [0] * 100
    client = await connect(await serve(media.handle), limits={"group_bytes_max": 10})

    with pytest.raises(OutcomeUnknown):
        await client.upload_media(5, make(tmp_path, big=5_000))

    assert media.requests.count("PATCH Tus-Resumable") == 4
    assert clock.slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    "location", ["", "http://elsewhere.invalid/x?a=b/", "https://e.x/%2e%2e", "/.."]
)
async def test_a_tus_address_without_an_id_is_not_used(script, connect, tmp_path, location):
    """Only the id of the address is taken: our credentials go nowhere else."""
    script.on("POST", DATA, 202)
    script.on("POST", f"{DATA}/", (201, None, {"Location": location}))
    client = await connect(script.url, limits={"group_bytes_max": 10})

    with pytest.raises(OutcomeUnknown, match="no usable address"):
        await client.upload_media(5, make(tmp_path, big=5_000))


async def test_tus_says_where_it_comes_from(script, connect, tmp_path):
    """CVAT 2.15 builds the address from Origin, and crashes without."""
    script.on("POST", DATA, 202, (202, {}))
    script.on("POST", f"{DATA}/", (201, None, {"Location": f"{DATA}/id"}))
    script.on("PATCH", f"{DATA}/id", (204, None, {"Upload-Offset": "5000"}))
    client = await connect(script.url, limits={"group_bytes_max": 10})

    await client.upload_media(5, make(tmp_path, big=5_000))

    assert [seen.headers.get("Origin") for seen in script.seen] == [
        None,
        script.url,
        script.url,
        None,
    ]


@pytest.mark.parametrize("offset", ["", "-1", "5001", "0", "9" * 5_000, "٣"])
async def test_an_offset_that_cannot_be_is_not_believed(script, connect, tmp_path, offset):
    """It would send the wrong bytes, or the same ones for ever."""
    script.on("POST", DATA, 202)
    script.on("POST", f"{DATA}/", (201, None, {"Location": f"{DATA}/id"}))
    for method in ("PATCH", "HEAD"):
        script.on(method, f"{DATA}/id", (204, None, {"Upload-Offset": offset}))
    client = await connect(script.url, limits={"group_bytes_max": 10})

    with pytest.raises(OutcomeUnknown):
        await client.upload_media(5, make(tmp_path, big=5_000))


@pytest.mark.parametrize(
    "name", ["", "a/b.jpg", "a\\b.jpg", 'a".jpg', "a\r\nX: y.jpg", ".hidden", "..", "é" * 200]
)
async def test_a_name_that_would_not_arrive_is_refused_before_anything_is_sent(
    script, connect, tmp_path, name
):
    """CVAT cuts folders off: two images of one name would become one, and frames would shift."""
    files = [(name, path) for _, path in make(tmp_path, a=10)]
    client = await connect(script.url)

    with pytest.raises(UnsendableMedia):
        await client.upload_media(5, files)

    assert script.seen == []


async def test_missing_empty_doubled_and_no_files_are_refused_before_anything_is_sent(
    script, connect, tmp_path
):
    """A task takes data once; half of them would spoil it."""
    (whole,) = make(tmp_path, a=10)
    (empty,) = make(tmp_path, b=0)
    client = await connect(script.url)

    for files in ([], [whole, whole], [whole, empty], [whole, ("c.jpg", tmp_path / "no")]):
        with pytest.raises(UnsendableMedia):
            await client.upload_media(5, files)

    assert script.seen == []


def _link_to_it(folder: Path, secret: Path) -> None:
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to(secret)


def _folder_becomes_a_link(folder: Path, secret: Path) -> None:
    (folder / "a.png").unlink()
    folder.rmdir()
    folder.symlink_to(secret.parent)


def _named_pipe(folder: Path, secret: Path) -> None:
    (folder / "a.png").unlink()
    os.mkfifo(folder / "a.png")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells where an open file lies")
@pytest.mark.parametrize("swap", [_link_to_it, _folder_becomes_a_link, _named_pipe])
async def test_what_was_put_in_the_place_of_a_file_is_not_sent(serve, connect, tmp_path, swap):
    """Whoever writes into a dataset's folder would have any file of ours shown by the server."""
    server = MediaServer()
    client = await connect(await serve(server.handle))
    folder, secret = tmp_path / "data", tmp_path / "home" / "a.png"
    for made in (folder, secret.parent):
        made.mkdir()
    (folder / "a.png").write_bytes(b"an image")
    secret.write_bytes(b"a key")
    swap(folder, secret)

    with pytest.raises(UnsendableMedia):
        await client.upload_media(5, [("a.png", folder / "a.png")])

    assert server.files == {}


async def test_a_file_that_shrinks_meanwhile_ends_the_upload_in_words(serve, connect, tmp_path):
    """The server never sees the end of the request, so it takes nothing."""
    (file,) = make(tmp_path, a=8 << 20)
    ended: list[bool] = []

    async def shrink(request: web.Request) -> web.StreamResponse:
        await asyncio.to_thread(file[1].write_bytes, b"")
        try:
            await request.read()
            ended.append(True)
        finally:
            ended.append(False)
        return web.json_response({}, status=202)

    client = await connect(await serve(shrink))

    with pytest.raises(UnsendableMedia, match="shorter"):
        await client.upload_media(5, [file])

    assert True not in ended


async def test_an_upload_without_an_answer_is_unknown(serve, connect, media, tmp_path):
    """The task may have its data: the caller looks."""

    async def lost(request: web.Request) -> web.StreamResponse:
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    client = await connect(await serve(lost))

    with pytest.raises(OutcomeUnknown):
        await client.upload_media(5, make(tmp_path, a=10))


# Waiting for the frames.


def task(size: int | None, jobs: int) -> tuple[int, dict]:
    row: dict = {"id": 5, "jobs": {"count": jobs}}
    return 200, row if size is None else {**row, "size": size}


async def test_a_task_is_ready_when_it_has_its_frames_and_jobs(script, connect, clock):
    """CVAT says "Finished" of a task that never got data."""
    script.on("GET", STATUS, (200, {"state": "Finished", "message": ""}))
    script.on("GET", TASK, task(None, 0), task(8, 0), task(8, 3))
    client = await connect(script.url)

    ready = await client.await_task_data(5, size=8, timeout_s=60)

    assert ready["jobs"]["count"] == 3
    assert clock.slept == [0.2, pytest.approx(0.3)]


async def test_a_newer_server_is_asked_about_its_request(script, connect):
    """Since 2.17 or so the work has an id; "/" and "&" in it must stay in the path."""
    request = "action=create&target=task&target_id=5"
    script.on("GET", f"/api/requests/{request}", (200, {"status": "finished"}))
    script.on("GET", TASK, task(8, 3))
    client = await connect(script.url)

    await client.await_task_data(5, size=8, timeout_s=60, request=request)

    assert script.paths()[0] == f"GET /api/requests/{request}"


async def test_a_request_id_stays_one_part_of_the_path(script, connect):
    """It comes from the server, through the log."""
    script.on("GET", TASK, task(8, 3))
    client = await connect(script.url)

    await client.await_task_data(5, size=8, timeout_s=60, request="../users?x#y")

    assert script.seen[0].raw_path == "/api/requests/..%2Fusers%3Fx%23y"


@pytest.mark.parametrize("gone", [404, 410])
async def test_a_status_that_is_gone_does_not_matter(script, connect, gone):
    """Requests are forgotten after a while; the task itself tells."""
    script.on("GET", STATUS, gone)
    script.on("GET", TASK, task(8, 3))
    client = await connect(script.url)

    assert (await client.await_task_data(5, size=8, timeout_s=60))["size"] == 8


@pytest.mark.parametrize("version", ["2.15", "2.73"])
async def test_media_that_the_server_cannot_read_are_told_with_its_last_words(
    recording, script, connect, version
):
    """The message is a traceback on 2.15: its last line is the reason."""
    answers = (e["response_body"] for e in recording(version, "sync-daemon"))
    found = (body["json"] for body in answers if body and isinstance(body.get("json"), dict))
    failed = next(b for b in found if "failed" in (b.get("status"), str(b.get("state")).lower()))
    path = STATUS if version == "2.15" else "/api/requests/rq"
    script.on("GET", path, (200, failed))
    script.on("GET", TASK, task(None, 0))
    client = await connect(script.url)

    with pytest.raises(MediaFailed, match="cannot identify image file") as failure:
        await client.await_task_data(
            5, size=1, timeout_s=60, request=None if version == "2.15" else "rq"
        )

    assert len(failure.value.facts["reason"]) <= 300


async def test_a_task_with_other_frames_than_were_sent_is_a_failure(script, connect):
    """Every label would sit on the wrong frame."""
    script.on("GET", STATUS, (200, {"state": "Finished"}))
    script.on("GET", TASK, task(7, 3))
    client = await connect(script.url)

    with pytest.raises(MediaFailed, match="size_actual=7"):
        await client.await_task_data(5, size=8, timeout_s=60)


async def test_a_video_is_ready_when_the_server_says_so_and_has_counted(script, connect):
    """Only the server may know how many frames a video has."""
    script.on("GET", STATUS, (200, {"state": "Started"}), (200, {"state": "Finished"}))
    script.on("GET", TASK, task(100, 1))
    client = await connect(script.url)

    await client.await_task_data(5, size=None, timeout_s=60)

    assert script.paths().count(f"GET {STATUS}") == 2


async def test_waiting_ends(script, connect, clock):
    """A queue of a busy server can be hours long; the caller decides what then."""
    script.on("GET", STATUS, (200, {"state": "Queued"}))
    script.on("GET", TASK, task(None, 0))
    client = await connect(script.url)

    with pytest.raises(MediaLate, match="queued"):
        await client.await_task_data(5, size=8, timeout_s=100)

    assert 100 <= clock.seconds < 106
    assert max(clock.slept) == 5.0


async def test_what_json_cannot_carry_is_refused_before_it_is_sent(script, connect):
    """A lone surrogate makes CVAT refuse the whole batch."""
    client = await connect(script.url)

    with pytest.raises(Refused, match="nothing was sent"):
        await client.patch_annotations(7, "create", {"shapes": [{"text": "\ud800"}]})

    assert script.seen == []
