"""Where an operation runs: in the running daemon, or here, on the files, under the lock."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, Final

from config import credentials, load
from daemon.app import load_settings, open_app
from daemon.control import client, remote
from daemon.control.peer import actor
from daemon.operations.exits import failure
from daemon.operations.registry import Operation
from daemon.store.lock import DataFolderLocked
from events.errors import SyncError

Json = dict[str, Any]

TOKEN_VARIABLE: Final = "LABELTRAIL_TOKEN"  # noqa: S105
TOKEN_FILE: Final = "api.token"  # noqa: S105  # in the folder of the credential files
AHEAD_MAX: Final = 100  # objects that an operation may be ahead of the terminal


def objects_of(
    operation: Operation, arguments: Json, config: Path | None, url: str | None = None
) -> Generator[Json, None, None]:
    """Run an operation where it belongs; yield its objects. Closing the iterator cancels it."""
    if url is not None:
        yield from remote.call(url, _token(config), operation.name, arguments)
        return
    if operation.here:
        for found in _here(operation, arguments, config):
            if found["kind"] == "exit" and operation.reloads and not arguments.get("dry_run"):
                yield from in_daemon("reload", {}, config) or ()
            yield found
        return
    in_the_daemon = in_daemon(operation.name, arguments, config)
    yield from in_the_daemon or _here(operation, arguments, config)


class NoToken(SyncError):
    """A daemon elsewhere is to be asked, and there is no token for it."""

    exit_code = 2


def _token(config: Path | None) -> str:
    """Return the token of the environment, or of the credential file. Raises NoToken."""
    if given := os.environ.get(TOKEN_VARIABLE, "").strip():
        return given
    folder = credentials.folder_for(load.config_path(config))
    path = (folder or Path()) / TOKEN_FILE
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError) as exc:
        raise NoToken(
            "there is no token to ask the daemon with",
            variable=TOKEN_VARIABLE,
            file=str(path),
            hint="make one where the daemon runs: `labeltrail token make NAME`",
        ) from exc


def in_daemon(name: str, arguments: Json, config: Path | None) -> Iterator[Json] | None:
    """Call the running daemon, None if there is none."""
    # Members of the daemon's group may use its socket, and need not be able to read its secrets.
    settings = load_settings(config, secrets=False)
    return client.call(load.control_socket(settings), name, arguments)


def _here(operation: Operation, arguments: Json, config: Path | None) -> Iterator[Json]:
    with asyncio.Runner() as runner, closing(_Pump(runner)) as pump:
        yield from pump.objects(_opened(operation, arguments, config))


async def _opened(
    operation: Operation, arguments: Json, config: Path | None
) -> AsyncGenerator[Json, None]:
    try:
        async with (
            open_app(
                config,
                actor=actor(),
                log=not operation.here,
                state=operation.state,
                editing=operation.reloads,
            ) as app,
            aclosing(operation.start(app, arguments)) as objects,
        ):
            async for found in objects:
                yield found
    except DataFolderLocked as exc:
        raise DataFolderLocked(
            "the data folder is in use, and no daemon answers at its socket",
            **exc.facts,
            hint="another command is at work, or the daemon starts or stops: try again shortly",
        ) from exc


class _Pump:
    """Lets plain code walk through an asynchronous stream, which stays in one task."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._task: asyncio.Task[None] | None = None

    def objects(self, stream: AsyncGenerator[Json, None]) -> Iterator[Json]:
        queue: asyncio.Queue[Json | Exception] = asyncio.Queue(AHEAD_MAX)
        self._task = self._runner.get_loop().create_task(_pour(stream, queue), name="operation")
        while True:
            # Ctrl-C while waiting cancels the wait, and the runner raises KeyboardInterrupt.
            found = self._runner.run(queue.get())
            if isinstance(found, Exception):
                raise found
            yield found
            if found["kind"] in ("exit", "error"):
                return

    def close(self) -> None:
        """Cancel what still runs, and wait until it has cleaned up."""
        if self._task is not None:
            self._task.cancel()
            self._runner.run(asyncio.wait([self._task]))


async def _pour(stream: AsyncGenerator[Json, None], queue: asyncio.Queue[Json | Exception]) -> None:
    last: Json | Exception = {"kind": "exit", "code": 0}
    try:
        async with aclosing(stream) as objects:
            async for found in objects:
                if found["kind"] == "exit":
                    last = found
                    break
                await queue.put(found)
    except SyncError as exc:
        last = failure(exc)
    except Exception as exc:  # Our own mistake: raised again where somebody waits for us.
        last = exc
    await queue.put(last)
