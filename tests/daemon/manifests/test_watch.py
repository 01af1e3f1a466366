"""Watching: a change is heard, also when an export replaces the whole folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from config.settings import Dataset as DatasetSettings
from daemon.clock import SystemClock
from daemon.file_systems import file_system
from daemon.manifests.watch import ManifestWatch
from tests.daemon.manifests.exports import export, image, sample

HEARD_WITHIN_S = 20
NONE_FOR_S = 0.7  # longer than the watch gathers


class Turns:
    """The looks that a watch asks for, counted as they come."""

    def __init__(self, watch: ManifestWatch) -> None:
        self._watch = watch
        self.turned = asyncio.Event()

    async def count(self) -> None:
        async for _ in self._watch:
            self.turned.set()

    async def next(self) -> None:
        async with asyncio.timeout(HEARD_WITHIN_S):
            await self.turned.wait()
        self.turned.clear()

    async def until_none(self) -> None:
        """Let looks pass that come of what happened before."""
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(NONE_FOR_S):
                    await self.turned.wait()
                self.turned.clear()


@asynccontextmanager
async def watching(settings: DatasetSettings) -> AsyncIterator[Turns]:
    async with ManifestWatch("birds", settings, SystemClock()) as watch:
        turns = Turns(watch)
        counting = asyncio.create_task(turns.count())
        yield turns
        watch.stop()
        await counting


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "birds"


async def test_a_folder_that_comes_goes_and_changes_is_heard(folder: Path) -> None:
    """`export(overwrite=True)` deletes the folder that the watch listens to."""
    settings = DatasetSettings(manifest=folder, quiet_s=0.05, rescan_s=3_600.0)

    async with watching(settings) as turns:
        for count in (1, 2):
            await turns.until_none()
            export(folder, [sample(n) for n in range(count)])
            await turns.next()
        await turns.until_none()
        (folder / "metadata.json").touch()
        await turns.next()


async def test_media_do_not_stir_the_watch(folder: Path) -> None:
    """A copy of a million images is no reason to read the manifest a million times."""
    settings = DatasetSettings(manifest=export(folder, [sample(1)]), quiet_s=0.05)

    async with watching(settings) as turns:
        await turns.until_none()
        for number in range(3):
            image(folder / f"{number}.jpg")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(NONE_FOR_S):
                await turns.turned.wait()


async def test_the_timer_finds_what_the_file_system_did_not_tell(tmp_path: Path) -> None:
    """Correctness does not hang on notifications."""
    settings = DatasetSettings(manifest=tmp_path / "none" / "birds", quiet_s=0.01, rescan_s=0.05)

    async with watching(settings) as turns:
        for _ in range(3):
            await turns.next()


async def test_a_watch_ends_when_it_is_told_to(folder: Path) -> None:
    """A service that stops must not wait for a dataset to change."""
    settings = DatasetSettings(manifest=folder, rescan_s=3_600.0)

    async with asyncio.timeout(HEARD_WITHIN_S):
        async with ManifestWatch("birds", settings, SystemClock()) as watch:
            looks = 0
            async for _ in watch:
                looks += 1
                watch.stop()

    assert looks == 1


MOUNTS = """\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 0:35 / /mnt/nas rw - nfs4 nas:/export rw
41 40 0:36 / /mnt/nas/my\\040disk rw - xfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/a", "ext4"),
        ("/mnt/nas/birds", "nfs4"),
        ("/mnt/nas/my disk/birds", "xfs"),
        ("/mnt/nasty", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_deepest_mount(path: str, expected: str) -> None:
    """On NFS the kernel hears nothing of other machines: the watch must poll."""
    assert file_system(Path(path), MOUNTS) == expected
