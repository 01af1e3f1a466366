"""One line and one count for each request.

A delivery that was recorded has no line of its own: those of one append have one line together,
which tells where they stand in the log (`daemon.http.receiver`).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from daemon.http.front.wire import PEER_HEADER
from daemon.metrics import Metrics

QUIET_ROUTES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
METHODS: Final = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
CLIENT_GONE: Final = 499  # nginx's word for it
OTHER: Final = "other"

log = structlog.get_logger(__name__)


class Requests:
    """Logs and counts requests: never a body, query or header, nor a path that is not ours.

    Whoever mistypes an address may have a secret in it.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.now_s = asyncio.get_running_loop().time
        # As it is configured now: asked for with each line, it costs a fifth more.
        self.lines = log.bind()

    def middleware(self) -> Middleware:
        """Return what notes every request that has a route of the site."""

        @web.middleware
        async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
            method = request.method if request.method in METHODS else OTHER
            with Noted(self, method, peer_of(request), _route(request)) as noted:
                request[NOTED] = noted
                response = await handler(request)
                noted.status = response.status
                return response

        return handle

    def note(
        self, method: str, route: str, status: int, began_s: float, peer: str | None, **told: str
    ) -> None:
        """Write the line of a request, and count it."""
        self.metrics.requested(method, route, str(status))
        say = self.lines.debug if route in QUIET_ROUTES else self.lines.info
        ms = round((self.now_s() - began_s) * 1_000, 1)
        say("request", method=method, path=route, status=status, ms=ms, peer=peer, **told)


class Noted:
    """A request while it is worked on; noted when that ends, however it does.

    Handlers tell what they know, in words that are ours:

    route  its path as it was registered
    actor  who sent it
    """

    def __init__(self, of: Requests, method: str, peer: str | None, route: str) -> None:
        self._of = of
        self._method = method
        self._peer = peer
        self._began_s = of.now_s()
        self.route = route
        self.status = 500
        self.actor: str | None = None

    def __enter__(self) -> Noted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(exc, web.HTTPException):
            self.status = exc.status
        elif isinstance(exc, asyncio.CancelledError):
            self.status = CLIENT_GONE
        told = {} if self.actor is None else {"actor": self.actor}
        self._of.note(self._method, self.route, self.status, self._began_s, self._peer, **told)


NOTED: Final[web.RequestKey[Noted]] = web.RequestKey("noted", Noted)


def peer_of(request: web.Request) -> str | None:
    """Return the address that a request came from, as the front tells it."""
    return request.headers.get(PEER_HEADER) or None


def _route(request: web.Request) -> str:
    """Return the path as it was registered, `other` where nothing was."""
    resource = request.match_info.route.resource
    return OTHER if resource is None else resource.canonical
