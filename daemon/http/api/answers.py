"""What an operation yields, as one JSON document or as JSON lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from aiohttp import web

from daemon.http.api.problems import AnswerTooLarge
from daemon.operations.registry import exit_with
from daemon.spelling import encode

LINES: Final = "application/x-ndjson"
DOCUMENT_BYTES_MAX: Final = 8 * 2**20
# A client that takes nothing for so long is let go; it holds a reader of the log.
WRITE_S: Final = 30.0

Objects = AsyncGenerator[dict[str, Any], None]


async def as_document(objects: Objects) -> web.Response:
    """Answer {"objects": […], "exit_code": 0}. Raises AnswerTooLarge, and what they raise."""
    found: list[bytes] = []
    size, code = 0, 0
    async with aclosing(objects):
        async for one in objects:
            if one["kind"] == "exit":
                code = int(one["code"])
                break
            found.append(encode(one))
            size += len(found[-1]) + 1
            if size > DOCUMENT_BYTES_MAX:
                raise AnswerTooLarge(
                    "the answer does not fit into one document",
                    bytes_max=DOCUMENT_BYTES_MAX,
                    hint=f"ask for less, or for lines with `Accept: {LINES}`",
                )
    body = b'{"objects":[%b],"exit_code":%d}' % (b",".join(found), code)
    return web.Response(body=body, content_type="application/json")


class Lines:
    """Answers a line an object, the last of kind `exit` or `error`.

    What goes wrong before the first line can still be answered with a status of its own.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response: web.StreamResponse | None = None

    async def pour(self, objects: Objects) -> web.StreamResponse:
        """Write everything. Raises what they raise; the caller writes the last line then."""
        last = exit_with(0)
        async with aclosing(objects):
            async for one in objects:
                if one["kind"] == "exit":
                    last = one
                    break
                await self._write(one)
        return await self.end(last)

    @property
    def begun(self) -> bool:
        """Tell whether the status is sent."""
        return self._response is not None

    async def end(self, last: dict[str, Any]) -> web.StreamResponse:
        """Write the last line."""
        response = await self._write(last)
        await response.write_eof()
        return response

    async def _write(self, found: dict[str, Any]) -> web.StreamResponse:
        if self._response is None:
            self._response = web.StreamResponse(headers={"Content-Type": LINES})
            await self._response.prepare(self._request)
        await write(self._request, self._response, encode(found) + b"\n")
        return self._response


async def write(request: web.Request, response: web.StreamResponse, piece: bytes) -> None:
    """Write a piece of an answer; let a client go that does not take it in time.

    Raises ConnectionResetError once the client is gone.
    """
    try:
        async with asyncio.timeout(WRITE_S):
            await response.write(piece)
    except TimeoutError as exc:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client takes nothing") from exc
