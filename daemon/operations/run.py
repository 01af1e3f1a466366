"""`run`: annotation runs as the log knows them, their names and their end."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon import wiring
from daemon.operations.progress import with_progress
from daemon.operations.registry import Json, operation
from projections import jobs, merge, run_keys, runs
from projections.decision import Decision
from projections.run_keys import find_run
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.handlers.annotate import Progress


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


class CleanUpRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run to take off its server. `discard`: also edits that are not in the dataset."""

    dataset: str
    key: str
    discard: bool = False
    dry_run: bool = False


@operation("run.cleanup", args=CleanUpRun, writes="CVAT")
async def cleanup(app: App, args: CleanUpRun) -> AsyncGenerator[Json, None]:
    """Delete the run's tasks, and the project that it made if it is empty then."""
    run = await app.projections.ask(lambda tables: find_run(tables, args.dataset, args.key))
    server = run.request.server
    named = {"server": server, "dataset": args.dataset, "key": args.key}
    if args.dry_run:
        handler = await wiring.cleanup(app, server)
        plan = await handler.plan(args.dataset, args.key)
        yield {"kind": "cleanup", **named, **msgspec.to_builtins(plan)}
        return

    async def work(progress: Progress) -> Json:
        handler = await wiring.cleanup(app, server, progress)
        done = await handler.clean_up(args.dataset, args.key, discard=args.discard)
        return {"kind": "cleaned up", **named, **msgspec.to_builtins(done)}

    async for found in with_progress(work):
        yield found


class RenameRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run and the key that it goes by from now on."""

    dataset: str
    key: str
    new_key: str
    dry_run: bool = False


@operation("run.rename", args=RenameRun, writes="log")
async def rename(app: App, args: RenameRun) -> AsyncGenerator[Json, None]:
    """Give a run another key; its stream in the log keeps its name."""

    def decide(tables: Tables) -> Decision:
        return run_keys.rename(tables, args.dataset, args.key, args.new_key)

    await app.projections.ask(decide)
    if not args.dry_run:
        await wiring.journal(app).carry_out(decide)
    yield {"kind": "renamed", "dataset": args.dataset, "key": args.key, "new_key": args.new_key}


class DeleteRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run whose record is closed."""

    dataset: str
    key: str
    dry_run: bool = False


@operation("run.delete", args=DeleteRun, writes="log")
async def delete(app: App, args: DeleteRun) -> AsyncGenerator[Json, None]:
    """Close the record of a run; its labels, its tasks and its events stay."""

    def decide(tables: Tables) -> Decision:
        return run_keys.delete(tables, args.dataset, args.key)

    await app.projections.ask(decide)
    if not args.dry_run:
        await wiring.journal(app).carry_out(decide)
    yield {"kind": "deleted", "dataset": args.dataset, "key": args.key}
