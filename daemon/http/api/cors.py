"""Pages of other origins: none may ask, but for those that the settings name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from aiohttp import web

PREFLIGHT_KEPT_S: Final = 600
ORIGIN: Final[web.RequestKey[str]] = web.RequestKey("allowed_origin", str)


def is_preflight(request: web.Request, origins: Collection[str]) -> bool:
    """Remember the origin of a browser's page that may ask; tell whether this is its question."""
    origin = request.headers.get("Origin")
    if origin is None or origin not in origins:
        return False
    request[ORIGIN] = origin
    return request.method == "OPTIONS"


async def mark(request: web.Request, response: web.StreamResponse) -> None:
    """Let the page read the answer. Tokens are no cookies: no credentials are allowed."""
    if ORIGIN in request:
        response.headers["Access-Control-Allow-Origin"] = request[ORIGIN]
        response.headers["Vary"] = "Origin"


def preflight() -> web.Response:
    """Answer a browser's question whether a page may ask."""
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
            "Access-Control-Max-Age": str(PREFLIGHT_KEPT_S),
        },
    )
