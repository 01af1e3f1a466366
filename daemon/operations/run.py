"""`run ls`, `run info`: annotation runs as the log knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon.operations.registry import Json, operation
from projections import jobs, merge, runs
from projections.tables import Tables
from projections.upload import UnknownRun

if TYPE_CHECKING:
    from daemon.app import App


class ListRuns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Runs of one dataset, or of all."""

    dataset: str | None = None


class NamedRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run."""

    dataset: str
    key: str


@operation("run.ls", args=ListRuns)
async def ls(app: App, args: ListRuns) -> AsyncGenerator[Json, None]:
    """List annotation runs."""

    def found(tables: Tables) -> list[Json]:
        prefix = [args.dataset] if args.dataset else []
        return [summary(tables, run) for run in tables.scan(runs.RUNS, *prefix)]

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
    if run.cleaned_up:
        return "cleaned up"
    return "open" if run.opened else "interrupted"


def describe(tables: Tables, dataset: str, key: str) -> Json:
    """Return everything about a run. Raises UnknownRun."""
    run = tables.get(runs.RUNS, dataset, key)
    if run is None:
        raise UnknownRun(
            "the dataset has no annotation run under this key",
            dataset=dataset,
            key=key,
            hint="see `labeltrail run ls`",
        )
    spans = [span for task in tables.scan(runs.RUN_TASKS, dataset, key) for span in task.jobs]
    waiting = Counter(
        row.what for row in tables.scan(runs.WAITING, dataset, key) if not row.settled
    )
    return {
        **summary(tables, run),
        "names": run.names,
        "webhook": run.webhook,
        "jobs": [_job(tables, run.request.server, span.job) for span in spans],
        "unsent": [
            {"sample": row.sample, "field": row.field, "label": row.label, "reason": row.reason}
            for row in tables.scan(runs.UNSENT, dataset, key)
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
