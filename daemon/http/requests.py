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

from daemon.metrics import Metrics

QUIET_ROUTES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
METHODS: Final = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
CLIENT_GONE: Final = 499  # nginx's word for it
OTHER: Final = "other"
RECEIVED: Final = "received"

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
            with Noted(self, request, _route(request)) as noted:
                request[NOTED] = noted
                response = await handler(request)
                noted.status = response.status
                return response

        return handle


class Noted:
    """A request while it is worked on; noted when that ends, however it does.

    Handlers tell what they know, in words that are ours:

    route            its path as it was registered
    actor            who sent it
    server, outcome  of a delivery
    """

    __slots__ = ("_began_s", "_of", "_request", "actor", "outcome", "route", "server", "status")

    def __init__(self, of: Requests, request: web.BaseRequest, route: str) -> None:
        self._of = of
        self._request = request
        self._began_s = of.now_s()
        self.route = route
        self.status = 500
        self.actor: str | None = None
        self.server: str | None = None
        self.outcome: str | None = None

    def __enter__(self) -> Noted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(exc, web.HTTPException):
            self.status = exc.status
        elif isinstance(exc, asyncio.CancelledError):
            self.status = CLIENT_GONE
        method = self._request.method if self._request.method in METHODS else OTHER
        self._of.metrics.requested(method, self.route, str(self.status))
        if self.server and self.outcome:
            self._of.metrics.delivered(self.server, self.outcome)
        if self.outcome != RECEIVED:
            self._say(method)

    def _say(self, method: str) -> None:
        say = self._of.lines.debug if self.route in QUIET_ROUTES else self._of.lines.info
        told = {"actor": self.actor, "server": self.server, "outcome": self.outcome}
        say(
            "request",
            method=method,
            path=self.route,
            status=self.status,
            ms=round((self._of.now_s() - self._began_s) * 1_000, 1),
            peer=self._request.remote,
            **{name: value for name, value in told.items() if value is not None},
        )


NOTED: Final[web.RequestKey[Noted]] = web.RequestKey("noted", Noted)


def _route(request: web.Request) -> str:
    """Return the path as it was registered, `other` where nothing was."""
    resource = request.match_info.route.resource
    return OTHER if resource is None else resource.canonical
