"""Send media to a CVAT task from disk, and wait until the server has made frames of it.

Sources: CVAT engine/mixins.py (UploadMixin), the SDK's core/uploading.py, and recorded traffic.
Whatever the number and size of the files, no more than one piece of one file is in memory.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from daemon.cvat.answers import Answer, bounded
from daemon.cvat.server import Limits
from daemon.cvat.tus import send_resumable
from daemon.cvat.wire import Call, Stream, Wire, encode
from daemon.ports.cvat import MediaFailed, MediaLate, NotFound, Refused, Row, UnsendableMedia

PIECE_BYTES = 1 << 20
NAME_BYTES_MAX = 255
REQUEST_ID_CHARS_MAX = 512
FORBIDDEN_IN_NAMES = frozenset('/\\"')


@dataclass(frozen=True, slots=True)
class Media:
    """A file as it was when the upload began; `index` is its place in the task."""

    index: int
    name: str
    path: Path
    size: int


async def upload(
    wire: Wire, task: int, files: Sequence[tuple[str, Path]], fields: Mapping[str, Any]
) -> str | None:
    """Give a task its media. See `CvatApi.upload_media`.

    A set that fits into one request goes as one; a larger one in groups between Upload-Start and
    Upload-Finish, and files that are larger than a group by tus, which can be resumed.
    """
    limits = wire.config.limits
    media = await asyncio.to_thread(_measured, files)
    groups, large = _groups(media, limits)
    path = f"/api/tasks/{task:d}/data"
    if len(groups) == 1 and not large:
        return _request_id(await _send_group(wire, path, groups[0], fields, {}))
    await wire.send(Call("POST", path, headers={"Upload-Start": "true"}))
    quality = {"image_quality": fields["image_quality"]}
    for group in groups:
        await _send_group(wire, path, group, quality, {"Upload-Multiple": "true"})
    for one in large:
        await send_resumable(wire, path, one.name, one.size, partial(_pieces, one))
    return _request_id(await _finish(wire, path, media, fields))


async def await_task_data(
    wire: Wire, task: int, *, size: int | None, timeout_s: float, request: str | None
) -> Row:
    """Wait for the frames and jobs of a task. See `CvatApi.await_task_data`."""
    limits, clock = wire.config.limits, wire.clock
    end_s, pause_s = clock.monotonic_s() + timeout_s, limits.poll_s
    while True:
        # The state first: what is read after it can only be further on.
        state, message = await _state(wire, task, request)
        row = (await wire.get(f"/api/tasks/{task:d}")).row()
        if state == "failed":
            raise MediaFailed(
                "the server could not read the media of this task",
                server=wire.config.name,
                task=task,
                reason=_last_line(message),
                hint="the task takes no other data: delete it and create it again",
            )
        if _ready(row, size=size, state=state, server=wire.config.name):
            return row
        if clock.monotonic_s() >= end_s:
            raise MediaLate(
                "the server has not finished this task in time",
                server=wire.config.name,
                task=task,
                state=state,
                waited_s=timeout_s,
                hint="it may still finish; wait again, or look at the server's workers",
            )
        await clock.sleep(pause_s)
        pause_s = min(pause_s * 1.5, limits.poll_s_max)


def _measured(files: Sequence[tuple[str, Path]]) -> list[Media]:
    """Check the names and take the sizes. Raises UnsendableMedia before anything is sent."""
    media = [_media(index, name, path) for index, (name, path) in enumerate(files)]
    if not media:
        raise UnsendableMedia("a task needs at least one file", hint="nothing was sent")
    if len({one.name for one in media}) < len(media):
        raise UnsendableMedia("two files have the same name in the task", hint="nothing was sent")
    return media


def _media(index: int, name: str, path: Path) -> Media:
    # The server cuts folders off and would mix up what multipart headers must escape.
    size_ok = 0 < len(name.encode("utf-8", "replace")) <= NAME_BYTES_MAX
    if not size_ok or not name.isprintable() or FORBIDDEN_IN_NAMES & set(name) or name[0] == ".":
        raise UnsendableMedia(
            "CVAT cannot show a file under this name",
            name=bounded(name),
            hint='send it under a plain name without folders, quotes, "\\" or a leading dot',
        )
    try:
        size = path.lstat().st_size
    except OSError as exc:
        raise UnsendableMedia(
            "a media file cannot be read", path=str(path), reason=exc.strerror
        ) from exc
    if size == 0:
        raise UnsendableMedia("a media file is empty", path=str(path), hint="nothing was sent")
    return Media(index, name, path, size)


def _groups(media: Sequence[Media], limits: Limits) -> tuple[list[list[Media]], list[Media]]:
    """Cut a set into groups of bounded size and number, and the files too large for any group."""
    groups: list[list[Media]] = []
    large: list[Media] = []
    room = 0
    for one in media:
        if one.size > limits.group_bytes_max:
            large.append(one)
            continue
        if one.size > room or len(groups[-1]) >= limits.group_files_max:
            groups.append([])
            room = limits.group_bytes_max
        groups[-1].append(one)
        room -= one.size
    return groups, large


async def _send_group(
    wire: Wire,
    path: str,
    group: Sequence[Media],
    fields: Mapping[str, Any],
    headers: Mapping[str, str],
) -> Answer:
    return await wire.send(Call("POST", path, body=multipart(fields, group), headers=headers))


async def _finish(
    wire: Wire, path: str, media: Sequence[Media], fields: Mapping[str, Any]
) -> Answer:
    """Say that all is sent, and in which order it belongs: groups and tus files do not keep it."""
    order = [one.name for one in media] if fields.get("sorting_method") == "predefined" else None
    document = {**fields, **({} if order is None else {"upload_file_order": order})}
    call = Call("POST", path, body=encode(document), headers={"Upload-Finish": "true"})
    return await wire.send(call)


def multipart(fields: Mapping[str, Any], media: Sequence[Media]) -> Stream:
    """Make a multipart/form-data body (RFC 7578) whose files are opened one after the other."""
    boundary = f"labeltrail-{secrets.token_hex(16)}"
    heads = [_part(boundary, f"client_files[{i}]", one.name) for i, one in enumerate(media)]
    lead = b"".join(
        _part(boundary, name) + _text(value).encode() + b"\r\n" for name, value in fields.items()
    )
    tail = f"--{boundary}--\r\n".encode()

    async def body() -> AsyncIterator[bytes]:
        yield lead
        for head, one in zip(heads, media, strict=True):
            yield head
            async for piece in _pieces(one, 0, one.size):
                yield piece
            yield b"\r\n"
        yield tail

    size = len(lead) + sum(map(len, heads)) + sum(one.size + 2 for one in media) + len(tail)
    return Stream(body, size, f"multipart/form-data; boundary={boundary}")


def _part(boundary: str, name: str, filename: str | None = None) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"\r\nContent-Type: application/octet-stream'
    return f"{head}\r\n\r\n".encode()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _pieces(media: Media, start: int, size: int) -> AsyncIterator[bytes]:
    """Read `size` bytes of a file from `start`. Raises UnsendableMedia when they are not there."""
    # A small file takes one trip to a thread, not one each to open, seek and read it.
    first, *rest = _piece_sizes(size)
    file, piece = await asyncio.to_thread(_opened, media.path, start, first)
    try:
        for wanted in (first, *rest):
            piece = piece or await asyncio.to_thread(file.read, wanted)
            if len(piece) < wanted:
                raise UnsendableMedia(
                    "a media file became shorter while it was sent",
                    path=str(media.path),
                    hint="the server has not taken it; send it again when it is complete",
                )
            yield piece
            piece = b""
    finally:
        file.close()


def _opened(path: Path, start: int, size: int) -> tuple[BinaryIO, bytes]:
    """Open a file and read its first piece. Raises UnsendableMedia."""
    with ExitStack() as undo:
        try:
            # Without O_NONBLOCK, a named pipe in the file's place would hold the thread for ever.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            file = undo.enter_context(os.fdopen(handle, "rb"))
            _check_place(handle, path)
            file.seek(start)
            piece = file.read(size)
        except OSError as exc:
            raise UnsendableMedia(
                "a media file cannot be read", path=str(path), reason=exc.strerror
            ) from exc
        undo.pop_all()
    return file, piece


def _check_place(handle: int, path: Path) -> None:
    """Check that what was opened is what was looked up, and no link was put in its way since.

    Whoever may write into a dataset's folder could have any file of ours sent to the server.
    """
    is_there = sys.platform != "linux" or Path(f"/proc/self/fd/{handle}").readlink() == path
    if not is_there or not stat.S_ISREG(os.fstat(handle).st_mode):
        raise UnsendableMedia(
            "a media file is not where it was any more, or no file",
            path=str(path),
            hint="scan the dataset again; a link may lead within its folders only",
        )


def _piece_sizes(size: int) -> list[int]:
    return [min(PIECE_BYTES, size - start) for start in range(0, size, PIECE_BYTES)]


def _request_id(answer: Answer) -> str | None:
    """Return the id of the background request; servers before 2.17 or so give none."""
    found = answer.row().get("rq_id") if answer.body else None
    return found if isinstance(found, str) and len(found) <= REQUEST_ID_CHARS_MAX else None


async def _state(wire: Wire, task: int, request: str | None) -> tuple[str, str]:
    """Return queued, started, finished, failed or unknown, and the server's message."""
    if request is None:
        path, key = f"/api/tasks/{task:d}/status", "state"
    else:
        path, key = f"/api/requests/{quote(request, safe='')}", "status"
    try:
        row = (await wire.get(path)).row()
    except (NotFound, Refused):
        # Requests are forgotten after a while, and /status is on its way out.
        return "unknown", ""
    return str(row.get(key, "unknown")).lower(), str(row.get("message") or "")


def _ready(row: Row, *, size: int | None, state: str, server: str) -> bool:
    """Tell whether a task has its frames and jobs. Raises MediaFailed when they are too few."""
    jobs = row.get("jobs")
    if not isinstance(jobs, dict) or not jobs.get("count"):
        return False
    if size is None:
        return state in ("finished", "unknown") and bool(row.get("size"))
    if row.get("size") == size:
        return True
    if state != "finished":
        return False
    raise MediaFailed(
        "the server made another number of frames than were sent",
        server=server,
        task=row.get("id"),
        size_expected=size,
        size_actual=row.get("size"),
        hint="the task takes no other data: delete it and create it again",
    )


def _last_line(message: str) -> str:
    """Keep of a server's traceback what it ends with."""
    lines = [line for line in message.splitlines() if line.strip()]
    return bounded(lines[-1]) if lines else ""
