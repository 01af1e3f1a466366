"""Following a manifest: what changes on disk arrives in the log without anybody asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from config.settings import Dataset as DatasetSettings
from daemon.handlers.follow_manifest import follow_manifest
from daemon.handlers.scan import Outcome, ScanReport
from tests.daemon.handlers.scanning import World, world_of
from tests.daemon.manifests.exports import WRITTEN_AT_S, export, sample

HEARD_WITHIN_S = 20


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path / "birds") as world:
        world.settings = DatasetSettings(manifest=tmp_path / "birds", quiet_s=0.05, rescan_s=0.3)
        yield world


class Reports:
    """What the follower told."""

    def __init__(self) -> None:
        self.all: list[ScanReport] = []
        self._told = asyncio.Condition()
        self._notes: set[asyncio.Task[None]] = set()

    def __call__(self, report: ScanReport) -> None:
        self.all.append(report)
        self._notes.add(asyncio.create_task(self._note()))

    async def _note(self) -> None:
        async with self._told:
            self._told.notify_all()

    async def until(self, outcome: Outcome, times: int = 1) -> None:
        async with asyncio.timeout(HEARD_WITHIN_S), self._told:
            await self._told.wait_for(
                lambda: [one.outcome for one in self.all].count(outcome) >= times
            )


@asynccontextmanager
async def following(world: World, **options: Any) -> AsyncIterator[Reports]:
    reports = Reports()
    task = asyncio.create_task(
        follow_manifest(
            "birds",
            world.settings,
            store=world.store,
            projections=world.projections,
            clock=world.clock,
            pool=world.pool,
            told=reports,
            **options,
        )
    )
    yield reports
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_is_exported_arrives(world: World) -> None:
    """The main job of the watch, from nothing over the first export to the next."""
    async with following(world) as reports:
        await reports.until("rejected")  # there is no manifest yet
        export(world.settings.manifest, [sample(1)])
        await reports.until("taken")
        export(world.settings.manifest, [sample(1), sample(2)], at_s=WRITTEN_AT_S + 1)
        await reports.until("taken", times=2)
        await reports.until("unchanged")

    assert world.names() == [
        "ManifestRejected",
        "DatasetOpened",
        "SamplesAdded",
        "ManifestScanned",
        "SamplesAdded",
        "ManifestScanned",
    ]


async def test_no_room_for_temporary_files_is_told_and_tried_again(
    world: World, tmp_path: Path
) -> None:
    """A full disk must neither end the watch nor look like a broken manifest."""
    export(world.settings.manifest, [sample(1)])

    async with following(world, scratch=tmp_path / "none") as reports:
        await reports.until("failed")
        (tmp_path / "none").mkdir()
        await reports.until("taken")

    assert "temporary" in reports.all[0].reason
    assert "ManifestRejected" not in world.names()
