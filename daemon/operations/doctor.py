"""`doctor`: look both ways, and say what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from daemon import wiring
from daemon.checks import hooks
from daemon.checks.datasets import check_dataset
from daemon.checks.finding import Finding, ok, problem, warning
from daemon.checks.here import check_here
from daemon.checks.server import check_server
from daemon.operations.exits import ERROR, NOT_REACHABLE
from daemon.operations.registry import Json, NoArgs, exit_with, operation
from daemon.ports.cvat import CvatError
from events.errors import SyncError
from projections.datasets import in_order
from projections.jobs import JOBS, SERVERS
from projections.runs import RUNS
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App


@operation("doctor", args=NoArgs)
async def doctor(app: App, args: NoArgs) -> AsyncGenerator[Json, None]:
    """Yield a finding for each thing looked at; ends with 1 for a problem, 5 for no server."""
    found: list[Finding] = []
    async for finding in _all(app):
        found.append(finding)
        yield {"kind": "finding", **msgspec.to_builtins(finding)}
    if any(not finding.reached for finding in found):
        yield exit_with(NOT_REACHABLE)
    elif any(finding.level == "problem" for finding in found):
        yield exit_with(ERROR)


async def _all(app: App) -> AsyncIterator[Finding]:
    last_us = await asyncio.to_thread(_last_recorded_us, app)
    now_us = app.clock.now_us()
    for finding in await asyncio.to_thread(
        lambda: list(check_here(app.folder, last_us=last_us, now_us=now_us))
    ):
        yield finding
    for name in sorted(app.settings.servers):
        async for finding in _server(app, name):
            yield finding
    for name, declared in sorted(app.settings.datasets.items()):
        document = await app.projections.ask(lambda tables, name=name: _a_sample(tables, name))  # type: ignore[misc]
        yield await asyncio.to_thread(check_dataset, name, declared, document)


def _last_recorded_us(app: App) -> int | None:
    with closing(app.store.reader()) as reader:
        head = reader.head()
        last = next(reader.read(after=head - 1, upto=head), None) if head else None
        return last.recorded_at if last else None


async def _server(app: App, name: str) -> AsyncIterator[Finding]:
    server = app.server(name)
    try:
        cvat = await app.cvat(name)
    except SyncError as exc:
        yield problem("settings", name, exc.message, exc.hint or "mend the settings")
        return
    frozen, has_runs, watched = await app.projections.ask(lambda tables: _known(tables, name))
    reached = True
    async for finding in check_server(name, server, cvat, app.clock, has_runs=has_runs):
        reached = reached and finding.level != "problem"
        yield finding
    if frozen:
        yield problem("frozen", name, frozen, f"`labeltrail server thaw {name}`, see its help")
    if not reached:
        return
    try:
        async for finding in _way_back(app, name, watched):
            yield finding
    except CvatError as exc:
        yield warning("hook", name, f"was not looked at: {exc.message}", "ask again later")


async def _way_back(app: App, name: str, watched: set[int]) -> AsyncIterator[Finding]:
    backfill = await wiring.backfill(app, name)
    cvat, target_url = backfill.cvat, backfill.target_url
    ours = await backfill.hooks()
    if ours:
        yield hooks.target(name, target_url)
        async for finding in hooks.check_hooks(cvat, ours, is_listening=app.address is not None):
            yield finding
    else:
        yield ok("hook", name, "no webhook sends to us: saves are found by polling")
    hooked = await _hooked_projects(backfill)
    poll_s = app.server(name).poll_s
    covered = hooks.check_coverage(cvat, hooked=hooked, watched=watched, poll_s=poll_s)
    async for finding in covered:
        yield finding


async def _hooked_projects(backfill: Any) -> set[int]:
    linked: set[int] = await backfill.journal.projections.ask(
        lambda tables: {
            run.project
            for run in tables.scan(RUNS)
            if run.webhook is not None and run.project is not None
        }
    )
    try:
        rows = [row async for row in backfill.cvat.webhooks()]
    except CvatError:
        return linked
    projects = [row.get("project_id") or _id(row.get("project")) for row in rows
                if row.get("target_url") == backfill.target_url]  # fmt: skip
    return linked | {project for project in projects if project is not None}


def _id(found: Any) -> int | None:
    return found.get("id") if isinstance(found, dict) else found


def _known(tables: Tables, name: str) -> tuple[str, bool, set[int]]:
    """Return why the server is frozen, whether runs are open there, the projects recorded."""
    row = tables.get(SERVERS, name)
    runs = any(
        run.request.server == name and not run.cleaned_up and not run.deleted
        for run in tables.scan(RUNS)
    )
    jobs = tables.scan(JOBS, name)
    projects = {job.project for job in jobs if job.project is not None and not job.condition}
    return row.frozen if row else "", runs, projects


def _a_sample(tables: Tables, name: str) -> Any:
    sample = next(in_order(tables, name), None)
    return sample.document if sample else None
