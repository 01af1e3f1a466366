"""Refusals and failures as problem objects (RFC 9457), with the members of our own errors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web

from daemon.app import UnknownDataset, UnknownServer
from daemon.http.api.rates import TooManyRequests
from daemon.operations.exits import NOT_REACHABLE, USAGE, exit_code, failure
from daemon.operations.registry import UnknownOperation
from daemon.operations.show import UnknownThing
from daemon.operations.targets import UnknownTarget
from daemon.ports.projections import BeyondLog, ProjectionsFailed
from daemon.ports.store import QueueFull, StoreFailed
from daemon.spelling import encode
from daemon.tokens import TokensUnreadable
from events.errors import SyncError
from projections.pending import NothingWaits
from projections.run_keys import UnknownRun

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:labeltrail:error:"
RETRY_AFTER_S: Final = 5
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

_NOT_FOUND: Final = (
    NothingWaits,
    UnknownDataset,
    UnknownOperation,
    UnknownRun,
    UnknownServer,
    UnknownTarget,
    UnknownThing,
)
_OUR_TROUBLE: Final = (ProjectionsFailed, QueueFull, StoreFailed, TokensUnreadable)


class HttpRefusal(SyncError):
    """A request that is refused before, or beside, any operation."""

    status: int = 400
    headers: Mapping[str, str] = NO_HEADERS


class NotAuthorized(HttpRefusal):
    """No token, or none that is valid. Which of the two is nobody's business."""

    status = 401
    headers = MappingProxyType({"WWW-Authenticate": 'Bearer realm="labeltrail"'})


class ScopeTooSmall(HttpRefusal):
    """The token is good, but not for this."""

    status = 403


class NoSuchPath(HttpRefusal):
    """Nothing is served there."""

    status = 404


class NotOffered(NoSuchPath):
    """There is such an operation, but not over HTTP."""


class WrongMethod(HttpRefusal):
    """The path takes other methods."""

    status = 405

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__("the path does not take this method", method=method, allowed=allowed)
        self.headers = MappingProxyType({"Allow": ", ".join(allowed)})


class BodyTooSlow(HttpRefusal):
    """The body did not arrive in time."""

    status = 408


class SeenFurther(HttpRefusal):
    """A client has seen more of the log than there is, or another log."""

    status = 409


class BodyTooLarge(HttpRefusal):
    """The body passes the limit."""

    status = 413


class AnswerTooLarge(HttpRefusal):
    """The answer does not fit into one document."""

    status = 422


class Busy(HttpRefusal):
    """As much is at work as is allowed at one time."""

    status = 503
    headers = MappingProxyType({"Retry-After": str(RETRY_AFTER_S)})


class Stopping(Busy):
    """The daemon stops, and the request with it."""


class TookTooLong(HttpRefusal):
    """The operation was cancelled after its time."""

    status = 504


class Crashed(HttpRefusal):
    """A mistake of ours; what it was stands in the daemon's log alone."""

    status = 500


def problem(error: SyncError) -> web.Response:
    """Return the answer to a request that came to nothing."""
    status, headers = _status(error)
    body = {
        **failure(error),
        "type": TYPE_PREFIX + type(error).__name__,
        "title": error.message,
        "status": status,
    }
    if error.hint:
        body["detail"] = error.hint
    return web.Response(status=status, headers=headers, body=encode(body), content_type=MEDIA_TYPE)


def _status(error: SyncError) -> tuple[int, Mapping[str, str]]:
    match error:
        case HttpRefusal():
            return error.status, error.headers
        case TooManyRequests():
            return 429, {"Retry-After": str(error.retry_after_s)}
        case BeyondLog():
            return 404, NO_HEADERS
    if isinstance(error, _NOT_FOUND):
        return 404, NO_HEADERS
    if isinstance(error, _OUR_TROUBLE):
        return 503, {"Retry-After": str(RETRY_AFTER_S)}
    match exit_code(error):
        case code if code == USAGE:
            return 400, NO_HEADERS
        case code if code == NOT_REACHABLE:
            return 502, NO_HEADERS
    # Understood and allowed, but not as things stand.
    return 409, NO_HEADERS
