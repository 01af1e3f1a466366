"""Where changes come from, project by project: by webhook or by polling, and what was missed."""

from __future__ import annotations

import msgspec

from projections import jobs, runs
from projections.tables import Tables


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One project of a server, or, as None, all of its tasks outside projects.

    hooks  its webhooks reach us, or a run made one for it; else it is polled
    gaps   observations whose window may hide saves that nobody told of; `gap` is the last window,
           (from, to) as the server dates it
    """

    server: str
    project: int | None
    jobs: int
    hooks: bool
    delivered_us: int
    changed_us: int
    gaps: int
    gap: tuple[int, int] | None


def sources(tables: Tables, since_us: int) -> list[Source]:
    """Return what is recorded, project by project.

    since_us  gaps that ended before are not counted
    """
    members: dict[tuple[str, int], list[jobs.JobRow]] = {}
    for job in tables.scan(jobs.JOBS):
        if job.condition != "deleted":
            members.setdefault((job.server, job.project or 0), []).append(job)
    linked = {
        (run.request.server, run.project)
        for run in tables.scan(runs.RUNS)
        if run.webhook is not None and not run.cleaned_up
    }
    return [_source(tables, key, rows, since_us, linked) for key, rows in sorted(members.items())]


def _source(
    tables: Tables,
    key: tuple[str, int],
    rows: list[jobs.JobRow],
    since_us: int,
    linked: set[tuple[str, int | None]],
) -> Source:
    server, project = key
    row = tables.get(jobs.SOURCES, *key) or jobs.SourceRow(server=server, project=project)
    gaps = [
        (gap.until_us, gap.since_us)
        for job in rows
        for gap in tables.scan(jobs.NAMELESS, server, job.job, start=(since_us,))
    ]
    last = max(gaps, default=None)
    return Source(
        server=server,
        project=project or None,
        jobs=len(rows),
        hooks=bool(row.deliveries) or key in linked,
        delivered_us=row.delivered_us,
        changed_us=row.changed_us,
        gaps=len(gaps),
        gap=(last[1], last[0]) if last else None,
    )
