"""One line and one count for each request."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from daemon.metrics import Metrics

QUIET_ROUTES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
METHODS: Final = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
CLIENT_GONE: Final = 499  # nginx's word for it
OTHER: Final = "other"

METRICS: Final[web.AppKey[Metrics]] = web.AppKey("metrics", Metrics)
# What a handler tells of a request, in words that are ours.
ACTOR: Final[web.RequestKey[str]] = web.RequestKey("actor", str)
ROUTE: Final[web.RequestKey[str]] = web.RequestKey("route", str)
SERVER: Final[web.RequestKey[str]] = web.RequestKey("server", str)
OUTCOME: Final[web.RequestKey[str]] = web.RequestKey("outcome", str)

_TOLD: Final = {"actor": ACTOR, "server": SERVER, "outcome": OUTCOME}

log = structlog.get_logger(__name__)


@web.middleware
async def one_line_a_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log and count a request: never its body, query or headers, nor a path that is none of ours.

    Whoever mistypes an address may have a secret in it.
    """
    began = asyncio.get_running_loop().time()
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
        _tell(request, status, asyncio.get_running_loop().time() - began)


def _tell(request: web.Request, status: int, took_s: float) -> None:
    route = _route(request)
    method = request.method if request.method in METHODS else OTHER
    say = log.debug if route in QUIET_ROUTES else log.info
    say(
        "request",
        method=method,
        path=route,
        status=status,
        ms=round(took_s * 1_000, 1),
        peer=request.remote,
        **{name: request[key] for name, key in _TOLD.items() if key in request},
    )
    metrics = request.app.get(METRICS)
    if metrics is not None:
        metrics.requested(method, route, str(status))
        if OUTCOME in request:
            metrics.delivered(request[SERVER], request[OUTCOME])


def _route(request: web.Request) -> str:
    """Return the path as it was registered, `other` where nothing was."""
    resource = request.match_info.route.resource
    return request.get(ROUTE) or (OTHER if resource is None else resource.canonical)
