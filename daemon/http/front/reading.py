"""Read a delivery's request: whose it is, and its body, not a byte more than is allowed."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from aiohttp import web

from daemon.http.front.wire import Unread

FOLDER: Final = "/webhooks/cvat/"
SERVER: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")  # as in the settings


class BodyUnread(Exception):
    """The rest of a body will not be read."""

    def __init__(self, why: Unread) -> None:
        super().__init__(why)
        self.why: Unread = why


def server_of(request: web.BaseRequest) -> str | None:
    """Return the name of the server that a delivery is for, None for any other request."""
    path = request.path
    if request.method != "POST" or not path.startswith(FOLDER):
        return None
    server = path[len(FOLDER) :]
    return server if SERVER.fullmatch(server) else None


async def read_body(request: web.BaseRequest, *, bytes_max: int, seconds: float) -> bytes:
    """Return the body as it was sent, never unpacked. Raises BodyUnread."""
    content = request.content
    if (request.content_length or 0) > bytes_max:
        raise BodyUnread("too large")
    if content.is_eof():
        # It came together with the head, as CVAT's do: nothing to wait for.
        body = content.read_nowait()
        if len(body) > bytes_max:
            raise BodyUnread("too large")
        return body
    parts = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in content.iter_any():
                parts += part
                if len(parts) > bytes_max:
                    raise BodyUnread("too large")
    except TimeoutError as exc:
        raise BodyUnread("too slow") from exc
    return bytes(parts)
