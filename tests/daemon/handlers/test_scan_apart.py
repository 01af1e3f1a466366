"""A large manifest is read in a process of its own, to the same events."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.handlers import scan, scan_append
from daemon.handlers.scan import ScanReport
from daemon.manifests import reading
from daemon.pool import Pool, Work
from daemon.ports.projections import TablesFile
from daemon.projector import SqliteProjections
from events.dataset import ManifestRejected
from projections.folds import FOLDS
from tests.daemon.handlers.scanning import World, world_of
from tests.daemon.manifests.exports import WRITTEN_AT_S, date, export, label, sample
from tests.fakes import heavy

LATER_S = WRITTEN_AT_S + 60


class Heard(Pool):
    """A pool that counts the work that it does, by module."""

    def __init__(self) -> None:
        super().__init__()
        self.works = Counter[str]()

    async def run(self, work: Work, *parts: bytes, **options: Any) -> list[bytes]:
        self.works[work.__module__] += 1
        return await super().run(work, *parts, **options)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world in which every manifest is large."""
    monkeypatch.setattr(scan, "INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(scan_append, "INLINE_BYTES_MAX", 0)
    async with world_of(tmp_path / "birds") as world:
        await world.projections.close()
        path = tmp_path / "projections.db"
        world.pool = Heard()
        world.projections = await SqliteProjections.open(path, world.store, FOLDS)
        yield world
        await world.pool.close()


def birds(*labels: str) -> list[dict[str, Any]]:
    """Samples with a label each. The last one's file lies outside of the folder."""
    found = [sample(n, label(100 + n, label=name)) for n, name in enumerate(labels, 1)]
    found[-1]["filepath"] = "../elsewhere.jpg"
    return found


async def test_another_process_reads_the_same(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a manifest is read and compared must not show in the log, nor in what is told."""
    monkeypatch.setattr(scan_append, "BATCH_SAMPLES", 2)

    async def told(world: World) -> list[ScanReport]:
        reports = []
        for at_s, labels in ((WRITTEN_AT_S, ("cat",) * 3), (LATER_S, ("dog", "cat") * 3)):
            export(world.settings.manifest, birds(*labels), at_s=at_s)
            report = await world.scan()
            reports.append(msgspec.structs.replace(report, looked_at=None, took_s=0.0))
        return reports

    apart = await told(world)
    for module in (scan, scan_append):
        monkeypatch.setattr(module, "INLINE_BYTES_MAX", 2**20)
    async with world_of(tmp_path / "birds") as other:
        assert apart == await told(other)
        assert [(one.added, one.labels) for one in apart] == [(3, 0), (3, 2)]
        assert world.facts() == other.facts()
    assert world.pool.works == {reading.__name__: 2, scan_append.__name__: 5}


async def test_what_is_wrong_is_told_as_of_a_small_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With file and offset, and once: the same reason again is not recorded again."""
    export(world.settings.manifest, birds("cat"))
    path = world.settings.manifest / "samples.json"
    path.write_bytes(path.read_bytes()[:-20])
    date(world.settings.manifest, WRITTEN_AT_S)
    apart = await world.scan()
    monkeypatch.setattr(scan, "INLINE_BYTES_MAX", 2**20)

    within = await world.scan()

    assert (apart.outcome, apart.reason, apart.hint) == ("rejected", within.reason, within.hint)
    assert "offset" in apart.reason
    assert world.names() == ["ManifestRejected"]


async def test_a_manifest_that_no_process_can_read_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that kills its reader must be seen, and be tried again with the next look."""
    export(world.settings.manifest, birds("cat"))
    work = reading.work
    monkeypatch.setattr(reading, "work", heavy.killed)

    report = await world.scan()

    assert (report.outcome, report.looked_at) == ("rejected", None)
    [fact] = world.facts()
    assert isinstance(fact, ManifestRejected)
    assert "no process could read" in fact.reason
    monkeypatch.setattr(reading, "work", work)
    assert (await world.scan()).outcome == "taken"


@pytest.mark.parametrize(("name", "position"), [("nowhere.db", 0), ("projections.db", 99)])
async def test_tables_that_another_process_cannot_use_are_asked_here(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, position: int
) -> None:
    """Damaged tables, or those of a moment ago, must not keep a manifest out."""

    async def file() -> TablesFile:
        return TablesFile(tmp_path / name, position)

    monkeypatch.setattr(world.projections, "file", file)
    export(world.settings.manifest, birds("cat", "dog"))

    report = await world.scan()

    assert (report.outcome, report.added) == ("taken", 2)
