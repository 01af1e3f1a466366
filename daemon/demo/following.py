"""Wait for what the log says, through `labeltrail log -f`."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from datetime import datetime
from typing import Any, Final, NamedTuple

from daemon.demo.shell import Shell, end
from events.errors import SyncError

WAIT_S: Final = 30.0

Json = dict[str, Any]


class Seen(NamedTuple):
    """A job at a date of CVAT's."""

    job: int
    date: str


class NotSeen(SyncError):
    """The log does not say in time what it should."""


class Following:
    """Reads events of one type as they are recorded."""

    def __init__(self, shell: Shell, type: str) -> None:
        self._shell = shell
        self._type = type
        self._process: Process | None = None
        self._seen: dict[int, datetime] = {}

    async def __aenter__(self) -> Following:
        command = ("log", "--since", "@0", "--follow", "--type", self._type, "--json")
        self._process = await self._shell.follow(*command)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        await end(self._process)

    async def until(self, wanted: Seen) -> None:
        """Wait for an event about a job at a date or later. Raises NotSeen."""
        try:
            async with asyncio.timeout(WAIT_S):
                while self._seen.get(wanted.job, _NEVER) < datetime.fromisoformat(wanted.date):
                    await self._take()
        except TimeoutError as exc:
            raise NotSeen(
                "the log does not show a change in time", type=self._type, **wanted._asdict()
            ) from exc

    async def _take(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            # A signal to a process that has just ended would take its exit code from asyncio.
            await self._process.wait()
            raise NotSeen("`labeltrail log --follow` ended", type=self._type)
        found = json.loads(line)
        job = int(found["stream"].rpartition("/")[2])
        self._seen[job] = datetime.fromisoformat(found["fact"]["updated_date"])


_NEVER: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")
