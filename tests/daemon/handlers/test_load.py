"""Loading a run: read, wait until it is quiet, merge; again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.handlers.load import Load
from daemon.sandbox import RequestFault
from events.run import LabelsMerged
from projections.run_keys import UnknownRun
from tests.daemon.handlers.playing import change, play, recorded
from tests.simulation.process import Process
from tests.simulation.world import World

PLACE = [1.0, 2.0, 30.0, 40.0]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures lie."""
    return tmp_path_factory.mktemp("media")


def test_what_each_job_brought_is_counted_and_loading_again_brings_nothing(media: Path) -> None:
    """The second load is how a person checks the first one."""

    async def scene(world: World, process: Process) -> None:
        first, _ = world.jobs()
        await change(world, first, points=PLACE)

        loaded = await process.load()
        again = await process.load()

        assert [(one.state, one.changed) for one in loaded] == [("merged", 1), ("merged", 0)]
        assert [(one.state, one.changed) for one in again] == [("merged", 0), ("merged", 0)]

    play(media, scene)


def test_a_dry_run_tells_and_changes_no_label(media: Path) -> None:
    """What would come, before it comes."""

    async def scene(world: World, process: Process) -> None:
        await change(world, world.jobs()[0], points=PLACE)
        load = Load(process.watch, world.clock, 10.0)

        told = [one async for one in load.load("d", "k", dry_run=True)]

        assert [one.changed for one in told] == [1, 0]
        assert await recorded(world, LabelsMerged) == []

    play(media, scene)


def test_a_job_in_trouble_is_told_and_the_others_are_loaded(media: Path) -> None:
    """One state a job."""

    async def scene(world: World, process: Process) -> None:
        first, second = world.jobs()
        await change(world, second, points=PLACE)
        path = f"/api/jobs/{first}"
        world.faults.requests = [RequestFault("before", "GET", path, times=99, status=403)]

        loaded = await process.load()

        assert [(one.job, one.state) for one in loaded] == [
            (first, "unreachable"),
            (second, "merged"),
        ]

    play(media, scene)


def test_a_server_that_is_down_is_told_job_by_job(media: Path) -> None:
    """Nothing is merged from what was seen before."""

    async def scene(world: World, process: Process) -> None:
        world.faults.requests = [RequestFault("before", times=999, status=502)]

        loaded = await process.load()

        assert all("failed" in one.state for one in loaded)

    play(media, scene)


def test_a_run_that_nobody_asked_for_is_unknown(media: Path) -> None:
    """With a hint where to look."""

    async def scene(world: World, process: Process) -> None:
        load = Load(process.watch, world.clock, 10.0)

        with pytest.raises(UnknownRun):
            _ = [one async for one in load.load("d", "nobody")]

    play(media, scene)
