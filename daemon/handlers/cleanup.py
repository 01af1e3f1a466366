"""Take a run off its server: what it made there, and nothing else.

Intent, request, result: each step can be asked for again, and whoever goes on after a crash begins
at the first. What annotators did is looked at once more before it goes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from daemon.handlers.annotate import Progress
from daemon.handlers.carry_out import Journal
from daemon.handlers.observe import JobWatch
from daemon.handlers.run_tasks import gone
from daemon.ports.cvat import CvatApi, NotFound, OutcomeUnknown
from events.errors import SyncError
from events.job import JobDeleted, TaskDeleted
from events.registry import Fact
from events.run import CleanupIntended, RunCleanedUp
from projections import jobs, merge, runs
from projections.decision import Decision, Draft
from projections.run_keys import find_run
from projections.streams import versions
from projections.tables import Tables

Answer = TypeVar("Answer")


class NotLoaded(SyncError):
    """Jobs of the run hold edits that were not brought to the dataset."""


class ServerFrozen(SyncError):
    """It is not known what ids of the server mean today."""


class CleanupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a cleanup deletes.

    tasks     those that the run made, or asked for: found by their nonces
    project   the run's own; None: it stays
    foreign   ids of the run's tasks that are other tasks today, which stay
    others    tasks in the project that are not the run's: with them it stays
    unloaded  jobs with edits that are not in the dataset
    """

    tasks: tuple[int, ...] = ()
    project: int | None = None
    foreign: tuple[int, ...] = ()
    others: tuple[int, ...] = ()
    unloaded: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cleanup:
    """Cleans runs of one server up."""

    watch: JobWatch
    journal: Journal
    progress: Progress = lambda what, done, total: None

    @property
    def cvat(self) -> CvatApi:
        return self.watch.cvat

    async def plan(self, dataset: str, key: str) -> CleanupPlan:
        """Look what there is to delete. Raises UnknownRun, ServerFrozen and CvatError."""
        run = await self._ask(lambda tables: find_run(tables, dataset, key))
        if run.cleaned_up:
            return CleanupPlan()
        if await self._ask(lambda tables: _frozen(tables, run.request.server)):
            raise ServerFrozen(
                "ids of this server may belong to other work now",
                server=run.request.server,
                hint="nothing was deleted; see `labeltrail pending`",
            )
        tasks, foreign = await self._tasks(run)
        project = await self._own_project(run)
        others = await self._others(project, tasks) if project is not None else ()
        return CleanupPlan(
            tasks=tasks,
            project=project,
            foreign=foreign,
            others=others,
            unloaded=await self._unloaded(run),
        )

    async def clean_up(self, dataset: str, key: str, *, discard: bool = False) -> CleanupPlan:
        """Delete the run's tasks, and its own project if it is empty then; return what went.

        discard  also edits that were not brought to the dataset; the log keeps what it saw
        Raises NotLoaded besides what `plan` raises.
        """
        plan = await self.plan(dataset, key)
        run = await self._ask(lambda tables: find_run(tables, dataset, key))
        if plan.unloaded and not (discard or run.cleaning):
            raise NotLoaded(
                "jobs of the run hold edits that are not in the dataset",
                jobs=list(plan.unloaded),
                hint="nothing was deleted; `labeltrail load` first, or give --discard",
            )
        if run.cleaned_up:
            return plan
        if not run.cleaning:
            await self._record(run, CleanupIntended(tasks=plan.tasks, project=plan.project))
        for done, task in enumerate(plan.tasks):
            self.progress("tasks", done, len(plan.tasks))
            await gone(self.cvat, task)
            await self._record_gone(run, task)
        project = await self._delete_project(plan)
        await self._record(run, RunCleanedUp(tasks=plan.tasks, project=project))
        self.progress("tasks", len(plan.tasks), len(plan.tasks))
        return msgspec.structs.replace(plan, project=project)

    # What is there

    async def _tasks(self, run: runs.RunRow) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the run's tasks, also those already gone, and the ids that are others' today."""
        planned = await self._ask(
            lambda tables: list(tables.scan(runs.RUN_TASKS, run.dataset, run.key))
        )
        ours, foreign = set[int](), set[int]()
        for task in planned:
            if task.task is not None:
                found = await self._made(task)
                (foreign if found != task.created_date else ours).add(task.task)
            if task.nonce:
                # A request without an answer may have made one that we never heard of.
                ours.update([row["id"] async for row in self.cvat.tasks(subset=task.nonce)])
        return tuple(sorted(ours)), tuple(sorted(foreign))

    async def _made(self, task: runs.RunTaskRow) -> str:
        """Return the `created_date` of the task by this id today."""
        assert task.task is not None
        try:
            return str((await self.cvat.task(task.task)).get("created_date") or "")
        except NotFound:
            return task.created_date

    async def _own_project(self, run: runs.RunRow) -> int | None:
        if run.project is not None:
            return run.project if run.project_created else None
        if run.request.project is not None or not run.request.hooked:
            return None
        name = f"{run.dataset} {run.key} {run.nonce}"
        return next(iter([int(row["id"]) async for row in self.cvat.projects(name=name)]), None)

    async def _others(self, project: int, tasks: tuple[int, ...]) -> tuple[int, ...]:
        found = [int(row["id"]) async for row in self.cvat.tasks(project=project)]
        return tuple(sorted(set(found) - set(tasks)))

    async def _unloaded(self, run: runs.RunRow) -> tuple[int, ...]:
        """Look at each job once more; return those whose edits are not in the dataset."""
        server = run.request.server
        numbers = await self._ask(
            lambda tables: [
                span.job
                for task in tables.scan(runs.RUN_TASKS, run.dataset, run.key)
                for span in task.jobs
            ]
        )
        for job in numbers:
            await self.watch.observe(job)
        return await self._ask(
            lambda tables: tuple(job for job in numbers if _has_edits(tables, server, job))
        )

    # What is done

    async def _record_gone(self, run: runs.RunRow, task: int) -> None:
        server = run.request.server

        def decide(tables: Tables) -> Decision:
            row = tables.get(jobs.TASKS, server, task)
            stream = f"task/{server}/{task}"
            drafts = [] if row and row.gone else [Draft(stream, TaskDeleted())]
            for made in tables.scan(runs.RUN_TASKS, run.dataset, run.key):
                for span in made.jobs if made.task == task else ():
                    job = tables.get(jobs.JOBS, server, span.job)
                    if job is not None and job.condition != "deleted":
                        drafts.append(Draft(f"job/{server}/{span.job}", JobDeleted()))
            return Decision(drafts, versions(tables, [draft.stream for draft in drafts]))

        await self.journal.carry_out(decide)

    async def _delete_project(self, plan: CleanupPlan) -> int | None:
        """Delete the run's own project if nothing is in it; return it if it is gone."""
        if plan.project is None or await self._others(plan.project, ()):
            return None
        with suppress(NotFound):
            try:
                await self.cvat.delete_project(plan.project)
            except OutcomeUnknown:
                await self.cvat.delete_project(plan.project)
        return plan.project

    async def _ask(self, question: Callable[[Tables], Answer]) -> Answer:
        return await self.journal.projections.ask(question)

    async def _record(self, run: runs.RunRow, fact: Fact) -> None:
        await self.journal.carry_out(
            lambda tables: Decision([Draft(run.stream, fact)], versions(tables, [run.stream]))
        )


def _frozen(tables: Tables, server: str) -> bool:
    row = tables.get(jobs.SERVERS, server)
    return bool(row and row.frozen)


def _has_edits(tables: Tables, server: str, job: int) -> bool:
    """Tell whether the job shows what is not in the dataset, or may still be on its way."""
    row, run_job = tables.get(jobs.JOBS, server, job), tables.get(runs.RUN_JOBS, server, job)
    if row is None or run_job is None or not run_job.uploaded or row.condition:
        return False
    return not merge.is_settled(row) or bool(merge.decide(tables, server, job).drafts)
