"""Bring what annotators did in a run to its dataset: read, settle, merge, job by job."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from daemon.clock import Clock
from daemon.handlers.observe import JobWatch
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
from projections.run_keys import UnknownRun
from projections.tables import Tables

Answer = TypeVar("Answer")
SETTLE_TRIES_MAX: Final = 5


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What one job brought.

    state  "merged" (also where there was nothing to merge), "unsettled", or why it was not read
    """

    job: int
    state: str
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
        numbers = await self._ask(lambda tables: jobs_of(tables, dataset, key))
        states = {job: await self._observed(job) for job in numbers}
        readable = [job for job, state in states.items() if state == "observed"]
        unsettled = await self._settle(readable)
        for job in numbers:
            if job in unsettled:
                yield Loaded(job=job, state="unsettled")
            elif job in readable:
                yield await self._merged(job, dry_run=dry_run)
            else:
                yield Loaded(job=job, state=states[job])

    async def _observed(self, job: int) -> str:
        try:
            return (await self.watch.observe(job)).outcome
        except CvatError as exc:
            return str(exc)

    async def _settle(self, numbers: Sequence[int]) -> list[int]:
        """Wait until the jobs were quiet long enough, all at once; return those that never were."""
        for _ in range(SETTLE_TRIES_MAX):
            unsettled = await self._ask(lambda tables: self._unsettled(tables, numbers))
            if not unsettled:
                return []
            await self.clock.sleep(self.settle_s)
            for job in unsettled:
                with suppress(CvatError):
                    await self.watch.settle(job, quiet_s=self.settle_s)
        return await self._ask(lambda tables: self._unsettled(tables, numbers))

    def _unsettled(self, tables: Tables, numbers: Sequence[int]) -> list[int]:
        rows = ((job, tables.get(jobs.JOBS, self.watch.server, job)) for job in numbers)
        return [job for job, row in rows if row is None or not merge.is_settled(row)]

    async def _merged(self, job: int, *, dry_run: bool) -> Loaded:
        return _counted(job, await self.watch.merge(job, dry_run=dry_run))

    async def _ask(self, question: Callable[[Tables], Answer]) -> Answer:
        return await self.watch.journal.projections.ask(question)


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
