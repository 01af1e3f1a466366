"""Bring what annotators did in a run to its dataset: read, settle, merge, job by job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import msgspec

from daemon.clock import Clock
from daemon.handlers.observe import JobWatch, Outcome
from daemon.ports.cvat import CvatError
from events.run import (
    ConflictRaised,
    EditRejected,
    LabelQuarantined,
    LabelsMerged,
    MergeHeld,
)
from projections import jobs, merge, runs
from projections.decision import Decision
from projections.tables import Tables
from projections.upload import UnknownRun

SETTLE_TRIES_MAX: Final = 5


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What one job brought.

    state  "merged" (also where there was nothing to merge), "unsettled", or why it was not read
    """

    job: int
    state: Outcome | str
    added: int = 0
    changed: int = 0
    removed: int = 0
    conflicts: int = 0
    rejected: int = 0
    quarantined: int = 0
    held: int = 0


@dataclass(frozen=True)
class Load:
    """Loads runs of one server. `settle_s`: how long a job must be quiet."""

    watch: JobWatch
    clock: Clock
    settle_s: float

    async def load(self, dataset: str, key: str, *, dry_run: bool = False) -> AsyncIterator[Loaded]:
        """Load a run; loading it again changes nothing.

        dry_run  look, and tell what would be merged
        Raises UnknownRun.
        """
        for job in await self.watch.journal.projections.ask(
            lambda tables: jobs_of(tables, dataset, key)
        ):
            try:
                yield await self._load_job(job, dry_run=dry_run)
            except CvatError as exc:
                yield Loaded(job=job, state=str(exc))

    async def _load_job(self, job: int, *, dry_run: bool) -> Loaded:
        observed = await self.watch.observe(job)
        if observed.outcome != "observed":
            return Loaded(job=job, state=observed.outcome)
        if not await self._settled(job):
            return Loaded(job=job, state="unsettled")
        if dry_run:
            decision = await self.watch.journal.projections.ask(
                lambda tables: merge.decide(tables, self.watch.server, job)
            )
        else:
            decision = await self.watch.merge(job)
        return _counted(job, decision)

    async def _settled(self, job: int) -> bool:
        """Wait until the job was quiet long enough. The waiting ends with somebody who keeps on."""
        for _ in range(SETTLE_TRIES_MAX):
            row = await self.watch.journal.projections.ask(
                lambda tables: tables.get(jobs.JOBS, self.watch.server, job)
            )
            if row is not None and merge.is_settled(row):
                return True
            await self.clock.sleep(self.settle_s)
            if await self.watch.settle(job):
                return True
        return False


def jobs_of(tables: Tables, dataset: str, key: str) -> list[int]:
    """Return the jobs of a run in frame order. Raises UnknownRun."""
    if tables.get(runs.RUNS, dataset, key) is None:
        raise UnknownRun(
            "the dataset has no annotation run under this key",
            dataset=dataset,
            key=key,
            hint="see `labeltrail run ls`",
        )
    return [span.job for task in tables.scan(runs.RUN_TASKS, dataset, key) for span in task.jobs]


def _counted(job: int, decision: Decision) -> Loaded:
    count = dict.fromkeys(Loaded.__struct_fields__[2:], 0)
    for draft in decision.drafts:
        match draft.fact:
            case LabelsMerged(edits=edits):
                for edit in edits:
                    count[edit.operation] += 1
            case ConflictRaised(conflicts=conflicts):
                count["conflicts"] += len(conflicts)
            case EditRejected(edits=edits):
                count["rejected"] += len(edits)
            case LabelQuarantined():
                count["quarantined"] += 1
            case MergeHeld():
                count["held"] += 1
    return Loaded(job=job, state="merged", **count)
