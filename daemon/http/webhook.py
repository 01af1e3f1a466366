"""`POST /webhooks/cvat/<server>`: what each outcome is answered with.

A 4xx makes newer CVAT servers give a delivery up for good (408 and 429 excepted), so only what can
never be right gets one. Whatever is our own trouble is a 503, which they repeat for days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import StreamReader, hdrs, web

from daemon.app import UnknownServer
from daemon.cvat.signatures import SIGNATURE_HEADER
from daemon.http.receiver import Receiver, RefusedDelivery
from daemon.http.refusals import Reason
from daemon.http.requests import NOTED, RECEIVED, Noted, Requests
from daemon.ports.projections import ProjectionsFailed
from daemon.ports.store import QueueFull, StoreFailed
from events.errors import SyncError

FOLDER: Final = "/webhooks/cvat/"
Handle = Callable[[Any], Awaitable[web.StreamResponse]]
PATH: Final = f"{FOLDER}{{server}}"
RETRY_AFTER_S: Final = 10
STATUS: Final[dict[Reason, int]] = {
    "signature": 401,
    "too large": 413,
    "too slow": 408,
    "unreadable": 400,
}


class BodyTooLarge(SyncError):
    """A request's body passes the limit."""


class BodyTooSlow(SyncError):
    """A request's body did not arrive in time."""


class Webhook:
    """The handler.

    requests                notes each
    body_bytes_max, body_s  limits of one request's body
    """

    def __init__(
        self, receiver: Receiver, requests: Requests, *, body_bytes_max: int, body_s: float
    ) -> None:
        self._receiver = receiver
        self._requests = requests
        self._body_bytes_max = body_bytes_max
        self._body_s = body_s

    def shortcut(self, others: Handle) -> Handle:
        """Return what handles deliveries past the site's routes, which cost as much as a delivery.

        others  handles all other requests
        """

        async def handle(request: Any) -> web.StreamResponse:
            if request.method != "POST" or hdrs.EXPECT in request.headers:
                return await others(request)
            folder, server = request.path[: len(FOLDER)], request.path[len(FOLDER) :]
            if folder != FOLDER or not server or "/" in server:
                return await others(request)
            with Noted(self._requests, request, PATH) as noted:
                answer = await self._answer(request, server, noted)
                noted.status = answer.status
                return answer

        return handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a delivery that came by its route."""
        return await self._answer(request, request.match_info["server"], request[NOTED])

    async def _answer(self, request: web.Request, server: str, noted: Noted) -> web.Response:
        """Answer one delivery. The words are short and ASCII: CVAT keeps them."""
        try:
            # Asked first: a body for nobody is not read.
            self._receiver.check_known(server)
            noted.server = server
            body = await self._read(request, server)
            new = await self._receiver.receive(server, body, request.headers.get(SIGNATURE_HEADER))
            noted.outcome = RECEIVED if new else "duplicate"
            return web.Response(status=204)
        except UnknownServer:
            return web.Response(status=404, text="no such server\n")
        except RefusedDelivery as exc:
            noted.outcome = "refused"
            answer = web.Response(status=STATUS[exc.reason], text=f"{exc.message}\n")
            if exc.reason in ("too large", "too slow"):
                answer.force_close()
            return answer
        except (QueueFull, StoreFailed, ProjectionsFailed):
            # The reason stands in our own log; it is nobody else's business.
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return web.Response(status=503, headers=headers, text="cannot record it now\n")

    async def _read(self, request: web.Request, server: str) -> bytes:
        """Read the body, and not a byte more than is allowed. Raises RefusedDelivery."""
        try:
            self._check_size(request.content_length or 0)
            if request.content.is_eof():
                # It came together with the head, as CVAT's do: nothing to wait for.
                body = request.content.read_nowait()
                self._check_size(len(body))
                return body
            return await self._read_on(request.content)
        except TimeoutError as exc:
            late = BodyTooSlow("the body did not arrive in time")
            raise await self._receiver.refused(server, "too slow", late) from exc
        except BodyTooLarge as exc:
            raise await self._receiver.refused(server, "too large", exc) from exc

    async def _read_on(self, content: StreamReader) -> bytes:
        parts = bytearray()
        async with asyncio.timeout(self._body_s):
            async for part in content.iter_any():
                parts += part
                self._check_size(len(parts))
        return bytes(parts)

    def _check_size(self, size: int) -> None:
        if size > self._body_bytes_max:
            raise BodyTooLarge("the body is too large", bytes_max=self._body_bytes_max)
