"""Read a job until the read is stable, and record what it tells; later, let it settle and merge."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from daemon.handlers.carry_out import Journal
from daemon.handlers.decoding import decoded
from daemon.pool import INLINE_BYTES_MAX, Pool, WorkFailed
from daemon.ports.cvat import (
    AnswerTooLarge,
    CvatApi,
    Forbidden,
    NotFound,
    Row,
    ServerTrouble,
    Unauthorized,
    UnreadableAnswer,
    number,
    text,
)
from events.errors import SyncError
from events.job import JobDeleted, JobDiscovered, JobUnreachable, JobUnreadable
from events.registry import Fact
from events.run import LabelsLinked
from projections import jobs, merge
from projections.codec.cvat import UnknownLabel, UnreadableAnnotations, labels_from_wire
from projections.decision import Decision, Draft
from projections.observation import Reading, is_frozen, job_members, late_authors
from projections.questions import Merge, Settle, WhatChanged
from projections.streams import versions
from projections.tables import Tables

Answer = TypeVar("Answer")

# A job that somebody saves all the time is read at its next pause.
READS_MAX: Final = 5
# What is known of a larger job is compared in a process of the pool.
INLINE_ANNOTATIONS_MAX: Final = 1_000
# A timer may wake us a little before the clock on the wall agrees.
TIMER_SLACK_S: Final = 0.1


class JobBusy(SyncError):
    """Somebody saves the job faster than it can be read; its next pause will do."""


Outcome = Literal["observed", "busy", "unreachable", "unreadable", "deleted", "frozen"]


@dataclass(frozen=True)
class Observed:
    """What came of looking at a job. `updated_date` is the server's; `changed`: facts recorded."""

    outcome: Outcome
    updated_date: str = ""
    changed: bool = False


@dataclass(frozen=True)
class JobWatch:
    """Everything that is done for one server's jobs.

    own   the user id of our own credentials
    pool  decodes and compares what is large
    """

    cvat: CvatApi
    journal: Journal
    pool: Pool
    own: int | None = None

    @property
    def server(self) -> str:
        """The server's name in the settings and in the log."""
        return self.cvat.name

    async def observe(self, job: int) -> Observed:
        """Look at a job and record what changed since the last look.

        Raises CvatError when the server as a whole cannot be reached; trouble with this job
        alone is recorded, and holds up no other.
        """
        if await self._ask(lambda tables: is_frozen(tables, self.server, job)):
            return Observed("frozen")
        try:
            decision, updated_date = await self._recorded(job)
        except NotFound:
            return await self._gone(job)
        except JobBusy:
            return Observed("busy")
        except (Forbidden, Unauthorized) as exc:
            status = 403 if isinstance(exc, Forbidden) else 401
            return await self._note(job, "unreachable", JobUnreachable(status=status))
        except (ServerTrouble, UnreadableAnnotations, AnswerTooLarge, WorkFailed) as exc:
            return await self._unreadable(job, exc)
        frozen = any(draft.stream.startswith("server/") for draft in decision.drafts)
        return Observed("frozen" if frozen else "observed", updated_date, bool(decision.drafts))

    async def _recorded(self, job: int) -> tuple[Decision, str]:
        """Read a job and record what the read tells; return also the server's date of it."""
        for _ in range(READS_MAX):
            if (read := await self._read_once(job)) is None:
                continue
            try:
                return await self._record(read), read.updated_date
            except UnknownLabel:
                # The schema moved between two requests and moved no date.
                continue
        raise _busy(self.server, job)

    async def _record(self, read: WhatChanged) -> Decision:
        apart = len(read.body) > INLINE_BYTES_MAX or await self._is_large(read.job)
        while True:
            decision = await self.journal.carry_out(read, apart=self.pool if apart else None)
            if not any(isinstance(draft.fact, LabelsLinked) for draft in decision.drafts):
                return decision

    async def _is_large(self, job: int) -> bool:
        """Tell whether so much is known of a job that comparing it takes long."""
        row = await self._ask(lambda tables: tables.get(jobs.JOBS, self.server, job))
        return row is not None and row.annotations > INLINE_ANNOTATIONS_MAX

    async def _apart(self, job: int) -> Pool | None:
        """Return the pool if a question about the job is one for it."""
        return self.pool if await self._is_large(job) else None

    async def read(self, job: int) -> Reading:
        """Read labels and annotations between two equal `updated_date`.

        Raises JobBusy when they never are, CvatError, UnreadableAnnotations and WorkFailed.
        """
        for _ in range(READS_MAX):
            if (read := await self._read_once(job)) is None:
                continue
            with suppress(UnknownLabel):
                annotations = await decoded(read.body, read.labels, self.pool)
                return read.reading_of(annotations)
        raise _busy(self.server, job)

    async def _read_once(self, job: int) -> WhatChanged | None:
        """Read labels and annotations, None where a save fell in between."""
        stream = f"job/{self.server}/{job}"
        known = await self._ask(lambda tables: versions(tables, [stream]))
        before = await self.cvat.job(job)
        labels = labels_from_wire(await self.cvat.job_labels(job))
        body = await self.cvat.job_annotations(job)
        after = await self.cvat.job(job)
        date = text(after, "updated_date")
        if before.get("updated_date") != date:
            return None
        number(after, "task_id")
        return WhatChanged(
            server=self.server,
            job=job,
            body=body,
            version=known[stream],
            members=job_members(after),
            updated_date=date,
            labels=labels,
        )

    async def _ask(self, question: Callable[[Tables], Answer]) -> Answer:
        return await self.journal.projections.ask(question)

    async def _gone(self, job: int) -> Observed:
        """A 404 means deleted only while the server knows us at all."""
        await self.cvat.self_user()
        return await self._note(job, "deleted", JobDeleted())

    async def _unreadable(self, job: int, exc: Exception) -> Observed:
        """Tell a job that nobody can read from a server in trouble: the job alone answers."""
        row: Row = {}
        try:
            row = await self.cvat.job(job)
        except UnreadableAnswer:
            # Where not even its own row can be read, that of our account can.
            await self.cvat.self_user()
        members = job_members(row) if row.get("task_id") else None
        reason = str(exc)[:200]
        status = getattr(exc, "facts", {}).get("status") or 500
        fact = JobUnreadable(status=status, reason=reason)
        return await self._note(job, "unreadable", fact, members)

    async def _note(
        self,
        job: int,
        condition: Literal["unreachable", "unreadable", "deleted"],
        fact: Fact,
        members: JobDiscovered | None = None,
    ) -> Observed:
        """Record a job's condition once; of a job that was never read only with its members."""
        stream = f"job/{self.server}/{job}"

        def decide(tables: Tables) -> Decision:
            row = tables.get(jobs.JOBS, self.server, job)
            first = [members] if row is None and members else []
            if (row.condition == condition) if row else not first:
                return Decision()
            drafts = [Draft(stream, each) for each in (*first, fact)]
            return Decision(drafts, versions(tables, [stream]))

        decision = await self.journal.carry_out(decide)
        return Observed(condition, changed=bool(decision.drafts))

    async def settle(self, job: int, *, quiet_s: float = 0.0) -> bool:
        """Call a job settled if the server still shows what was observed; tell whether it is.

        quiet_s  how long nothing else may have been observed: the editor saves in up to three
                 steps, seconds apart
        """
        row = await self.journal.projections.ask(
            lambda tables: tables.get(jobs.JOBS, self.server, job)
        )
        if row is None or not row.observed or row.condition:
            return False
        if not merge.is_settled(row):
            # Whoever calls has waited, but somebody else may have looked meanwhile.
            since_us = self.journal.clock.now_us() - row.observed_us
            if since_us < (quiet_s - TIMER_SLACK_S) * 1_000_000:
                return False
            seen = await self.observe(job)
            if seen.outcome != "observed" or seen.changed:
                return False
        question = Settle(server=self.server, job=job, observed=row.observed)
        await self.journal.carry_out(question, apart=await self._apart(job))
        return True

    async def merge(self, job: int, *, dry_run: bool = False) -> Decision:
        """Bring what a settled job tells to its run's dataset; again and again does no harm.

        dry_run  decide, and append nothing
        """
        carry_out = self.journal.decided if dry_run else self.journal.carry_out
        return await carry_out(Merge(server=self.server, job=job), apart=await self._apart(job))

    async def merge_by_policy(self, job: int) -> Decision:
        """Merge a settled job if its run takes such jobs over by itself."""
        question = Merge(server=self.server, job=job, by_policy=True)
        return await self.journal.carry_out(question, apart=await self._apart(job))

    async def learn_authors(self, job: int) -> Decision:
        """Name the authors of observations that deliveries which came later account for."""
        return await self.journal.carry_out(lambda tables: late_authors(tables, self.server, job))


def _busy(server: str, job: int) -> JobBusy:
    return JobBusy("the job changed during every read", server=server, job=job)
