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
from itertools import chain, count
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from daemon.handlers.carry_out import Journal
from daemon.handlers.observe import JobWatch
from daemon.ports.cvat import CvatApi, MediaFailed, MediaLate, NotFound, OutcomeUnknown
from events.errors import SyncError
from events.job import AnnotationsObserved
from events.registry import Fact
from events.run import (
    Frame,
    JobRange,
    MediaUploaded,
    ProjectLinked,
    RunOpened,
    TaskCreated,
    TaskCreationIntended,
    WriteIntended,
)
from projections import runs
from projections.codec.cvat import Schema, annotations_to_wire, labels_from_wire, labels_to_wire
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
MEDIA_WAIT_S: Final = 3_600.0
# A server that took a task's media says so, or shows the frames, within this time.
MEDIA_LOOK_S: Final = 15.0
# Tasks that may be made anew one after the other because each lost its media.
TASK_TRIES_MAX: Final = 5
DELETE_TRIES_MAX: Final = 3
HOOK_EVENTS: Final = frozenset({
    "create:job", "update:job", "delete:job", "create:task", "update:task", "delete:task",
    "update:project", "delete:project", "create:issue", "update:issue", "delete:issue",
    "create:comment", "update:comment", "delete:comment",
})  # fmt: skip

Answer = TypeVar("Answer")
Progress = Callable[[str, int, int], None]
"""Called with (what, done, of how many)."""


class ProjectUnfit(SyncError):
    """A project of the wanted name exists several times, or lacks what the run needs."""


class CleanedUp(SyncError):
    """The run's tasks were deleted from the server, or are about to be."""


class MediaLost(SyncError):
    """Tasks were made one after the other, and none got its media."""


@dataclass(frozen=True)
class Hook:
    """Where a server's webhooks go, and what they are signed with."""

    target_url: str
    secret: str


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
            await self._link_project(run)
            run = await self._run(dataset, key)
        tasks = await self._ask(lambda tables: list(tables.scan(runs.RUN_TASKS, dataset, key)))
        for task in tasks:
            self.progress("tasks", task.index, len(tasks))
            await self._complete_task(run, task)
        await self._record(run, RunOpened())
        self.progress("tasks", len(tasks), len(tasks))
        return await self._run(dataset, key)

    # The project

    async def _link_project(self, run: runs.RunRow) -> None:
        name = run.request.project or f"{run.dataset} {run.key} {run.nonce}"
        found = [row async for row in self.cvat.projects(name=name)]
        if len(found) > 1:
            raise ProjectUnfit(
                "several projects have this name",
                name=name,
                projects=[row["id"] for row in found],
                hint="no task was made; rename one of them or choose another name",
            )
        created = not found
        if found:
            project = found[0]["id"]
            await self._add_labels(run, project)
        else:
            project = await self._create_project(run, name)
        webhook = await install_hook(self.cvat, project, self.hook) if self.hook else None
        linked = ProjectLinked(
            project=project,
            name=name,
            created=created or run.request.project is None,
            webhook=webhook,
        )
        await self._record(run, linked)

    async def _create_project(self, run: runs.RunRow, name: str) -> int:
        try:
            spec = {"name": name, "labels": labels_to_wire(run.labels)}
            return int((await self.cvat.create_project(spec))["id"])
        except OutcomeUnknown:
            found = [row["id"] async for row in self.cvat.projects(name=name)]
            if not found:
                raise
            return int(found[0])

    async def _add_labels(self, run: runs.RunRow, project: int) -> None:
        """Add to an existing project the labels and attributes of the run that it lacks."""
        held = {row["name"]: row for row in await self.cvat.project_labels(project)}
        changes: list[dict[str, Any]] = []
        for spec in labels_to_wire(run.labels):
            label = held.get(spec["name"])
            if label is None:
                changes.append(spec)
                continue
            names = {attribute["name"] for attribute in label.get("attributes") or ()}
            missing = [one for one in spec["attributes"] if one["name"] not in names]
            if missing:
                changes.append({"id": label["id"], "attributes": missing})
        if changes:
            await self.cvat.patch_project(project, {"labels": changes})

    # One task

    async def _complete_task(self, run: runs.RunRow, task: runs.RunTaskRow) -> None:
        for _ in range(TASK_TRIES_MAX):
            if task.jobs and task.task is not None:
                await self._fill_jobs(run, [span.job for span in task.jobs])
                await self._drop_twins(task.nonce, task.task)
                await self._set_subset(task.task)
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
        if task.task is not None and not await self._has_media(task):
            # It takes data once only, and a half upload cannot be told from none.
            await gone(self.cvat, task.task)
            task = await self._intend(run, task)
        elif not task.nonce:
            task = await self._intend(run, task)
        number = task.task
        if number is None:
            number = await self._create_task(run, task, task.nonce)
            files = await self._files(run.dataset, task.samples)
            # Where the answer is lost, the task itself tells next time what it got.
            with suppress(OutcomeUnknown):
                request = await self.cvat.upload_media(
                    number, files, image_quality=run.request.image_quality
                )
                await self._record_media(run, task, number, request)
        else:
            await self._record_media(run, task, number, None)
        return await self._ask(partial(_run_task, key=(run.dataset, run.key, task.index)))

    async def _intend(self, run: runs.RunRow, task: runs.RunTaskRow) -> runs.RunTaskRow:
        nonce = next_nonce(run, task)
        await self._record(run, TaskCreationIntended(index=task.index, nonce=nonce))
        return msgspec.structs.replace(task, nonce=nonce, task=None)

    async def _has_media(self, task: runs.RunTaskRow) -> bool:
        """Look whether a task that was left somewhere got its media, or is about to.

        "Finished" is said of a task that never got any, so a while without frames decides.
        """
        assert task.task is not None
        try:
            await self.cvat.await_task_data(
                task.task, size=len(task.samples), timeout_s=MEDIA_LOOK_S
            )
        except MediaLate as exc:
            return exc.facts.get("state") in ("queued", "started")
        except (MediaFailed, NotFound):
            return False
        return True

    async def _drop_twins(self, nonce: str, task: int) -> None:
        """Delete what a request made that was given up for lost, and was carried out later."""
        async for row in self.cvat.tasks(subset=nonce):
            if row["id"] != task:
                await gone(self.cvat, row["id"])

    async def _set_subset(self, task: int) -> None:
        """Take the nonce off a complete task; twice is as once."""
        try:
            await self.cvat.patch_task(task, {"subset": ""})
        except OutcomeUnknown:
            await self.cvat.patch_task(task, {"subset": ""})

    async def _create_task(self, run: runs.RunRow, task: runs.RunTaskRow, nonce: str) -> int:
        """Make the task, or find the one that a request without an answer made."""
        found = [row async for row in self.cvat.tasks(subset=nonce)]
        if not found:
            try:
                found = [await self.cvat.create_task(self._task_spec(run, task, nonce))]
            except OutcomeUnknown:
                found = [row async for row in self.cvat.tasks(subset=nonce)]
                if not found:
                    raise
        created = TaskCreated(
            index=task.index, task=found[0]["id"], created_date=found[0].get("created_date", "")
        )
        await self._record(run, created)
        return created.task

    def _task_spec(self, run: runs.RunRow, task: runs.RunTaskRow, nonce: str) -> dict[str, Any]:
        spec: dict[str, Any] = {"name": task.name, "subset": nonce, "overlap": 0}
        if run.request.segment_size:
            spec["segment_size"] = run.request.segment_size
        if run.project is None:
            return spec | {"labels": labels_to_wire(run.labels)}
        return spec | {"project_id": run.project}

    async def _record_media(
        self, run: runs.RunRow, task: runs.RunTaskRow, number: int, request: str | None
    ) -> None:
        await self.cvat.await_task_data(
            number, size=len(task.samples), timeout_s=MEDIA_WAIT_S, request=request
        )
        meta = await self.cvat.task_meta(number)
        frames = tuple(
            Frame(sample=sample, name=row["name"], width_px=row["width"], height_px=row["height"])
            for sample, row in zip(task.samples, meta["frames"], strict=True)
        )
        jobs = tuple(
            sorted(
                [
                    JobRange(
                        job=row["id"],
                        start_frame=row["start_frame"],
                        stop_frame=row["stop_frame"],
                    )
                    async for row in self.cvat.jobs(task=number)
                ],
                key=lambda span: span.start_frame,
            )
        )
        uploaded = MediaUploaded(index=task.index, task=number, frames=frames, jobs=jobs)
        await self._record(run, uploaded)

    async def _files(self, dataset: str, samples: Sequence[str]) -> list[tuple[str, Path]]:
        def documents(tables: Tables) -> list[Mapping[str, Any]]:
            rows = [tables.get(SAMPLES, dataset, sample) for sample in samples]
            return [row.document for row in rows if row is not None]

        paths = [self.media(document) for document in await self._ask(documents)]
        return list(zip(plain_names(paths), paths, strict=True))

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


def next_nonce(run: runs.RunRow, task: runs.RunTaskRow) -> str:
    """Return a nonce for the task that no task of the run had."""
    first = f"lt-{run.nonce}-{task.index}"
    if not task.nonce:
        return first
    tries = task.nonce.removeprefix(first).lstrip("-")
    return f"{first}-{int(tries or 1) + 1}"


async def gone(cvat: CvatApi, task: int) -> None:
    """Delete a task; one that is not there is gone as well."""
    for left in reversed(range(DELETE_TRIES_MAX)):
        try:
            await cvat.delete_task(task)
        except NotFound:
            return
        except OutcomeUnknown:
            if not left:
                raise
        else:
            return


def _run_task(tables: Tables, *, key: tuple[str, str, int]) -> runs.RunTaskRow:
    row = tables.get(runs.RUN_TASKS, *key)
    assert row is not None, f"no task {key}"
    return row


def _run_job(tables: Tables, *, key: tuple[str, int]) -> runs.RunJobRow | None:
    return tables.get(runs.RUN_JOBS, *key)


async def install_hook(cvat: CvatApi, project: int, hook: Hook) -> int:
    """Return the project's webhook that reaches us, made where there is none yet."""
    if (known := await _installed(cvat, project, hook)) is not None:
        await cvat.patch_webhook(known, {"secret": hook.secret, "is_active": True})
        return known
    offered = await cvat.webhook_events("project")
    spec = {
        "target_url": hook.target_url,
        "description": "labeltrail",
        "type": "project",
        "project_id": project,
        "content_type": "application/json",
        "secret": hook.secret,
        "enable_ssl": hook.target_url.startswith("https://"),
        "is_active": True,
        "events": sorted(HOOK_EVENTS & offered),
    }
    try:
        return int((await cvat.create_webhook(spec))["id"])
    except OutcomeUnknown:
        if (made := await _installed(cvat, project, hook)) is None:
            raise
        return made


async def _installed(cvat: CvatApi, project: int, hook: Hook) -> int | None:
    async for row in cvat.webhooks(project=project):
        if row.get("target_url") == hook.target_url:
            return int(row["id"])
    return None


def plain_names(paths: Sequence[Path]) -> list[str]:
    """Return the file names that CVAT shows: base names, a repeated one with a number."""
    taken: set[str] = set()
    names = []
    for path in paths:
        candidates = (f"{path.stem}-{nth}{path.suffix}" for nth in count(2))
        name = next(name for name in chain([path.name], candidates) if name not in taken)
        taken.add(name)
        names.append(name)
    return names
