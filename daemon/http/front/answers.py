"""How an answer to a delivery is spelled: for aiohttp, and in bytes."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

from daemon.http.front.wire import Answer

RETRY_AFTER_S: Final = 10
NOT_NOW: Final = Answer(0, 503, "cannot record it now\n")
# There are a dozen different ones, and in a second many are alike.
SPELLED_MAX: Final = 16


def response(answer: Answer, *, close: bool) -> web.Response:
    """Return an answer as aiohttp takes it."""
    if answer.status == 204:
        return web.Response(status=204)
    response = web.Response(status=answer.status, text=answer.text)
    if answer.status == 503:
        response.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_S)
    if close:
        response.force_close()
    return response


def spelled(answer: Answer) -> bytes:
    """Return the bytes that aiohttp would send for an answer on a connection that stays open."""
    return _spelled(answer.status, answer.text, rfc822_formatted_time())


@lru_cache(SPELLED_MAX)
def _spelled(status: int, text: str, date: str) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    if status != 204:
        lines.append("Content-Type: text/plain; charset=utf-8")
    if status == 503:
        lines.append(f"Retry-After: {RETRY_AFTER_S}")
    if status != 204:
        lines.append(f"Content-Length: {len(text.encode())}")
    lines += [f"Date: {date}", f"Server: {SERVER_SOFTWARE}", "", text]
    return "\r\n".join(lines).encode()
