"""A dataset, its log and its projections, for tests of scans and exports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from config.settings import Dataset as DatasetSettings
from daemon.clock import SystemClock
from daemon.handlers.scan import ScanReport, scan
from daemon.pool import Pool
from daemon.projector import MemoryProjections
from daemon.store.memory import MemoryStore
from events.envelope import NewEvent
from events.registry import Fact, name_of
from events.run import LabelEdit, LabelsMerged
from projections.datasets import DATASETS_FOLD
from projections.documents import content, digest
from projections.label_fields import LABEL_FIELDS_FOLD
from projections.restored import RESTORED_FOLD
from projections.scan_batch import documents
from projections.streams import STREAMS_FOLD
from tests.daemon.manifests.exports import oid

FOLDS = (DATASETS_FOLD, LABEL_FIELDS_FOLD, STREAMS_FOLD, RESTORED_FOLD)


class World:
    """A log and one dataset, `birds`, whose manifest lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.pool = Pool()
        self.store = MemoryStore(self.clock)
        self.projections = MemoryProjections(self.store, FOLDS)
        self.settings = DatasetSettings(manifest=folder)

    async def scan(self, **options: Any) -> ScanReport:
        settings = self.settings.model_copy(update=options.pop("settings", {}))
        return await scan(
            "birds",
            settings,
            store=self.store,
            projections=self.projections,
            clock=self.clock,
            pool=self.pool,
            **options,
        )

    def facts(self, after: int = 0) -> list[Fact]:
        reader = self.store.reader()
        return [reader.fact(row) for row in reader.read(after=after)]

    def names(self, after: int = 0) -> list[str]:
        return [name_of(fact) for fact in self.facts(after)]

    async def head(self) -> int:
        return await self.store.head()

    async def sample(self, number: int, *, at: int | None = None) -> Any:
        """The whole sample as the dataset has it now."""
        found = await self.projections.ask(
            lambda tables: documents(tables, "birds", [oid(number)]), at=at
        )
        return found.get(oid(number))

    async def merge(self, *edits: LabelEdit) -> None:
        """Let a run's edits be merged."""
        await self.append("run/birds/first", LabelsMerged(job=1, edits=edits))

    async def append(self, stream: str, *facts: Fact) -> None:
        events = [NewEvent(id=self.clock.new_id(), stream=stream, fact=fact) for fact in facts]
        await self.store.append(events)


def relabelled(sample: int, label: int, old: str, new: str) -> LabelEdit:
    return LabelEdit(
        sample=oid(sample),
        field="gt",
        label=oid(label),
        operation="changed",
        old={"label": old},
        new={"label": new},
    )


def same(one: Any, other: Any) -> bool:
    """Tell whether two samples have the same content."""
    return digest(content(one)) == digest(content(other))


@asynccontextmanager
async def world_of(folder: Path) -> AsyncIterator[World]:
    world = World(folder)
    yield world
    await world.projections.close()
    await world.store.close()
