"""Bring a selection of samples to CVAT: project, tasks, media, labels, each step in the log first.

CVAT has no idempotency key, and a request may be carried out although its answer never came. So
every step is intent, request, result: what is created carries the run's nonce until it is complete,
and whoever goes on after a crash looks the nonce up before it asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from daemon.handlers import run_tasks
from daemon.handlers.carry_out import Journal
from daemon.handlers.observe import JobWatch
from daemon.handlers.projects import Hook, linked
from daemon.ports.cvat import CvatApi, OutcomeUnknown
from events.errors import SyncError
from events.job import AnnotationsObserved
from events.registry import Fact
from events.run import RunOpened, TaskCreationIntended, WriteIntended
from projections import runs
from projections.codec.cvat import Schema, annotations_to_wire, labels_from_wire
from projections.datasets import SAMPLES
from projections.decision import Decision, Draft
from projections.observation import observe
from projections.run_keys import UnknownRun
from projections.streams import versions
from projections.tables import Tables
from projections.upload import (
    AnnotateRequest,
    Batch,
    by_label_id,
    labels_for,
    labels_uploaded,
    lacking,
    own_reading,
    request_run,
)

# CVAT takes one request as one transaction; a larger job is filled in several.
UPLOAD_ANNOTATIONS_MAX: Final = 5_000
# Tasks that may be made anew one after the other because each lost its media.
TASK_TRIES_MAX: Final = 5

Answer = TypeVar("Answer")
Progress = Callable[[str, int, int], None]
"""Called with (what, done, of how many)."""


class CleanedUp(SyncError):
    """The run's tasks were deleted from the server, or are about to be."""


class MediaLost(SyncError):
    """Tasks were made one after the other, and none got its media."""


@dataclass(frozen=True)
class Annotate:
    """Everything that carrying a run to a server needs.

    media  gives the file of a sample's document. Raises SyncError for one that may not be opened
    hook   None: no webhook is made, edits are found by polling
    """

    watch: JobWatch
    journal: Journal
    media: Callable[[Mapping[str, Any]], Path]
    hook: Hook | None = None
    progress: Progress = lambda what, done, total: None

    @property
    def cvat(self) -> CvatApi:
        return self.watch.cvat

    async def request(self, asked: AnnotateRequest) -> None:
        """Record a new run. Raises what `request_run` raises."""
        await self.journal.carry_out(lambda tables: request_run(tables, asked))

    async def resume(self, dataset: str, key: str) -> runs.RunRow:
        """Carry a run to the end, from wherever it is. Raises UnknownRun and CvatError."""
        run = await self._run(dataset, key)
        if run.cleaning:
            raise CleanedUp(
                "the run was taken off the server",
                dataset=dataset,
                key=key,
                hint="nothing was sent; annotate under another key",
            )
        if run.opened:
            return run
        if run.request.hooked and run.project is None:
            await self._record(run, await linked(self.cvat, run, self.hook))
            run = await self._run(dataset, key)
        tasks = await self._ask(lambda tables: list(tables.scan(runs.RUN_TASKS, dataset, key)))
        for task in tasks:
            self.progress("tasks", task.index, len(tasks))
            await self._complete_task(run, task)
        await self._record(run, RunOpened())
        self.progress("tasks", len(tasks), len(tasks))
        return await self._run(dataset, key)

    # One task

    async def _complete_task(self, run: runs.RunRow, task: runs.RunTaskRow) -> None:
        for _ in range(TASK_TRIES_MAX):
            if task.jobs and task.task is not None:
                await self._fill_jobs(run, [span.job for span in task.jobs])
                await run_tasks.drop_twins(self.cvat, task.nonce, task.task)
                await run_tasks.set_subset(self.cvat, task.task)
                return
            task = await self._made(run, task)
        raise MediaLost(
            "the server loses the media of a task again and again",
            server=self.cvat.name,
            task=task.task,
            hint="the run goes on when it is asked for again",
        )

    async def _made(self, run: runs.RunRow, task: runs.RunTaskRow) -> runs.RunTaskRow:
        """Make the task with its media, or take away one that got none; return it as it is then."""
        if task.task is not None and not await run_tasks.has_media(self.cvat, task):
            # It takes data once only, and a half upload cannot be told from none.
            await run_tasks.gone(self.cvat, task.task)
            task = await self._intend(run, task)
        elif not task.nonce:
            task = await self._intend(run, task)
        number = task.task
        if number is None:
            made = await run_tasks.created(self.cvat, run, task, task.nonce)
            await self._record(run, made)
            number = made.task
            files = await self._files(run.dataset, task.samples)
            # Where the answer is lost, the task itself tells next time what it got.
            with suppress(OutcomeUnknown):
                request = await self.cvat.upload_media(
                    number, files, image_quality=run.request.image_quality
                )
                await self._record(run, await run_tasks.uploaded(self.cvat, task, number, request))
        else:
            await self._record(run, await run_tasks.uploaded(self.cvat, task, number, None))
        return await self._ask(partial(_run_task, key=(run.dataset, run.key, task.index)))

    async def _intend(self, run: runs.RunRow, task: runs.RunTaskRow) -> runs.RunTaskRow:
        nonce = run_tasks.next_nonce(run, task)
        await self._record(run, TaskCreationIntended(index=task.index, nonce=nonce))
        return msgspec.structs.replace(task, nonce=nonce, task=None)

    async def _files(self, dataset: str, samples: Sequence[str]) -> list[tuple[str, Path]]:
        def documents(tables: Tables) -> list[Mapping[str, Any]]:
            rows = [tables.get(SAMPLES, dataset, sample) for sample in samples]
            return [row.document for row in rows if row is not None]

        paths = [self.media(document) for document in await self._ask(documents)]
        return list(zip(run_tasks.plain_names(paths), paths, strict=True))

    # The labels

    async def _fill_jobs(self, run: runs.RunRow, numbers: Sequence[int]) -> None:
        for done, number in enumerate(numbers):
            self.progress("jobs", done, len(numbers))
            key = (run.request.server, number)
            row = await self._ask(partial(_run_job, key=key))
            if row is not None and not row.uploaded:
                await self._fill_job(run, number, resumed=row.intended)

    async def _fill_job(self, run: runs.RunRow, job: int, *, resumed: bool) -> None:
        labels = labels_from_wire(await self.cvat.job_labels(job))
        schema = Schema(labels)
        batch = await self._ask(lambda tables: labels_for(tables, run.request.server, job, labels))
        if not resumed:
            intended = WriteIntended(job=job, action="create", labels=len(batch.uploaded))
            await self._record(run, intended)
        reading = await self.watch.read(job)
        left = lacking(batch, by_label_id(reading.annotations))
        for first in range(0, len(left), UPLOAD_ANNOTATIONS_MAX):
            piece = [sent.annotation for sent in left[first : first + UPLOAD_ANNOTATIONS_MAX]]
            body = annotations_to_wire(piece, schema, with_ids=False)
            await self.cvat.patch_annotations(job, "create", body)
        await self._record_upload(run, job, batch, reading.updated_date)

    async def _record_upload(self, run: runs.RunRow, job: int, batch: Batch, before: str) -> None:
        """Record what our write made of the job: what must be there, under the server's ids.

        What the server shows beyond that is somebody else's, and comes with the next look.

        before  the job's date before we wrote
        """
        reading = await self.watch.read(job)
        uploaded = labels_uploaded(job, batch, by_label_id(reading.annotations))
        actor = f"{self.watch.server}/{self.watch.own}"

        def decide(tables: Tables) -> Decision:
            ours = own_reading(tables, self.watch.server, job, reading, uploaded, before=before)
            observed = observe(tables, self.watch.server, job, ours)
            drafts = [
                Draft(draft.stream, draft.fact, actor, "own write", draft.occurred_at)
                if isinstance(draft.fact, AnnotationsObserved)
                else draft
                for draft in observed.drafts
            ]
            expects = versions(tables, [run.stream, f"dataset/{run.dataset}"])
            return Decision([*drafts, Draft(run.stream, uploaded)], {**observed.expects, **expects})

        await self.journal.carry_out(decide)

    # Asking and recording

    async def _ask(self, question: Callable[[Tables], Answer]) -> Answer:
        return await self.journal.projections.ask(question)

    async def _run(self, dataset: str, key: str) -> runs.RunRow:
        row = await self._ask(lambda tables: tables.get(runs.RUNS, dataset, key))
        if row is None:
            raise UnknownRun(
                "the dataset has no annotation run under this key",
                dataset=dataset,
                key=key,
                hint="see `labeltrail run ls`",
            )
        return row

    async def _record(self, run: runs.RunRow, fact: Fact) -> None:
        await self.journal.carry_out(
            lambda tables: Decision([Draft(run.stream, fact)], versions(tables, [run.stream]))
        )


def _run_task(tables: Tables, *, key: tuple[str, str, int]) -> runs.RunTaskRow:
    row = tables.get(runs.RUN_TASKS, *key)
    assert row is not None, f"no task {key}"
    return row


def _run_job(tables: Tables, *, key: tuple[str, int]) -> runs.RunJobRow | None:
    return tables.get(runs.RUN_JOBS, *key)
