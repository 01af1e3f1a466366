"""Processes for work that would hold up the event loop: decoding what is larger than a megabyte.

Threads would not do: a decoder in C keeps the interpreter for as long as it runs.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson
import structlog

import daemon
from daemon.worker import END, ERROR, HEAD, PART, WORK
from events.errors import SyncError

WORKERS_MAX: Final = 2
WORK_S: Final = 120.0
TRIES: Final = 2
STREAM_BYTES: Final = 2**20

Work = Callable[[Sequence[bytes]], Iterable[bytes]]
"""A function of a module, which the process finds by its name: parts in, pieces out."""

log = structlog.get_logger(__name__)


class WorkFailed(SyncError):
    """A process of the pool did not end a piece of work, however often it was tried."""


class Pool:
    """At most `workers_max` processes; none is started before there is work.

    work_s  a process that takes longer is killed; the work is tried again in another
    """

    def __init__(self, *, workers_max: int = WORKERS_MAX, work_s: float = WORK_S) -> None:
        self._room = asyncio.Semaphore(workers_max)
        self._work_s = work_s
        self._idle: list[Process] = []

    async def run(
        self, work: Work, *parts: bytes, raises: Iterable[type[SyncError]] = ()
    ) -> list[bytes]:
        """Return the pieces that the work yields.

        raises  errors of the work's own that the caller decides on; they are raised here

        Raises WorkFailed. On cancellation the process is killed.
        """
        async with self._room:
            pieces, error = await self._tried(work, parts)
        if error is None:
            return pieces
        name, message, hint, facts = error
        for kind in raises:
            if kind.__name__ == name:
                raise kind(message, hint=hint, **facts)
        raise WorkFailed(
            "a process of the pool failed", work=work.__name__, reason=name or message, hint=hint
        )

    async def close(self) -> None:
        """End the processes."""
        while self._idle:
            await _end(self._idle.pop())

    async def _tried(self, work: Work, parts: Sequence[bytes]) -> tuple[list[bytes], Error | None]:
        for attempt in range(1, TRIES + 1):
            process = self._idle.pop() if self._idle else await _start()
            try:
                async with asyncio.timeout(self._work_s):
                    answer = await _ask(process, work, parts)
            except (TimeoutError, EOFError, ConnectionError) as exc:
                await _end(process)
                reason = "it took too long" if isinstance(exc, TimeoutError) else "it ended"
                log.warning(
                    "worker killed", work=work.__name__, pid=process.pid, attempt=attempt,
                    reason=reason, work_s=self._work_s,
                )  # fmt: skip
            except BaseException:
                # Half way through what nobody waits for any more.
                await _end(process)
                raise
            else:
                self._idle.append(process)
                return answer
        raise WorkFailed(
            "a process of the pool did not end its work",
            work=work.__name__,
            tries=TRIES,
            reason=reason,
            hint="nothing was recorded; the service's log has a line for each attempt",
        )


Error = tuple[str, str, str | None, dict[str, object]]


async def _start() -> Process:
    # Found beside this package, as the command itself makes sure of.
    home = Path(daemon.__file__).parent.parent
    flags = ("-I",) if sys.flags.isolated else ()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *flags, "-m", "daemon.worker"),
        stdin=PIPE,
        stdout=PIPE,
        cwd=home,
        limit=STREAM_BYTES,
        # Ctrl-C is for the command; it ends its processes itself.
        start_new_session=True,
    )


async def _ask(
    process: Process, work: Work, parts: Sequence[bytes]
) -> tuple[list[bytes], Error | None]:
    assert process.stdin is not None
    assert process.stdout is not None
    frames = [(WORK, f"{work.__module__}:{work.__name__}".encode())]
    frames += [(PART, part) for part in parts]
    for kind, body in (*frames, (END, b"")):
        process.stdin.write(HEAD.pack(kind, len(body)))
        for first in range(0, len(body), STREAM_BYTES):
            process.stdin.write(body[first : first + STREAM_BYTES])
            await process.stdin.drain()
    pieces: list[bytes] = []
    while True:
        kind, size = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
        body = await process.stdout.readexactly(size)
        if kind == END:
            return pieces, None
        if kind == ERROR:
            return [], orjson.loads(body)
        pieces.append(body)


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
