"""The daemon's end of the socket: who calls is known by the kernel's word."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiohttp import web

from daemon.control.peer import actor, peer_uid
from daemon.control.wire import ARGUMENTS_BYTES_MAX, PATH, check_socket_path
from daemon.operations.exits import USAGE, failure
from daemon.operations.registry import BadArguments, exit_with, find
from daemon.spelling import encode
from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.app import App

SOCKET_MODE: Final = 0o660
STOP_S: Final = 5.0
# The loop itself decodes no larger arguments.
INLINE_BYTES_MAX: Final = 256 * 1024

log = structlog.get_logger(__name__)


class Stopping(SyncError):
    """The daemon stops, and the operation with it."""


class NotTheDaemons(SyncError):
    """An operation was asked for that runs with the rights of whoever asks."""

    exit_code = USAGE


@asynccontextmanager
async def listening(app: App, path: Path) -> AsyncIterator[None]:
    """Serve operations on a unix socket. The caller owns the lock of the data folder."""
    control = _Control(app)
    site = web.Application(client_max_size=ARGUMENTS_BYTES_MAX)
    site.router.add_post(PATH + "{name}", control.run)
    # A client that goes away cancels its operation; that is how `log -f` ends.
    runner = web.AppRunner(
        site, handler_cancellation=True, access_log=None, shutdown_timeout=STOP_S
    )
    await runner.setup()
    bound = _bind(path)
    try:
        await web.SockSite(runner, bound).start()
        yield
    finally:
        control.stop()
        await runner.cleanup()
        _remove(path)


class _Control:
    def __init__(self, app: App) -> None:
        self._app = app
        self._running: set[asyncio.Task[Any]] = set()
        self._stopping = False

    def stop(self) -> None:
        """Cancel what runs: some operations would never end by themselves."""
        self._stopping = True
        for task in self._running:
            task.cancel()

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Answer POST /operations/<name>."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        arguments = await request.read()
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            last = await self._write_all(request, arguments, response)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            last = failure(Stopping("the daemon is stopping", hint="start it again, then repeat"))
        finally:
            self._running.discard(task)
        await response.write(encode(last) + b"\n")
        await response.write_eof()
        return response

    async def _write_all(
        self, request: web.Request, arguments: bytes, response: web.StreamResponse
    ) -> dict[str, Any]:
        """Write the operation's objects; return the one to end with."""
        name = request.match_info["name"]
        began_s = self._app.clock.monotonic_s()
        last, known = exit_with(0), None
        try:
            operation = find(name)
            known = operation.name
            if operation.here:
                raise NotTheDaemons(
                    "this operation runs with the rights of whoever asks, never with the daemon's",
                    operation=name,
                    hint="run the command itself",
                )
            app = self._app.acting_as(actor(_uid_of(request)))
            given = await _object(arguments)
            async with aclosing(operation.start(app, given)) as objects:
                async for found in objects:
                    if found["kind"] == "exit":
                        last = found
                        break
                    await response.write(encode(found) + b"\n")
        except SyncError as exc:
            last = failure(exc)
        log.info(
            "operation",
            operation=known,
            # A number: the log lines of the service name nobody.
            uid=_uid_of(request),
            exit_code=last.get("code", last.get("exit_code")),
            error=last.get("error"),
            ms=round((self._app.clock.monotonic_s() - began_s) * 1_000, 1),
        )
        return last


def _bind(path: Path) -> socket.socket:
    """Bind the socket; whoever owns the lock may remove what a killed daemon left behind."""
    check_socket_path(path)
    _remove(path)
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        # Nobody can connect before `listen`, so there is no moment with other rights.
        path.chmod(SOCKET_MODE)
    except BaseException:
        bound.close()
        raise
    return bound


def _remove(path: Path) -> None:
    if path.is_socket():
        path.unlink()


async def _object(arguments: bytes) -> dict[str, Any]:
    try:
        if len(arguments) > INLINE_BYTES_MAX:
            return await asyncio.to_thread(_decode, arguments)
        return _decode(arguments or b"{}")
    except msgspec.MsgspecError as exc:
        raise BadArguments("the arguments are no JSON object", reason=str(exc)) from exc


_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def _uid_of(request: web.Request) -> int:
    assert request.transport is not None
    return peer_uid(request.transport.get_extra_info("socket"))
