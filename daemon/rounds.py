"""What is looked at from time to time beside the jobs: missed deliveries, tasks, issues."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from daemon.clock import Clock
from daemon.handlers.backfill import Backfill
from daemon.handlers.carry_out import PASSING
from daemon.handlers.issues import IssueWatch
from daemon.handlers.tasks import TaskWatch
from daemon.logs import trouble
from events.server import DeliveryReceived

# Jobs are found first: tasks and issues of others are none of ours.
FIRST_S: Final = 5.0
BACKFILL_S: Final = 300.0
TASKS_S: Final = 60.0
ISSUES_S: Final = 300.0
# Jobs whose issues a delivery spoke of; when more wait, the next round sees them all.
HINTS_MAX: Final = 1_000

log = structlog.get_logger(__name__)


class Rounds:
    """Goes its rounds on one server until it is cancelled."""

    def __init__(
        self, backfill: Backfill, tasks: TaskWatch, issues: IssueWatch, *, clock: Clock
    ) -> None:
        self.backfill = backfill
        self.tasks = tasks
        self.issues = issues
        self.clock = clock
        self._hinted: asyncio.Queue[int] = asyncio.Queue(HINTS_MAX)

    def heard(self, delivery: DeliveryReceived) -> None:
        """Look at the issues that a delivery speaks of, soon."""
        if delivery.resource in ("issue", "comment") and delivery.job is not None:
            try:
                self._hinted.put_nowait(delivery.job)
            except asyncio.QueueFull:
                log.info("issues wait for their round", server=self.issues.server)

    async def run(self) -> None:
        """Go rounds until cancelled; trouble that passes puts a round off, no more."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(BACKFILL_S, self.fill))
            group.create_task(self._every(TASKS_S, self.tasks.look, first_s=FIRST_S))
            group.create_task(self._every(ISSUES_S, self.issues.look, first_s=FIRST_S))
            group.create_task(self._follow_hints())

    async def fill(self) -> None:
        """Record what the server sent while we could not hear it."""
        async for filled in self.backfill.fill():
            if filled.new or not filled.complete:
                log.info(
                    "deliveries filled in",
                    server=self.backfill.server,
                    webhook=filled.webhook,
                    new=len(filled.new),
                    complete=filled.complete,
                )

    async def _every(
        self, seconds: float, work: Callable[[], Awaitable[None]], *, first_s: float = 0.0
    ) -> None:
        if first_s:
            await self.clock.sleep(first_s)
        while True:
            await self._patiently(work)
            await self.clock.sleep(seconds)

    async def _follow_hints(self) -> None:
        while True:
            job = await self._hinted.get()
            await self._patiently(lambda job=job: self.issues.look_at(job))  # type: ignore[misc]

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except PASSING as exc:
            log.warning("round_failed", server=self.issues.server, **trouble(exc))
