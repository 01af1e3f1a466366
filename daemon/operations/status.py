"""What there is, and how it stands."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import closing
from typing import TYPE_CHECKING, Final

import msgspec

from daemon.operations.registry import Json, operation
from daemon.operations.times import iso
from projections import sources
from projections.datasets import SCANS
from projections.jobs import JOBS, SERVERS, JobRow
from projections.merge import is_settled
from projections.runs import RUNS, WAITING
from projections.tables import Tables
from projections.unreadable import unreadable_rows

if TYPE_CHECKING:
    from daemon.app import App

WATCH_S: Final = 2.0
# Of rows that cannot be read so many are named; all are counted.
ROWS_NAMED_MAX: Final = 5
# Gaps are told of for so long.
GAPS_US: Final = 7 * 86_400 * 1_000_000


class StatusArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`watch`: look again and again; each look begins with an object of kind `look`."""

    watch: bool = False


@operation("status", args=StatusArgs)
async def status(app: App, args: StatusArgs) -> AsyncGenerator[Json, None]:
    """Yield one object for the log, each server, source and dataset, and what waits for a person.

    A source is a project of a server, or all of its tasks outside projects.
    """
    while True:
        if args.watch:
            yield {"kind": "look"}
        async for found in _look(app):
            yield found
        if not args.watch:
            return
        await app.clock.sleep(WATCH_S)


async def _look(app: App) -> AsyncGenerator[Json, None]:
    head = await app.store.head()
    yield {
        "kind": "log",
        "folder": str(app.folder),
        "daemon": app.address,
        "position": head,
        "recorded_at": await _recorded_at(app, head),
    }
    for found in await app.projections.ask(_servers):
        yield found | {"declared": found["name"] in app.settings.servers}
    since_us = app.clock.now_us() - GAPS_US
    for source in await app.projections.ask(lambda tables: sources.sources(tables, since_us)):
        yield _source(app, source)
    for found in await app.projections.ask(_datasets):
        yield found | {"declared": found["name"] in app.settings.datasets}
    yield await app.projections.ask(_work)


async def _recorded_at(app: App, head: int) -> str | None:
    def read() -> str | None:
        with closing(app.store.reader()) as reader:
            last = next(reader.read(after=head - 1, upto=head), None) if head else None
            return iso(last.recorded_at) if last else None

    return await asyncio.to_thread(read)


def _source(app: App, source: sources.Source) -> Json:
    declared = app.settings.servers.get(source.server)
    return {
        "kind": "source",
        "server": source.server,
        "project": source.project,
        "jobs": source.jobs,
        "hooks": source.hooks,
        "poll_s": declared.poll_s if declared else None,
        "delivered_at": iso(source.delivered_us) if source.delivered_us else None,
        "changed_at": iso(source.changed_us) if source.changed_us else None,
        "gaps": source.gaps,
        "gap_since": iso(source.gap[0]) if source.gap else None,
        "gap_until": iso(source.gap[1]) if source.gap else None,
    }


def _servers(tables: Tables) -> list[Json]:
    servers = {row.server: row for row in tables.scan(SERVERS)}
    jobs = {name: Counter[str]() for name in servers}
    for job in tables.scan(JOBS):
        jobs.setdefault(job.server, Counter())[_condition(job)] += 1
    return [
        {
            "kind": "server",
            "name": name,
            "jobs": counted.total(),
            "conditions": dict(counted),
            "deliveries": servers[name].deliveries if name in servers else 0,
            "refused": servers[name].refused if name in servers else 0,
            "frozen": servers[name].frozen if name in servers else "",
            **_unreadable(tables, name),
        }
        for name, counted in sorted(jobs.items())
    ]


def _unreadable(tables: Tables, server: str) -> Json:
    rows = list(unreadable_rows(tables, server))
    named = [
        {"list": row.list, "id": row.id, "reason": row.reason, "since": row.since}
        for row in rows[:ROWS_NAMED_MAX]
    ]
    return {"unreadable_rows": len(rows), "unreadable": named}


def _condition(job: JobRow) -> str:
    return job.condition or ("settled" if is_settled(job) else "unsettled")


def _datasets(tables: Tables) -> list[Json]:
    return [
        {
            "kind": "dataset",
            "name": row.dataset,
            "samples": row.samples,
            "refused_media": row.refused,
            "rejected": row.rejected,
        }
        for row in tables.scan(SCANS)
    ]


def _work(tables: Tables) -> Json:
    return {
        "kind": "work",
        "runs": sum(1 for _ in tables.scan(RUNS)),
        "pending": sum(1 for _ in tables.scan(WAITING)),
    }
