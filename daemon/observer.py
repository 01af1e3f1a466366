"""Watch one server's jobs: hints become reads, quiet jobs settle, settled ones are merged.

A hint is cheap and may be wrong: a webhook, a poll, a sweep. Each job that has one gets a task of
its own, which reads it, waits until it is quiet, settles it, and ends. Correctness never depends on
a webhook: the poll finds what changed, and the sweep what moved no date.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final

import structlog

from daemon.clock import Clock
from daemon.handlers.aside import set_aside
from daemon.handlers.carry_out import PASSING
from daemon.handlers.dates import earlier, latest
from daemon.handlers.observe import JobWatch, Observed
from daemon.logs import trouble
from daemon.ports.cvat import Aside, CvatError, waited_s
from events.errors import SyncError
from events.server import SweepCompleted
from projections import jobs, merge, restored, runs
from projections.attribution import date_us
from projections.decision import Decision, Draft
from projections.tables import Tables

# A job that is saved without a pause is read after this long all the same.
HINT_WAIT_MAX_S: Final = 10.0
# `updated_date` is set before the commit: a long transaction shows up late with an early date.
POLL_OVERLAP_S: Final = 600
READS_AT_ONCE_MAX: Final = 4
# Reading a job takes at most this share of the time.
READ_SHARE_MAX: Final = 0.1
SETTLE_READS: Final = 3
# Conditions that end as soon as the job can be read.
RETURNING: Final = frozenset({"unreachable", "unreadable", "deleted", "thawed"})
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 60.0

log = structlog.get_logger()


class Observer:
    """Watches the jobs of one server until it is cancelled.

    projects  record only jobs of these projects; empty: every job that the credentials see.
              Jobs of runs are always watched
    """

    def __init__(
        self,
        watch: JobWatch,
        *,
        clock: Clock,
        projects: Collection[int] = (),
        debounce_s: float = 1.0,
        settle_s: float = 10.0,
        poll_s: float = 30.0,
        sweep_s: float = 3_600.0,
    ) -> None:
        self.watch = watch
        self.clock = clock
        self.projects = frozenset(projects)
        self.debounce_s = debounce_s
        self.settle_s = settle_s
        self.poll_s = poll_s
        self.sweep_s = sweep_s
        self._hints: dict[int, asyncio.Event] = {}
        self._reads = asyncio.Semaphore(READS_AT_ONCE_MAX)
        self._tasks: asyncio.TaskGroup | None = None
        self._waiting: list[int] = []
        self._asked = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        # What a read showed at which date: not every date moves for an annotation.
        self._looked: dict[int, str] = {}
        self._took_s: dict[int, float] = {}  # by the last read of a job

    def hint(self, job: int) -> None:
        """Say that a job may have changed; many hints for one job cost one read."""
        if job in self._hints:
            self._hints[job].set()
        elif self._tasks is None:
            self._waiting.append(job)
        else:
            self._hints[job] = asyncio.Event()
            self._idle.clear()
            self._tasks.create_task(self._attend(job), name=f"job {self.watch.server}/{job}")

    def look(self) -> None:
        """Ask the server now what changed, not only when the next poll is due."""
        self._asked.set()

    async def idle(self) -> None:
        """Wait until no job has anything left to do."""
        await self._idle.wait()

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._catch_up()
        async with asyncio.TaskGroup() as self._tasks:
            try:
                for job in self._waiting:
                    self.hint(job)
                self._tasks.create_task(self._poll(), name=f"poll {self.watch.server}")
                await self._sweep()
            finally:
                # Whoever hints from now on is too late.
                self._waiting, self._tasks = [], None

    # One job

    async def _attend(self, job: int) -> None:
        """Read a job until it is quiet and settled."""
        hinted = self._hints[job]
        try:
            pause_s = 0.0
            while True:
                await self._gather(hinted, pause_s)
                observed, took_s = await self._patiently(job)
                if observed.outcome not in ("observed", "busy"):
                    return
                self._looked[job] = observed.updated_date
                # One slow read may be the network's. It is paid for in two parts: what is saved
                # meanwhile need not wait for all of it.
                pause_s = (took_s + self._took_s.get(job, took_s)) / 2 / READ_SHARE_MAX
                self._took_s[job] = took_s
                quiet_s = max(self.settle_s, SETTLE_READS * took_s)
                if observed.outcome == "busy" or await self._hinted(hinted, quiet_s):
                    continue
                if await self._settled(job, quiet_s) and not hinted.is_set():
                    return
        finally:
            del self._hints[job]
            if not self._hints:
                self._idle.set()

    async def _gather(self, hinted: asyncio.Event, pause_s: float) -> None:
        """Let hints gather until none came for a moment, and the last read is paid for."""
        left_s = HINT_WAIT_MAX_S
        hinted.clear()
        while left_s > 0 and await self._hinted(hinted, self.debounce_s):
            hinted.clear()
            left_s -= self.debounce_s
        if pause_s > self.debounce_s:
            await self.clock.sleep(pause_s - self.debounce_s)
        hinted.clear()

    async def _hinted(self, hinted: asyncio.Event, seconds: float) -> bool:
        """Wait for a hint, at most so long; tell whether there was one."""
        hint = asyncio.ensure_future(hinted.wait())
        timer = asyncio.ensure_future(self.clock.sleep(seconds))
        try:
            await asyncio.wait({hint, timer}, return_when=asyncio.FIRST_COMPLETED)
            return hinted.is_set()
        finally:
            hint.cancel()
            timer.cancel()

    async def _patiently(self, job: int) -> tuple[Observed, float]:
        """Observe a job, and tell how long the server and we worked; wait out passing trouble."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                async with self._reads:
                    began_s, waited_before_s = self.clock.monotonic_s(), waited_s.get()
                    observed = await self.watch.observe(job)
                    took_s = self.clock.monotonic_s() - began_s
                    worked_s = took_s - (waited_s.get() - waited_before_s)
                    await self.watch.learn_authors(job)
                self._say_observed(job, observed, took_s)
                return observed, worked_s
            except PASSING as exc:
                self._say_trouble(exc)
                await self.clock.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _settled(self, job: int, quiet_s: float) -> bool:
        began_s = self.clock.monotonic_s()
        try:
            async with self._reads:
                settled = await self.watch.settle(job, quiet_s=quiet_s)
                merged = await self.watch.merge_by_policy(job) if settled else Decision()
            log.info(
                "settle and merge",
                server=self.watch.server,
                job=job,
                settled=settled,
                streams=sorted({draft.stream for draft in merged.drafts}) or None,
                facts=len(merged.drafts),
                ms=_ms(self.clock.monotonic_s() - began_s),
            )
            return settled
        except PASSING as exc:
            self._say_trouble(exc)
            return False

    def _say_trouble(self, exc: SyncError) -> None:
        what = "server_unreachable" if isinstance(exc, CvatError) else "log_not_written"
        log.warning(what, server=self.watch.server, **trouble(exc))

    def _say_observed(self, job: int, observed: Observed, took_s: float) -> None:
        is_news = observed.changed or observed.outcome != "observed"
        say = log.info if is_news else log.debug
        say(
            "observation",
            server=self.watch.server,
            job=job,
            outcome=observed.outcome,
            changed=observed.changed,
            updated_date=observed.updated_date or None,
            ms=_ms(took_s),
        )

    # All jobs

    async def _poll(self) -> None:
        """Ask from time to time what changed lately; where that fails, again soon."""
        cursor, backoff_s = "", BACKOFF_FIRST_S
        wait_s = self.poll_s
        while True:
            if await self._hinted(self._asked, wait_s):
                # A flood of deliveries is one look, not one each.
                await self.clock.sleep(self.debounce_s)
            self._asked.clear()
            try:
                cursor = await self.poll(cursor)
            except PASSING as exc:
                log.warning("poll_failed", server=self.watch.server, **trouble(exc))
                wait_s = min(backoff_s, self.poll_s)
                backoff_s *= 2
            else:
                wait_s, backoff_s = self.poll_s, BACKOFF_FIRST_S

    async def poll(self, cursor: str) -> str:
        """Ask once what changed since a date, "" for all; return the date to go on from.

        Raises CvatError.
        """
        seen = await self._jobs(earlier(cursor, POLL_OVERLAP_S))
        await self._hint_changed(seen)
        return latest([cursor, *seen.values()], self.clock.now_us())

    async def _sweep(self) -> None:
        """Compare all jobs with what was recorded, at start and from time to time."""
        while True:
            try:
                await self.sweep()
            except PASSING as exc:
                log.warning("sweep_failed", server=self.watch.server, **trouble(exc))
                await self.clock.sleep(min(self.poll_s, self.sweep_s))
            else:
                await self.clock.sleep(self.sweep_s)

    async def _catch_up(self) -> None:
        """Read every job before anything is merged, where the log was restored from a copy."""
        server, projections = self.watch.server, self.watch.journal.projections
        while await projections.ask(lambda tables: restored.unswept(tables, server)):
            try:
                seen = await self._jobs()
            except PASSING as exc:
                log.warning("sweep_failed", server=server, **trouble(exc))
                await self.clock.sleep(min(self.poll_s, self.sweep_s))
                continue
            known = await projections.ask(
                lambda tables: [row.job for row in tables.scan(jobs.JOBS, server)]
            )
            await self._read_all({*seen, *known})
            await self._record_sweep(SweepCompleted(jobs=len(seen), changed=len(seen)))
            log.info("all jobs read after the log was restored", server=server, jobs=len(seen))

    async def _read_all(self, wanted: Iterable[int]) -> None:
        left = iter(wanted)

        async def read() -> None:
            for job in left:
                await self._patiently(job)

        async with asyncio.TaskGroup() as readers:
            for _ in range(READS_AT_ONCE_MAX):
                readers.create_task(read(), name=f"catch up {self.watch.server}")

    async def sweep(self) -> None:
        """Compare all jobs with what was recorded once. Raises CvatError."""
        seen = await self._jobs()
        changed = await self._hint_changed(seen)
        unfinished = await self.watch.journal.projections.ask(self._unfinished)
        gone = await self.watch.journal.projections.ask(
            lambda tables: [
                row.job
                for row in tables.scan(jobs.JOBS, self.watch.server)
                if row.job not in seen and row.condition in ("", "unreadable")
            ]
        )
        # One that comes back may do so under the date that it had.
        returned = await self.watch.journal.projections.ask(
            lambda tables: [
                row.job
                for row in tables.scan(jobs.JOBS, self.watch.server)
                if row.job in seen and row.condition in RETURNING
            ]
        )
        for job in {*unfinished, *gone, *returned}:
            self.hint(job)
        await self._record_sweep(
            SweepCompleted(jobs=len(seen), changed=len(changed), gone=len(gone))
        )

    async def _jobs(self, since: str | None = None) -> dict[int, str]:
        """Return the `updated_date` of jobs in scope, all or those since a date. Raises CvatError.

        A row that cannot be read holds up no other: it is recorded, and its job asked by itself.
        """
        aside: Aside = []
        rows = [
            (row["id"], row["updated_date"], row.get("project_id"))
            async for row in self.watch.cvat.jobs(since=since, aside=aside)
        ]
        hidden = await self._hidden(aside, {number for number, _, _ in rows}, whole=since is None)
        seen = {number: date for number, date, project in rows if self._in_scope(project)}
        return {**hidden, **seen}

    async def _hidden(self, aside: Aside, sound: Collection[int], *, whole: bool) -> dict[int, str]:
        """Record rows that cannot be read; return the dates of those of jobs in scope.

        One without a date is looked at when it is news, and by each sweep.
        """
        journal, server = self.watch.journal, self.watch.server
        news = await set_aside(journal, server, "jobs", aside, sound, whole=whole)
        # Not even the project of such a row is believed.
        ours = await journal.projections.ask(
            lambda tables: {
                row.id: row.date
                for row in aside
                if row.id is not None
                and (not self.projects or tables.get(jobs.JOBS, server, row.id))
            }
        )
        for job in ours.keys() & set(news):
            self.hint(job)
        return {job: date for job, date in ours.items() if date}

    async def _record_sweep(self, fact: SweepCompleted) -> None:
        stream = f"server/{self.watch.server}"
        await self.watch.journal.carry_out(lambda _: Decision([Draft(stream, fact)]))

    def _in_scope(self, project: int | None) -> bool:
        return not self.projects or project in self.projects

    async def _hint_changed(self, seen: dict[int, str]) -> list[int]:
        new = {
            job: date
            for job, date in seen.items()
            if date_us(self._looked.get(job, "")) != date_us(date)
        }

        def changed(tables: Tables) -> list[int]:
            return list(_changed(tables, self.watch.server, new.items()))

        found = await self.watch.journal.projections.ask(changed)
        for job in found:
            self.hint(job)
        return found

    def _unfinished(self, tables: Tables) -> list[int]:
        """Return jobs that were left between a read and its merge."""
        server = self.watch.server
        unsettled = [
            row.job
            for row in tables.scan(jobs.JOBS, server)
            if not row.condition and not merge.is_settled(row)
        ]
        unmerged = [
            row.job
            for row in tables.scan(runs.RUN_JOBS, server)
            if merge.merges_by_itself(tables, server, row.job)
            and merge.decide(tables, server, row.job).drafts
        ]
        return [*unsettled, *unmerged]


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)


def _changed(tables: Tables, server: str, seen: Iterable[tuple[int, str]]) -> Iterable[int]:
    for job, updated_date in seen:
        row = tables.get(jobs.JOBS, server, job)
        # Not only a later one: servers of several machines date saves by several clocks.
        is_behind = row is None or date_us(row.observed_date) != date_us(updated_date)
        if is_behind and not (row and row.condition == "frozen"):
            yield job
