"""Processes for work that would hold up the event loop: decoding what is large, long readings.

Threads would not do: a decoder in C keeps the interpreter for as long as it runs, and Python in
one thread takes turns of milliseconds with Python in another.
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
LONG_WORKERS_MAX: Final = 2
SILENT_S: Final = 120.0
TRIES: Final = 2
INLINE_BYTES_MAX: Final = 256 * 1024
"""Less than this is decoded where it is: passing it on would cost more."""
HOME: Final = Path(daemon.__file__).parent.parent
"""Where a process finds this package, as the command itself makes sure of."""
STREAM_BYTES: Final = 2**20
KEPT_BYTES_MAX: Final = 256 * 2**20
"""A process that grew larger is not kept for the next work."""

Work = Callable[[Sequence[bytes]], Iterable[bytes | None]]
"""A function of a module, which the process finds by its name: parts in, pieces out.

None is no piece: it says that the work still goes on.
"""

log = structlog.get_logger(__name__)


class WorkFailed(SyncError):
    """A process of the pool did not end a piece of work, however often it was tried."""


class Pool:
    """Processes, none of which is started before there is work.

    workers_max       how many do short work at one time
    long_workers_max  how many do long work beside them: it never keeps short work waiting
    silent_s          a process that gives no piece and no sign of life for so long is killed; the
                      work is tried again in another
    """

    def __init__(
        self,
        *,
        workers_max: int = WORKERS_MAX,
        long_workers_max: int = LONG_WORKERS_MAX,
        silent_s: float = SILENT_S,
    ) -> None:
        self._room = asyncio.Semaphore(workers_max)
        self._long_room = asyncio.Semaphore(long_workers_max)
        self._silent_s = silent_s
        self._idle: list[Process] = []

    async def run(
        self,
        work: Work,
        *parts: bytes,
        raises: Iterable[type[SyncError]] = (),
        told: Callable[[bytes], None] | None = None,
        long: bool = False,
    ) -> list[bytes]:
        """Return the pieces that the work yields.

        raises  errors of the work's own that the caller decides on; they are raised here
        told    is given each piece as it comes, on the loop; none is returned then. A second
                attempt begins with the first piece again
        long    it may take minutes; it must say often that it still goes on

        Raises WorkFailed. On cancellation the process is killed.
        """
        async with self._long_room if long else self._room:
            pieces, error = await self._tried(work, parts, told)
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

    async def _tried(
        self, work: Work, parts: Sequence[bytes], told: Callable[[bytes], None] | None
    ) -> tuple[list[bytes], Error | None]:
        for attempt in range(1, TRIES + 1):
            process = self._idle.pop() if self._idle else await _start()
            pieces: list[bytes] = []
            try:
                error, peak_bytes = await self._ask(process, work, parts, told or pieces.append)
            except (TimeoutError, EOFError, ConnectionError) as exc:
                await _end(process)
                reason = "it took too long" if isinstance(exc, TimeoutError) else "it ended"
                log.warning(
                    "worker killed", work=work.__name__, pid=process.pid, attempt=attempt,
                    reason=reason, silent_s=self._silent_s,
                )  # fmt: skip
            except BaseException:
                # Half way through what nobody waits for any more.
                await _end(process)
                raise
            else:
                if peak_bytes > KEPT_BYTES_MAX:
                    # The interpreter seldom gives memory back.
                    await _end(process)
                else:
                    self._idle.append(process)
                return pieces, error
        raise WorkFailed(
            "a process of the pool did not end its work",
            work=work.__name__,
            tries=TRIES,
            reason=reason,
            hint="nothing was recorded; the service's log has a line for each attempt",
        )

    async def _ask(
        self, process: Process, work: Work, parts: Sequence[bytes], told: Callable[[bytes], None]
    ) -> tuple[Error | None, int]:
        """Return the work's error, None for none, and the bytes that the process took at most."""
        assert process.stdin is not None
        assert process.stdout is not None
        error: Error | None = None
        async with asyncio.timeout(self._silent_s):
            await _send(process.stdin, work, parts)
        while True:
            async with asyncio.timeout(self._silent_s):
                kind, body = await _receive(process.stdout)
            if kind == PART:
                told(body)
            elif kind == ERROR:
                error = orjson.loads(body)
            elif kind == END:
                return error, int(body)


Error = tuple[str, str, str | None, dict[str, object]]


async def _start() -> Process:
    return await asyncio.create_subprocess_exec(
        *python("daemon.worker"),
        stdin=PIPE,
        stdout=PIPE,
        cwd=HOME,
        limit=STREAM_BYTES,
        # Ctrl-C is for the command; it ends its processes itself.
        start_new_session=True,
    )


def python(module: str) -> list[str]:
    """Return the command that runs a module of ours in a process of its own, from HOME."""
    flags = ["-I"] if sys.flags.isolated else []
    return [sys.executable, *flags, "-m", module]


async def _send(stdin: asyncio.StreamWriter, work: Work, parts: Sequence[bytes]) -> None:
    frames = [(WORK, f"{work.__module__}:{work.__name__}".encode())]
    frames += [(PART, part) for part in parts]
    for kind, body in (*frames, (END, b"")):
        stdin.write(HEAD.pack(kind, len(body)))
        for first in range(0, len(body), STREAM_BYTES):
            stdin.write(body[first : first + STREAM_BYTES])
            await stdin.drain()


async def _receive(stdout: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind, size = HEAD.unpack(await stdout.readexactly(HEAD.size))
    return kind, await stdout.readexactly(size)


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
