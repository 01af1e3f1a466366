"""What there is, and how it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from daemon.operations.registry import Json, NoArgs, operation
from daemon.operations.times import iso
from projections.datasets import SCANS
from projections.jobs import JOBS, SERVERS, JobRow
from projections.merge import is_settled
from projections.runs import RUNS, WAITING
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App


@operation("status")
async def status(app: App, args: NoArgs) -> AsyncGenerator[Json, None]:
    """Yield one object for the log, each server, each dataset, and what waits for a person."""
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
    for found in await app.projections.ask(_datasets):
        yield found | {"declared": found["name"] in app.settings.datasets}
    yield await app.projections.ask(_work)


async def _recorded_at(app: App, head: int) -> str | None:
    reader = app.store.reader()
    try:
        last = next(reader.read(after=head - 1, upto=head), None) if head else None
        return iso(last.recorded_at) if last else None
    finally:
        reader.close()


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
        }
        for name, counted in sorted(jobs.items())
    ]


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
