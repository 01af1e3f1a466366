"""The handler of everything under `/api/`: who asks, for what, within which limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from daemon.crash import crash
from daemon.http.api import cors
from daemon.http.api.access import Access, check_scope
from daemon.http.api.answers import LINES, Lines, as_document
from daemon.http.api.arguments import converted, from_body, from_query
from daemon.http.api.feed import Feed, FeedArgs, resumed
from daemon.http.api.offered import OFFERED, WITHHELD
from daemon.http.api.openapi import BASE, DESCRIPTION, EVENTS, description, methods_of, path_of
from daemon.http.api.problems import (
    Busy,
    Crashed,
    NoSuchPath,
    NotOffered,
    Stopping,
    TookTooLong,
    WrongMethod,
    problem,
)
from daemon.http.requests import CLIENT_GONE, NOTED
from daemon.operations.exits import failure
from daemon.operations.registry import BadArguments, Json, Operation, find
from daemon.spelling import encode
from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.tokens import Token

ROUTE: Final = "/api/{path:.*}"
OPERATIONS: Final = {path_of(name): name for name in OFFERED}
# Arguments by which an operation goes on for ever, and what a query calls leaving one out.
ENDLESS: Final = frozenset({"follow", "watch"})
NO: Final = (False, None, "false", "0")
READ_S: Final = 300.0
WRITE_S: Final = 3_600.0
GONE_EVERY_S: Final = 1.0

log = structlog.get_logger(__name__)


class Api:
    """Serves the operations that are offered, the event feed, and the description of both."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access
        self._running: set[asyncio.Task[Any]] = set()
        self._at_work = Counter[str]()
        self._stopping = False

    async def stop(self, _site: web.Application) -> None:
        """End what runs: a feed would never end by itself."""
        self._stopping = True
        for task in self._running:
            task.cancel()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request under `/api/`."""
        if cors.is_preflight(request, self._app.settings.api.cors_origins):
            return cors.preflight()
        try:
            return await self._answer(request)
        except SyncError as exc:
            refusal = problem(exc)
            if not request.content.is_eof():
                refusal.force_close()  # The rest of a body that nobody reads.
            return refusal
        except ConnectionError:
            # Nobody is there to be answered; the status is for our own line about the request.
            return web.Response(status=CLIENT_GONE)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in (EVENTS, DESCRIPTION, *OPERATIONS):
            request[NOTED].route = request.path
        token = self._access.enter(request)
        request[NOTED].actor = token.actor
        if request.path == EVENTS:
            _check_method(request, ["GET"])
            return await self._feed(request, token)
        if request.path == DESCRIPTION:
            _check_method(request, ["GET"])
            return web.Response(body=_described(), content_type="application/json")
        if (withheld := request.path.removeprefix(f"{BASE}/")) in WITHHELD:
            hint = f"{WITHHELD[withheld]}; run it at the machine of the daemon"
            raise NotOffered("this is not offered over HTTP", operation=withheld, hint=hint)
        if request.path not in OPERATIONS:
            raise NoSuchPath("nothing is served there", hint=f"see {DESCRIPTION}")
        operation = find(OPERATIONS[request.path])
        scope = OFFERED[operation.name]
        _check_method(request, methods_of(scope))
        check_scope(token, scope)
        return await self._operate(request, operation, token)

    async def _operate(
        self, request: web.Request, operation: Operation, token: Token
    ) -> web.StreamResponse:
        arguments = await self._arguments(request, operation)
        objects = operation.start(self._app.acting_as(token.actor), arguments)
        lines = Lines(request) if LINES in request.headers.get("Accept", "") else None
        limit_s = _limit_s(operation, arguments, in_lines=lines is not None)
        try:
            room = self._app.settings.api.operations_max
            async with self._work(request, operation.name, "operations", room, limit_s):
                return await (lines.pour(objects) if lines else as_document(objects))
        except SyncError as exc:
            if lines is None or not lines.begun:
                raise
            return await lines.end(failure(exc))

    async def _arguments(self, request: web.Request, operation: Operation) -> Json:
        if request.method == "GET":
            return from_query(request.query, operation.args)
        http = self._app.settings.http
        return await from_body(request, bytes_max=http.body_bytes_max, seconds=http.request_s)

    async def _feed(self, request: web.Request, token: Token) -> web.StreamResponse:
        args = converted(from_query(request.query, FeedArgs), FeedArgs, "events")
        args = resumed(args, request.headers.get("Last-Event-ID"))
        feed = Feed(self._app, request, args, lambda: self._access.is_good(token))
        try:
            room = self._app.settings.api.feeds_max
            async with self._work(request, "events", "feeds", room, None):
                return await feed.run()
        except SyncError as exc:
            if not feed.begun:
                raise
            return await feed.end(exc.message)

    @asynccontextmanager
    async def _work(
        self,
        request: web.Request,
        name: str,
        kind: str,
        at_once_max: int,
        limit_s: float | None,
    ) -> AsyncIterator[None]:
        """Hold a place for something that takes a while; say what ended it as a SyncError."""
        if self._stopping:
            raise Stopping("the daemon is stopping", hint="ask again shortly")
        if self._at_work[kind] >= at_once_max:
            raise Busy(f"too many {kind} at one time", at_once_max=at_once_max)
        task = asyncio.current_task()
        assert task is not None
        self._at_work[kind] += 1
        self._running.add(task)
        watching = asyncio.create_task(_cancel_once_gone(request, task), name="client")
        try:
            async with asyncio.timeout(limit_s):
                yield
        except asyncio.CancelledError as exc:
            if not self._stopping:
                raise  # The client is gone.
            task.uncancel()
            raise Stopping("the daemon is stopping", hint="ask again shortly") from exc
        except TimeoutError as exc:
            hint = "what it wrote is in the log; ask for less, or run it at the machine"
            raise TookTooLong("it took too long", limit_s=limit_s, hint=hint) from exc
        except (SyncError, ConnectionError):
            raise
        except Exception as exc:
            log.error("operation crashed", operation=name, **crash(exc))
            raise Crashed("a mistake of ours", hint="see the daemon's own log lines") from exc
        finally:
            watching.cancel()
            self._running.discard(task)
            self._at_work[kind] -= 1


async def _cancel_once_gone(request: web.Request, task: asyncio.Task[Any]) -> None:
    """Cancel what nobody waits for any more.

    aiohttp can do so itself, but for the whole port, and a delivery has to be recorded also when
    its sender gave up.
    """
    # There is nothing to be woken by: a request does not tell that its connection ended.
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(GONE_EVERY_S)
    task.cancel()


def _limit_s(operation: Operation, arguments: Json, *, in_lines: bool) -> float | None:
    """Return how long an operation may take, None for as long as its client listens."""
    if endless := ENDLESS & {name for name, value in arguments.items() if value not in NO}:
        if not in_lines:
            hint = f"ask for lines with `Accept: {LINES}`, or follow {EVENTS}"
            raise BadArguments(
                "a document has an end, this has none", given=min(endless), hint=hint
            )
        return None
    return WRITE_S if operation.writes else READ_S


def _check_method(request: web.Request, allowed: list[str]) -> None:
    if request.method not in allowed:
        raise WrongMethod(request.method, allowed)


@cache
def _described() -> bytes:
    return encode(description())
