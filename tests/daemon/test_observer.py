"""The observer: hints become few reads, quiet jobs settle, and no webhook is needed to be right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from daemon.ports.cvat import ServerUnreachable, waited_s
from daemon.ports.store import DiskFull, QueueFull, WrongVersion
from daemon.sandbox import RequestFault
from events.errors import SyncError
from events.job import AnnotationsObserved, JobSettled
from events.registry import Fact
from events.run import LabelsMerged
from events.server import SweepCompleted
from tests.fakes.clock import run_virtual
from tests.fakes.store import Life
from tests.simulation.process import Process
from tests.simulation.world import World

VERSIONS_MOVE = WrongVersion(stream="job/main/1", version_expected=1, version_actual=2)

Scene = Callable[[World, Process], Awaitable[None]]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures lie."""
    return tmp_path_factory.mktemp("media")


def play(
    media: Path, scene: Scene, *, policy: Any = "on-save", deaf: bool = False
) -> list[tuple[float, str, Fact]]:
    """Play a scene against an annotated run; return what was recorded in it: when, where, what."""
    world = World(1, media, faulty=False)
    told: list[tuple[float, str, Fact]] = []

    async def run() -> None:
        async with world.sandbox:
            await world.open_dataset(4)
            first = Process(world, Life(), latency=False)
            await first.live(first.annotate(policy), listen=False)
            began_s = world.clock.monotonic_s()
            world.disk.witnesses.append(
                lambda at, fact: told.append((world.clock.monotonic_s() - began_s, at.stream, fact))
            )
            process = Process(world, Life(), latency=False)
            await process.live(act(world, process))

    async def act(world: World, process: Process) -> None:
        if deaf:
            world.receive = None
        await scene(world, process)

    run_virtual(world.clock, run)
    return told


async def move(world: World, by_px: float = 5.0, user: str = "bob") -> None:
    """Save one moved box."""
    job = world.jobs()[0]
    held = await world.ask(user, "GET", f"/api/jobs/{job}/annotations")
    shape = sorted(held["shapes"], key=lambda one: one["id"])[0]
    shape["points"][0] += by_px
    body = {"tags": [], "shapes": [shape], "tracks": []}
    await world.annotate(user, job, "PATCH", "update", body)


def times(told: list[tuple[float, str, Fact]], kind: type[Fact]) -> list[float]:
    return [round(when, 1) for when, _, fact in told if isinstance(fact, kind)]


def test_a_save_is_read_after_a_moment_settles_when_it_is_quiet_and_comes_home(
    media: Path,
) -> None:
    """A second of debounce, ten of quiet."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        await move(world)
        await world.clock.sleep(20)

    told = play(media, scene)

    assert times(told, AnnotationsObserved) == [101.0]
    assert times(told, JobSettled)[-1] == 111.0
    assert times(told, LabelsMerged) == [111.0]


def test_many_hints_cost_few_reads_and_a_job_saved_without_pause_is_read_all_the_same(
    media: Path,
) -> None:
    """Twenty seconds of saving twice a second: two looks or three, not forty."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        for _ in range(40):
            await move(world)
            await world.clock.sleep(0.5)
        await world.clock.sleep(30)

    told = play(media, scene)

    assert 2 <= len(times(told, AnnotationsObserved)) <= 4
    assert len(times(told, LabelsMerged)) == 1


def waits_between_reads(
    media: Path, saves: int, before: Callable[[World, int], Awaitable[None]]
) -> list[float]:
    """Return the seconds between the reads of a job that is saved without a pause.

    before  is called with the number of each read, and may take its time
    """
    began: list[float] = []

    async def scene(world: World, process: Process) -> None:
        observe = process.watch.observe

        async def read(job: int) -> Any:
            began.append(world.clock.monotonic_s())
            await before(world, len(began) - 1)
            return await observe(job)

        await world.clock.sleep(100)
        process.watch.__dict__["observe"] = read
        for _ in range(saves):
            await move(world)
            await world.clock.sleep(1.5)

    play(media, scene)
    return [after - before for before, after in pairwise(began)]


@pytest.mark.parametrize("slow", [range(1_000), range(1), range(2, 3)])
def test_a_job_that_is_slow_to_read_is_read_seldom_and_one_slow_read_is_paid_in_two_parts(
    media: Path, slow: range
) -> None:
    """Reading takes at most a tenth of the time; the network has bad moments, too."""

    async def slowly(world: World, read: int) -> None:
        if read in slow:
            await world.clock.sleep(3.0)

    waits = waits_between_reads(media, 60, slowly)

    if len(slow) > 1:
        assert waits[0] >= 15
        assert len(waits) >= 2
        assert min(waits[1:]) >= 30
    else:
        assert len(waits) >= 5
        assert [wait for wait in waits if wait >= 15] == waits[slow[0] : slow[0] + 2]
        assert max(waits) < 25


def test_what_a_read_waited_to_be_tried_again_is_not_paid_for(media: Path) -> None:
    """The server did nothing meanwhile."""

    async def again(world: World, read: int) -> None:
        await world.clock.sleep(3.0)
        waited_s.set(waited_s.get() + 3.0)

    waits = waits_between_reads(media, 20, again)

    assert len(waits) >= 4
    assert max(waits) < 15


def test_nothing_settles_within_a_save(media: Path) -> None:
    """Its three requests are up to five seconds apart."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        for _ in range(5):
            await move(world)
            await world.clock.sleep(9)
        await world.clock.sleep(30)

    told = play(media, scene)

    assert len(times(told, AnnotationsObserved)) == 5
    assert len([when for when in times(told, JobSettled) if when > 100]) == 1


def test_without_any_webhook_the_poll_finds_what_changed(media: Path) -> None:
    """Correctness never depends on a webhook."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        await move(world)
        await world.clock.sleep(60)

    told = play(media, scene, deaf=True)

    assert len(times(told, AnnotationsObserved)) == 1
    assert len(times(told, LabelsMerged)) == 1


def test_a_poll_that_fails_is_made_again_soon(media: Path) -> None:
    """Where deliveries are lost too, a whole poll later is late."""
    polled: list[float] = []

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        observer = process.observer
        poll, began_s = observer.poll, world.clock.monotonic_s()

        async def failing(cursor: str) -> str:
            polled.append(round(world.clock.monotonic_s() - began_s, 1))
            if len(polled) in (2, 3, 4):
                raise ServerUnreachable("no answer")
            return await poll(cursor)

        observer.__dict__["poll"] = failing
        await world.clock.sleep(120)

    play(media, scene)

    waits = [round(after - before, 1) for before, after in pairwise(polled)]
    assert waits[:5] == [30.0, 1.0, 2.0, 4.0, 30.0]


def test_a_save_while_the_last_look_is_being_settled_is_not_missed(media: Path) -> None:
    """Its hint comes when the job's task is about to end."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        await move(world)
        settle = process.watch.settle

        async def slowly(job: int, **quiet: float) -> bool:
            settled = await settle(job, **quiet)
            process.watch.__dict__.pop("settle", None)
            await move(world, 7.0)
            await world.clock.sleep(0.5)
            return settled

        process.watch.__dict__["settle"] = slowly
        await world.clock.sleep(13.5)

    told = play(media, scene)

    assert len(times(told, AnnotationsObserved)) == 2


def test_a_server_that_is_down_is_waited_for_and_nothing_is_lost(media: Path) -> None:
    """Each request is tried again, with longer and longer pauses."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        fault = RequestFault("before", "GET", times=60, status=503)
        await move(world)
        world.faults.requests.append(fault)
        await world.clock.sleep(400)

    told = play(media, scene)

    assert len(times(told, AnnotationsObserved)) == 1
    assert len(times(told, LabelsMerged)) == 1


@pytest.mark.parametrize("exc", [QueueFull("full"), DiskFull("no room"), VERSIONS_MOVE])
def test_a_log_that_takes_nothing_now_is_waited_for(media: Path, exc: SyncError) -> None:
    """A flood of deliveries fills the queue for a second; it ended the daemon."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        append, left = process.store.append, 40

        async def refusing(*asked: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left > 0:
                raise exc
            return await append(*asked, **options)

        process.store.__dict__["append"] = refusing
        await move(world)
        await world.clock.sleep(3_000)

    told = play(media, scene)

    assert len(times(told, AnnotationsObserved)) == 1
    assert len(times(told, LabelsMerged)) == 1


def test_all_jobs_are_compared_at_start_and_now_and_then(media: Path) -> None:
    """What moved no date is found by the sweep."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(700)

    told = play(media, scene)

    assert len(times(told, SweepCompleted)) == 3
    assert {fact.jobs for _, _, fact in told if isinstance(fact, SweepCompleted)} == {2}


def test_a_run_that_is_loaded_by_hand_is_recorded_and_not_merged(media: Path) -> None:
    """Policy `manual`."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        await move(world)
        await world.clock.sleep(60)

    told = play(media, scene, policy="manual")

    assert len(times(told, AnnotationsObserved)) == 1
    assert times(told, LabelsMerged) == []


def test_a_completed_job_comes_home_though_its_annotations_did_not_change(media: Path) -> None:
    """Policy `on-job-completed`: the annotator is done long after the last save."""

    async def scene(world: World, process: Process) -> None:
        await world.clock.sleep(100)
        await move(world)
        await world.clock.sleep(100)
        job = world.jobs()[0]
        await world.ask("bob", "PATCH", f"/api/jobs/{job}", "", {"state": "completed"})
        await world.clock.sleep(60)

    told = play(media, scene, policy="on-job-completed")

    assert len(times(told, LabelsMerged)) == 1
    assert times(told, LabelsMerged)[0] > 200


def test_a_hint_before_the_observer_runs_is_kept(media: Path) -> None:
    """Deliveries arrive as soon as the port is open."""

    async def scene(world: World, process: Process) -> None:
        await process.observer.idle()

    world_process: list[Process] = []

    async def early(world: World, process: Process) -> None:
        fresh = Process(world, Life(), latency=False)
        fresh.observer.hint(world.jobs()[0])
        world_process.append(fresh)
        watching = asyncio.create_task(fresh.observer.run())
        await world.clock.sleep(5)
        await fresh.observer.idle()
        watching.cancel()

    assert play(media, scene) is not None
    assert play(media, early) is not None
    assert world_process


def test_a_hint_after_the_observer_was_stopped_harms_nobody(media: Path) -> None:
    """Deliveries arrive until the port is closed, which is later."""

    async def late(world: World, process: Process) -> None:
        fresh = Process(world, Life(), latency=False)
        watching = asyncio.create_task(fresh.observer.run())
        await world.clock.sleep(5)
        await fresh.observer.idle()
        watching.cancel()
        await asyncio.wait({watching})

        fresh.observer.hint(world.jobs()[0])
        await fresh.observer.idle()

    assert play(media, late) is not None
