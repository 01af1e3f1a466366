"""The appending half of a scan: from a spooled reading to events, in bounded batches."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from daemon.clock import Clock
from daemon.manifests.fiftyone import Metadata
from daemon.manifests.reading import Reading
from daemon.manifests.source import Source
from daemon.manifests.spool import Changed, Spool
from daemon.ports.projections import Projections
from daemon.ports.store import EventStore, WrongVersion
from events.dataset import (
    DatasetLabelsChanged,
    Document,
    ManifestAcknowledged,
    ManifestRejected,
    ManifestScanned,
    SamplesAdded,
    SamplesChanged,
    SamplesRemoved,
    ScanConflictRaised,
)
from events.envelope import Evidence, NewEvent
from events.registry import Fact
from projections import scan_batch
from projections.datasets import dataset_stream
from projections.scan_batch import Batch
from projections.tables import Tables

BATCH_SAMPLES: Final = 500
BATCH_BYTES: Final = 1 << 18
# A run that is being worked on may move its stream between a decision and its append.
TRIES: Final = 5

Decide = Callable[[Tables], Batch]


@dataclass(frozen=True, kw_only=True)
class Appender:
    """Where the events of one scan go; on a dry run, nowhere.

    written_at  when the manifest was written, µs UTC, as its files say
    work        the id that joins the scan's events
    """

    source: Source
    store: EventStore
    projections: Projections
    clock: Clock
    dry_run: bool
    actor: str | None
    work: bytes
    written_at: int | None = None

    async def take(
        self, spool: Spool, metadata: Metadata, reading: Reading, *, base_at: int | None
    ) -> Counter[str]:
        """Append what changed, and at last that the scan was taken; return how much it was.

        base_at  the position whose state the manifest is compared with; None: its last scan
        Raises WrongVersion.
        """
        dataset, scan = self.source.dataset, reading.digest
        opening = partial(
            scan_batch.decide_opening,
            dataset=dataset,
            format=self.source.format,
            metadata=metadata.document,
        )
        totals = await self._append(opening)
        changed = batches(spool.changed())
        while batch := await asyncio.to_thread(next, changed, None):
            samples = [(one.sample, one.document) for one in batch]
            bases = await self._bases([one.sample for one in batch], base_at)
            totals += await self._append(
                partial(
                    scan_batch.decide_samples,
                    dataset=dataset,
                    samples=samples,
                    bases=bases,
                    scan=scan,
                )
            )
        gone = spool.gone()
        while ids := list(islice(gone, BATCH_SAMPLES)):
            bases = await self._bases(ids, base_at)
            totals += await self._append(
                partial(
                    scan_batch.decide_removals, dataset=dataset, samples=ids, bases=bases, scan=scan
                )
            )
        await self._append_whole(_scanned(self.source, metadata, reading, totals))
        return totals

    async def acknowledge(self, digest: str) -> None:
        """Record that a person accepts what this manifest removes."""
        fact = ManifestAcknowledged(manifest=str(self.source.manifest), digest=digest)
        await self._append_whole(fact, evidence="command")

    async def reject(self, reason: str, *, digest: str = "", removed: int = 0) -> None:
        """Record why the manifest is not taken."""
        manifest = str(self.source.manifest)
        await self._append_whole(
            ManifestRejected(manifest=manifest, reason=reason, digest=digest, removed=removed)
        )

    async def _bases(self, samples: list[str], at: int | None) -> dict[str, Document] | None:
        if at is None:
            return None
        question = partial(scan_batch.documents, dataset=self.source.dataset, samples=samples)
        return await self.projections.ask(question, at=at)

    async def _append_whole(self, fact: Fact, *, evidence: Evidence = "manifest") -> None:
        decide = partial(scan_batch.decide_whole, dataset=self.source.dataset, facts=[fact])
        await self._append(decide, evidence=evidence)

    async def _append(self, decide: Decide, *, evidence: Evidence = "manifest") -> Counter[str]:
        """Load, decide, append; anew when a stream moved in between."""
        for tries_left in reversed(range(TRIES)):
            batch = await self.projections.ask(decide)
            facts = batch.facts()
            if self.dry_run or not facts:
                break
            try:
                events = [self._event(fact, evidence) for fact in facts]
                await self.store.append(events, expects=batch.versions)
                break
            except WrongVersion:
                if not tries_left:
                    raise
        return tally(facts)

    def _event(self, fact: Fact, evidence: Evidence) -> NewEvent:
        return NewEvent(
            id=self.clock.new_id(),
            stream=dataset_stream(self.source.dataset),
            fact=fact,
            occurred_at=self.written_at if evidence == "manifest" else None,
            actor=self.actor if evidence == "command" else None,
            evidence=evidence,
            correlation=self.work,
        )


def tally(facts: list[Fact]) -> Counter[str]:
    """Count what facts of a scan do."""
    counts = Counter[str]()
    for fact in facts:
        match fact:
            case SamplesAdded(samples=samples):
                counts["added"] += len(samples)
            case SamplesChanged(changes=changes):
                counts["changed"] += len(changes)
            case SamplesRemoved(samples=samples):
                counts["removed"] += len(samples)
            case DatasetLabelsChanged(changes=labels):
                counts["labels"] += len(labels)
            case ScanConflictRaised(conflicts=conflicts):
                counts["conflicts"] += len(conflicts)
            case _:
                pass  # what is about the manifest as a whole, or only moves the base
    return counts


def batches(changed: Iterator[Changed]) -> Iterator[list[Changed]]:
    """Gather samples to batches of bounded number and size; a large one stands alone."""
    batch: list[Changed] = []
    size = 0
    for one in changed:
        if batch and (len(batch) >= BATCH_SAMPLES or size + one.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield batch


def _scanned(
    source: Source, metadata: Metadata, reading: Reading, totals: Counter[str]
) -> ManifestScanned:
    return ManifestScanned(
        manifest=str(source.manifest),
        digest=reading.digest,
        samples=reading.samples,
        added=totals["added"],
        changed=totals["changed"],
        removed=totals["removed"],
        conflicts=totals["conflicts"],
        position=metadata.position,
        refused=reading.refused,
        refused_media=reading.refused_media,
    )
