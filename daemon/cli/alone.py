"""An operation without the daemon: in this process, on the files, under the lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, Final

from daemon.app import open_app
from daemon.control.peer import actor
from daemon.operations.exits import failure
from daemon.operations.registry import Operation
from daemon.store.lock import DataFolderLocked
from events.errors import SyncError

Json = dict[str, Any]

AHEAD_MAX: Final = 100  # objects that an operation may be ahead of the terminal


def objects_of(operation: Operation, arguments: Json, config: Path | None) -> Iterator[Json]:
    """Run an operation; yield its objects. Closing the iterator cancels it."""
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
