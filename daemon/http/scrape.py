"""`/metrics`: brings the gauges up to now, and shows everything."""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from daemon.http.api.access import Access
from daemon.http.api.problems import problem
from daemon.http.requests import peer_of
from daemon.metrics import CONTENT_TYPE, Metrics
from daemon.store import verified
from events.errors import SyncError
from projections import jobs, merge, runs
from projections.datasets import SCAN_CONFLICTS, SCANS
from projections.pending import waiting
from projections.tables import Tables
from projections.unreadable import UNREADABLE

if TYPE_CHECKING:
    from daemon.app import App

PATH: Final = "/metrics"
# The tables are read whole; more often than that would hold up those who decide on them.
TABLES_EVERY_S: Final = 5.0
ANSWER_S: Final = 10.0
RUNS_MAX: Final = 200  # the most lagging ones
# Whether a settled job is merged is known by deciding it; so many are decided at one time.
DECIDED_MAX: Final = 20
CONDITIONS: Final = ("fine", "unsettled", "unreachable", "unreadable")
LISTS: Final = ("jobs", "tasks", "deliveries")
WAITING: Final = ("conflict", "rejected", "quarantine", "held", "scan conflict")
US: Final = 1_000_000

Job = tuple[str, int]  # server, id


@dataclass
class Found:
    """What the tables told. `lags`: (dataset, run) → position of its oldest open observation."""

    jobs: Counter[tuple[str, str]] = field(default_factory=Counter)
    pending: Counter[tuple[str, str]] = field(default_factory=Counter)
    unreadable: Counter[tuple[str, str]] = field(default_factory=Counter)
    lags: dict[tuple[str, str], int] = field(default_factory=dict)
    merged: dict[Job, int] = field(default_factory=dict)


class Scrape:
    """The handler."""

    def __init__(self, app: App, access: Access, metrics: Metrics) -> None:
        self._app = app
        self._access = access
        self._metrics = metrics
        self._looking = asyncio.Lock()
        self._next_look_s = -math.inf
        self._found = Found()
        self._recorded: dict[int, int] = {}  # position → µs UTC

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a monitor with a read token, or from this machine where the settings say so."""
        try:
            if not (self._app.settings.api.metrics_on_loopback and _is_here(peer_of(request))):
                self._access.enter(request)
            async with asyncio.timeout(ANSWER_S), self._looking:
                await self.bring_up()
        except TimeoutError:
            return web.Response(status=503, text="no answer in time\n")
        except SyncError as exc:
            return problem(exc)
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def bring_up(self) -> None:
        """Set every gauge."""
        now_us = self._app.clock.now_us()
        await self._set_log(now_us)
        if self._app.clock.monotonic_s() >= self._next_look_s:
            known = dict(self._found.merged)
            self._found = await self._app.projections.ask(
                lambda tables: look(tables, known), stale=True
            )
            self._next_look_s = self._app.clock.monotonic_s() + TABLES_EVERY_S
            self._set_tables()
        await self._set_lags(now_us)

    async def _set_log(self, now_us: int) -> None:
        gauges, head = self._metrics, await self._app.store.head()
        store = self._app.store.condition()
        gauges.position.set(head)
        gauges.queue.set(store.waiting)
        gauges.queue_bytes.set(store.waiting_bytes)
        gauges.checkpoint.set(store.signed)
        signed_us = store.signed_recorded_at
        gauges.checkpoint_age_s.set((now_us - signed_us) / US if signed_us else math.nan)
        reached = min(self._app.projections.position, head)
        gauges.projected.set(head - reached)
        oldest_us = await self._recorded_at(reached + 1) if reached < head else now_us
        gauges.projected_s.set(max(0, now_us - oldest_us) / US)
        last = await asyncio.to_thread(verified.last, self._app.folder)
        gauges.verify_ok.set(last.ok if last else math.nan)
        gauges.verify_age_s.set((now_us - last.at) / US if last else math.nan)

    def _set_tables(self) -> None:
        for gauge, counted in (
            (self._metrics.jobs, self._found.jobs),
            (self._metrics.pending, self._found.pending),
            (self._metrics.unreadable_rows, self._found.unreadable),
        ):
            gauge.clear()
            for labels, count in counted.items():
                gauge.labels(*labels).set(count)

    async def _set_lags(self, now_us: int) -> None:
        gauge = self._metrics.sync_lag_s
        gauge.clear()
        lags = self._found.lags
        open_first = sorted(lags, key=lambda run: lags[run] or math.inf)
        for run in open_first[:RUNS_MAX]:
            since_us = await self._recorded_at(lags[run]) if lags[run] else now_us
            gauge.labels(*run).set(max(0, now_us - since_us) / US)
        self._recorded = {
            position: time_us
            for position, time_us in self._recorded.items()
            if position in set(lags.values())
        }

    async def _recorded_at(self, position: int) -> int:
        if position not in self._recorded:
            self._recorded[position] = await asyncio.to_thread(self._read_time, position)
        return self._recorded[position]

    def _read_time(self, position: int) -> int:
        with closing(self._app.store.reader()) as reader:
            return next(reader.read(after=position - 1, upto=position)).recorded_at


def look(tables: Tables, merged: dict[Job, int]) -> Found:
    """Count jobs and what waits, and find what lags.

    merged  job → position of the observation up to which it is known to be merged
    """
    found = Found(merged=merged)
    for server in tables.scan(jobs.SERVERS):
        found.jobs.update(dict.fromkeys(((server.server, name) for name in CONDITIONS), 0))
        found.unreadable.update({(server.server, name): 0 for name in LISTS})
    for job in tables.scan(jobs.JOBS):
        settled = "fine" if merge.is_settled(job) else "unsettled"
        found.jobs[job.server, job.condition or settled] += 1
    found.unreadable.update((row.server, row.list) for row in tables.scan(UNREADABLE))
    for scan in tables.scan(SCANS):
        found.pending.update(dict.fromkeys(((scan.dataset, what) for what in WAITING), 0))
    for row in waiting(tables):
        found.pending[row.dataset, row.what] += 1
    for conflict in tables.scan(SCAN_CONFLICTS):
        found.pending[conflict.dataset, "scan conflict"] += 1
    _find_lags(tables, found)
    return found


def _find_lags(tables: Tables, found: Found) -> None:
    open_runs = {
        (run.dataset, run.key): run
        for run in tables.scan(runs.RUNS)
        if run.opened and not (run.cleaned_up or run.deleted)
    }
    found.lags = {(run.dataset, run.title): 0 for run in open_runs.values()}
    decided = 0
    for run_job in tables.scan(runs.RUN_JOBS):
        run = open_runs.get((run_job.dataset, run_job.key))
        job = tables.get(jobs.JOBS, run_job.server, run_job.job)
        if run is None or job is None or not job.observed:
            continue
        if merge.is_settled(job) and found.merged.get((job.server, job.job)) != job.observed:
            decided += 1
            if decided > DECIDED_MAX:
                continue
        since = _open_since(tables, job, found.merged)
        name = run.dataset, run.title
        found.lags[name] = min(filter(None, (found.lags[name], since)), default=0)


def _open_since(tables: Tables, job: jobs.JobRow, merged: dict[Job, int]) -> int:
    """Return the position of the oldest observation that is not settled or merged, 0 for none."""
    key = job.server, job.job
    if not merge.is_settled(job):
        return _first_after(tables, job, job.settled)
    if merged.get(key) == job.observed:
        return 0
    if merge.decide(tables, *key).drafts:
        return _first_after(tables, job, merged.get(key, job.observed - 1))
    merged[key] = job.observed
    return 0


def _first_after(tables: Tables, job: jobs.JobRow, position: int) -> int:
    rows = tables.scan(jobs.AUTHORS, job.server, job.job, start=(position + 1,))
    return next((row.position for row in rows), 0)


def _is_here(address: str | None) -> bool:
    return address is None or ipaddress.ip_address(address.partition("%")[0]).is_loopback
