"""`run ls`, `run info`: annotation runs as the log knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon.operations.registry import Json, operation
from projections import jobs, merge, runs
from projections.run_keys import find_run
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App


class ListRuns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Runs of one dataset, or of all; those whose record was closed only when asked for."""

    dataset: str | None = None
    deleted: bool = False


class NamedRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run."""

    dataset: str
    key: str


@operation("run.ls", args=ListRuns)
async def ls(app: App, args: ListRuns) -> AsyncGenerator[Json, None]:
    """List annotation runs."""

    def found(tables: Tables) -> list[Json]:
        prefix = [args.dataset] if args.dataset else []
        rows = tables.scan(runs.RUNS, *prefix)
        return [summary(tables, run) for run in rows if args.deleted or not run.deleted]

    for run in await app.projections.ask(found):
        yield run


@operation("run.info", args=NamedRun)
async def info(app: App, args: NamedRun) -> AsyncGenerator[Json, None]:
    """Tell everything about one run."""
    yield await app.projections.ask(lambda tables: describe(tables, args.dataset, args.key))


def summary(tables: Tables, run: runs.RunRow) -> Json:
    """Return a run in one line."""
    tasks = list(tables.scan(runs.RUN_TASKS, run.dataset, run.key))
    waiting = [row for row in tables.scan(runs.WAITING, run.dataset, run.key) if not row.settled]
    return {
        "kind": "run",
        "dataset": run.dataset,
        "key": run.title,
        "server": run.request.server,
        "state": state_of(run),
        "policy": run.request.policy,
        "fields": [field.name for field in run.request.fields],
        "samples": sum(len(task.samples) for task in tasks),
        "tasks": [task.task for task in tasks if task.task is not None],
        "project": run.project,
        "waiting": len(waiting),
    }


def state_of(run: runs.RunRow) -> str:
    """Name the state of a run."""
    if run.deleted:
        return "deleted"
    if run.cleaning:
        return "cleaned up" if run.cleaned_up else "being cleaned up"
    return "open" if run.opened else "interrupted"


def describe(tables: Tables, dataset: str, key: str) -> Json:
    """Return everything about a run. Raises UnknownRun."""
    run = find_run(tables, dataset, key)
    spans = [span for task in tables.scan(runs.RUN_TASKS, dataset, run.key) for span in task.jobs]
    waiting = Counter(
        row.what for row in tables.scan(runs.WAITING, dataset, run.key) if not row.settled
    )
    return {
        **summary(tables, run),
        "names": run.names,
        "webhook": run.webhook,
        "jobs": [_job(tables, run.request.server, span.job) for span in spans],
        "unsent": [
            {"sample": row.sample, "field": row.field, "label": row.label, "reason": row.reason}
            for row in tables.scan(runs.UNSENT, dataset, run.key)
        ],
        "waits_for": dict(waiting),
    }


def _job(tables: Tables, server: str, job: int) -> Json:
    row = tables.get(jobs.JOBS, server, job)
    if row is None:
        return {"job": job, "state": "not seen yet"}
    return {
        "job": job,
        "stage": row.stage,
        "state": row.state,
        "condition": row.condition or None,
        "annotations": row.annotations,
        "observed": row.observed_date,
        "settled": merge.is_settled(row),
    }
