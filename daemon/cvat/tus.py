"""Send one large file to CVAT by tus (https://tus.io/protocols/resumable-upload, version 1.0.0)."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Callable, Mapping

from daemon.cvat.answers import Answer
from daemon.cvat.wire import Call, Stream, Wire
from daemon.ports.cvat import NotFound, OutcomeUnknown, ServerTrouble, ServerUnreachable

UPLOAD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
TUS = {"Tus-Resumable": "1.0.0"}

Pieces = Callable[[int, int], AsyncIterator[bytes]]
"""(start, size) of a file to its bytes, piece by piece."""


async def send_resumable(wire: Wire, path: str, name: str, size: int, pieces: Pieces) -> None:
    """Send a file in chunks; after a broken one ask how far the server came, and go on there.

    Raises what the last attempt did when the server came no further in `limits.attempts` of them.
    """
    upload = f"{path}/{await _begin(wire, path, name, size)}"
    offset, failures = 0, 0
    while offset < size:
        try:
            if failures:
                await wire.clock.sleep(wire.backoff_s(failures))
                reached = await _offset(wire, upload, size)
                failures = 0 if reached > offset else failures
                offset = reached
            if offset < size:
                offset, failures = await _send_chunk(wire, upload, offset, size, pieces), 0
        except (OutcomeUnknown, ServerUnreachable):
            failures += 1
            if failures >= wire.config.limits.attempts:
                raise


async def _begin(wire: Wire, path: str, name: str, size: int) -> str:
    encoded = base64.b64encode(name.encode()).decode()
    headers = _headers(wire, {"Upload-Length": str(size), "Upload-Metadata": f"filename {encoded}"})
    answer = await wire.send(Call("POST", f"{path}/", headers=headers))
    # Only the id is taken: CVAT 2.15 builds the rest of the address from our Origin header, and
    # no server may send our credentials to an address of its choice.
    upload = answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
    if not UPLOAD_ID.fullmatch(upload):
        raise answer.unreadable("the server gave no usable address for the upload")
    return upload


async def _send_chunk(wire: Wire, upload: str, offset: int, size: int, pieces: Pieces) -> int:
    chunk = min(wire.config.limits.tus_chunk_bytes, size - offset)
    body = Stream(lambda: pieces(offset, chunk), chunk, "application/offset+octet-stream")
    headers = _headers(wire, {"Upload-Offset": str(offset)})
    answer = await wire.send(Call("PATCH", upload, body=body, headers=headers))
    return _offset_of(answer, at_least=offset + 1, at_most=size)


async def _offset(wire: Wire, upload: str, size: int) -> int:
    """Ask how much of the file the server has."""
    try:
        answer = await wire.send(Call("HEAD", upload, headers=_headers(wire, {}), repeatable=True))
        return _offset_of(answer, at_least=0, at_most=size)
    except NotFound:
        # CVAT forgets an upload once it is complete: the broken answer was the last one. Were it
        # lost instead, the task would lack a frame, which `await_task_data` notices.
        return size
    except ServerTrouble as exc:
        hint = "delete the task and create it again"
        message = "it is not known how far the upload came"
        raise OutcomeUnknown(message, **exc.facts, hint=hint) from exc


def _offset_of(answer: Answer, *, at_least: int, at_most: int) -> int:
    text = answer.headers.get("Upload-Offset", "")
    if not (text.isascii() and text.isdigit() and at_least <= int(text[:20]) <= at_most):
        raise answer.unreadable("the server gave no usable upload offset")
    return int(text[:20])


def _headers(wire: Wire, more: Mapping[str, str]) -> dict[str, str]:
    # CVAT 2.15 crashes on a creation without Origin when no proxy stands before it.
    return {**TUS, "Origin": wire.config.origin, **more}
