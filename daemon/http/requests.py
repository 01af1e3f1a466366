"""One line and one count for each request."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from daemon.metrics import Metrics

QUIET_ROUTES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
METHODS: Final = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
CLIENT_GONE: Final = 499  # nginx's word for it
OTHER: Final = "other"

# What a handler tells of a request, in words that are ours.
ACTOR: Final[web.RequestKey[str]] = web.RequestKey("actor", str)
ROUTE: Final[web.RequestKey[str]] = web.RequestKey("route", str)
SERVER: Final[web.RequestKey[str]] = web.RequestKey("server", str)
OUTCOME: Final[web.RequestKey[str]] = web.RequestKey("outcome", str)

_TOLD: Final[dict[object, str]] = {ACTOR: "actor", SERVER: "server", OUTCOME: "outcome"}

log = structlog.get_logger(__name__)


def one_line_a_request(metrics: Metrics) -> Middleware:
    """Log and count each request: never its body, query or headers, nor a path that is not ours.

    Whoever mistypes an address may have a secret in it.
    """
    lines = log.bind()  # as it is configured now: asked for with each line, it costs a fifth more
    now_s = asyncio.get_running_loop().time

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = now_s()
        status = 500
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as exc:
            status = exc.status
            raise
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            told = _told(request, status, now_s() - began)
            say = lines.debug if told["path"] in QUIET_ROUTES else lines.info
            say("request", **told)
            metrics.requested(told["method"], told["path"], str(status))
            if "outcome" in told:
                metrics.delivered(told["server"], told["outcome"])

    return handle


def _told(request: web.Request, status: int, took_s: float) -> dict[str, Any]:
    return {
        "method": request.method if request.method in METHODS else OTHER,
        "path": _route(request),
        "status": status,
        "ms": round(took_s * 1_000, 1),
        "peer": request.remote,
    } | {_TOLD[key]: value for key, value in request.items() if key in _TOLD}


def _route(request: web.Request) -> str:
    """Return the path as it was registered, `other` where nothing was."""
    if ROUTE in request:
        return request[ROUTE]
    resource = request.match_info.route.resource
    return OTHER if resource is None else resource.canonical
