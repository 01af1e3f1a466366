"""A look at a job: stable or not at all, and trouble with one job is that job's alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.handlers import decoding, observe
from daemon.handlers.observe import JobBusy
from daemon.pool import Pool, Work, WorkFailed
from daemon.ports.cvat import CvatError
from daemon.ports.projections import TablesFile
from daemon.sandbox import RequestFault
from events.job import AnnotationsObserved, JobDeleted, JobReadable, JobUnreachable, JobUnreadable
from events.run import LabelsLinked
from tests.daemon.handlers.playing import change, play, recorded
from tests.fakes.store import Life
from tests.simulation.process import Process
from tests.simulation.world import World

PLACE = [1.0, 2.0, 30.0, 40.0]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures lie."""
    return tmp_path_factory.mktemp("media")


def before_each(process: Process, method: str, act: Callable[[], Awaitable[None]]) -> None:
    """Do something on the server before each call of one method of the client."""
    client: Any = process.watch.cvat
    call = getattr(client, method)

    async def first(*args: Any, **options: Any) -> Any:
        await act()
        return await call(*args, **options)

    setattr(client, method, first)


def test_a_read_that_a_save_falls_into_is_made_again(media: Path) -> None:
    """Else half of it would be of before and half of after."""

    async def scene(world: World, process: Process) -> None:
        [job, *_] = world.jobs()
        times = iter(range(10))

        async def save() -> None:
            if next(times) == 0:
                await change(world, job, points=PLACE)

        before_each(process, "job_annotations", save)
        observed = await process.watch.observe(job)

        assert (observed.outcome, observed.changed) == ("observed", True)
        [_, _, fact] = await recorded(world, AnnotationsObserved)
        assert fact.changed[0].new == {"geometry": PLACE}

    play(media, scene)


def test_a_job_that_is_saved_during_every_read_is_busy_and_nothing_is_recorded(
    media: Path,
) -> None:
    """Its next pause will do."""

    async def scene(world: World, process: Process) -> None:
        [job, *_] = world.jobs()
        places = iter(range(100))

        async def save() -> None:
            await change(world, job, points=[float(next(places)), 2.0, 300.0, 200.0])

        before_each(process, "job_annotations", save)
        before = await world.disk.head()

        assert (await process.watch.observe(job)).outcome == "busy"
        assert await world.disk.head() == before
        with pytest.raises(JobBusy):
            await process.watch.read(job)

    play(media, scene)


def test_a_schema_that_moves_between_two_requests_and_moves_no_date_is_read_again(
    media: Path,
) -> None:
    """A task that moves into a project gets other label ids, and its job's date stays."""

    async def scene(world: World, process: Process) -> None:
        [job, *_] = world.jobs()
        client: Any = process.watch.cvat
        call, times = client.job_labels, iter(range(10))

        async def labels(number: int) -> Any:
            rows = await call(number)
            return rows if next(times) else [{**row, "id": row["id"] + 900} for row in rows]

        client.job_labels = labels

        assert (await process.watch.read(job)).annotations

    play(media, scene)


def test_a_deleted_job_is_told_once_and_no_label_goes(media: Path) -> None:
    """404 by its own URL while we are known to the server."""

    async def scene(world: World, process: Process) -> None:
        [job, *_] = world.jobs()
        task = world.sandbox.state.jobs[job].task
        await world.ask("admin", "DELETE", f"/api/tasks/{task}")

        first = await process.watch.observe(job)
        again = await process.watch.observe(job)

        assert [(seen.outcome, seen.changed) for seen in (first, again)] == [
            ("deleted", True),
            ("deleted", False),
        ]
        assert len(await recorded(world, JobDeleted)) == 1
        assert not await process.watch.settle(job)

    play(media, scene)


@pytest.mark.parametrize("status", [401, 403])
def test_a_job_that_we_may_not_see_is_unreachable_until_we_may(media: Path, status: int) -> None:
    """It may exist: nothing is called deleted."""

    async def scene(world: World, process: Process) -> None:
        [job, *_] = world.jobs()
        path = f"/api/jobs/{job}"
        world.faults.requests = [RequestFault("before", "GET", path, times=2, status=status)]

        first = await process.watch.observe(job)
        world.faults.requests = []
        second = await process.watch.observe(job)

        assert (first.outcome, second.outcome) == ("unreachable", "observed")
        assert [fact.status for fact in await recorded(world, JobUnreachable)] == [status]
        assert len(await recorded(world, JobReadable)) == 1

    play(media, scene)


def test_a_poisoned_job_is_unreadable_and_holds_up_no_other(media: Path) -> None:
    """1e400 is stored, and every GET of the job is 500 from then on."""

    async def scene(world: World, process: Process) -> None:
        first, second = world.jobs()
        path = f"/api/jobs/{first}/annotations"
        world.faults.requests = [RequestFault("before", "GET", path, times=99, status=500)]

        poisoned = await process.watch.observe(first)

        assert poisoned.outcome == "unreadable"
        assert (await process.watch.observe(second)).outcome == "observed"
        assert [fact.status for fact in await recorded(world, JobUnreadable)] == [500]

    play(media, scene)


def test_a_server_in_trouble_is_not_a_job_in_trouble(media: Path) -> None:
    """Everything fails: the caller waits, and nothing is said of the job."""

    async def scene(world: World, process: Process) -> None:
        [job, *_] = world.jobs()
        world.faults.requests = [RequestFault("before", times=999, status=502)]

        with pytest.raises(CvatError):
            await process.watch.observe(job)

        assert await recorded(world, JobUnreadable) == []

    play(media, scene)


def test_a_job_settles_only_when_the_server_still_shows_what_was_observed(media: Path) -> None:
    """A create may still be on its way."""

    async def scene(world: World, process: Process) -> None:
        [job, *_] = world.jobs()
        await change(world, job, points=PLACE)
        await process.watch.observe(job)
        await change(world, job, points=[*PLACE[:3], 50.0])

        assert not await process.watch.settle(job)
        assert await process.watch.settle(job)
        assert await process.watch.settle(job)
        assert not await process.watch.settle(999)

    play(media, scene)


def test_a_job_that_was_saved_a_moment_ago_is_not_quiet_whoever_saw_it(media: Path) -> None:
    """Two wait on one job; a look by one must not cut short what the other waited for."""

    async def scene(world: World, process: Process) -> None:
        [job, *_] = world.jobs()
        await change(world, job, points=PLACE)
        await process.watch.observe(job)
        await world.clock.sleep(9.0)
        await change(world, job, points=[*PLACE[:3], 50.0])
        await process.watch.observe(job)
        await world.clock.sleep(1.0)

        assert not await process.watch.settle(job, quiet_s=10.0)
        await world.clock.sleep(9.0)
        assert await process.watch.settle(job, quiet_s=10.0)

    play(media, scene)


def test_annotations_are_known_again_before_others_take_their_place(media: Path) -> None:
    """The process died between a look and what it means; ids were renewed before and after."""

    async def scene(world: World, process: Process) -> None:
        [job, *_] = world.jobs()
        for user in ("bob", "carol"):
            held = await world.ask(user, "GET", f"/api/jobs/{job}/annotations")
            body = {
                many: [{k: v for k, v in one.items() if k != "id"} for one in held[many]]
                for many in ("tags", "shapes", "tracks")
            }
            await world.ask(user, "PUT", f"/api/jobs/{job}/annotations", "", body)
            await Process(world, Life(), latency=False).watch.observe(job)

        await process.watch.settle(job)

        links = await recorded(world, LabelsLinked)
        assert len(links) == 2
        assert {link.method for fact in links for link in fact.links} == {"label_id"}
        assert (await process.watch.merge(job)).drafts == []

    play(media, scene)


class Here(Pool):
    """Does the work here and now: another process would not live in a simulated time."""

    ran = 0

    async def run(self, work: Work, *parts: bytes, **_: Any) -> list[bytes]:
        self.ran += 1
        return list(work(parts))


def test_large_bodies_are_decoded_in_the_pool(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop answers webhooks meanwhile; what is read is the same."""

    async def scene(world: World, process: Process) -> None:
        inline = await process.watch.read(world.jobs()[0])
        assert inline.annotations
        monkeypatch.setattr(decoding, "INLINE_BYTES_MAX", 1)
        pool = Here()

        pooled = await dataclasses.replace(process.watch, pool=pool).read(world.jobs()[0])

        assert pool.ran == 1
        assert pooled == inline

    play(media, scene)


def test_a_job_whose_body_no_process_can_decode_is_unreadable(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last good state stands, and it holds up no other job."""

    class Stuck(Pool):
        async def run(self, work: Work, *parts: bytes, **_: Any) -> list[bytes]:
            raise WorkFailed("a process of the pool did not end its work", tries=2)

    async def file() -> TablesFile:
        return TablesFile(media / "projections.db", 1)

    async def scene(world: World, process: Process) -> None:
        job = world.jobs()[0]
        assert (await process.watch.observe(job)).outcome == "observed"
        monkeypatch.setattr(observe, "INLINE_BYTES_MAX", 1)
        monkeypatch.setattr(process.projections, "file", file)

        seen = await dataclasses.replace(process.watch, pool=Stuck()).observe(job)

        assert seen.outcome == "unreadable"
        assert seen.changed

    play(media, scene)
