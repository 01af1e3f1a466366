"""The appending half of a scan: from a spooled reading to events, in bounded batches."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from daemon.clock import Clock
from daemon.handlers.apart import name_of, named, opened_as, received, sent
from daemon.manifests.fiftyone import Metadata
from daemon.manifests.reading import Reading
from daemon.manifests.source import Source
from daemon.manifests.spool import Span, Spool
from daemon.manifests.threads import finished
from daemon.pool import Pool
from daemon.ports.projections import Projections, ProjectionsFailed, ProjectionsStuck
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
from events.registry import Encoded, Fact
from projections import scan_batch
from projections.datasets import dataset_stream
from projections.decision import Decision, Draft
from projections.scan_batch import Batch
from projections.tables import Tables

BATCH_SAMPLES: Final = 500
BATCH_BYTES: Final = 1 << 18
# A run that is being worked on may move its stream between a decision and its append.
TRIES: Final = 5

# Of less that changed, nothing is decided in another process.
INLINE_BYTES_MAX: Final = 2**20
# What makes the tables unusable to another process, by the names that it tells.
_RAISES: Final = (ProjectionsFailed, ProjectionsStuck)


class Decided(NamedTuple):
    """What is to be appended if the streams still stand at these versions, and how much it does."""

    facts: Sequence[Fact | Encoded]
    versions: Mapping[str, int]
    counts: Counter[str]


Decide = Callable[[], Awaitable[Decided]]
Question = Callable[[Tables], Batch]


@dataclass(frozen=True, kw_only=True)
class Appender:
    """Where the events of one scan go; on a dry run, nowhere.

    written_at  when the manifest was written, µs UTC, as its files say
    work        the id that joins the scan's events
    pool        decides on what is large
    """

    source: Source
    store: EventStore
    projections: Projections
    clock: Clock
    pool: Pool
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
        totals = await self._append(self._here(opening))
        apart = base_at is None and await finished(spool.bytes) > INLINE_BYTES_MAX
        spans = batches(spool.sizes())
        while span := await finished(partial(next, spans, None)):
            if apart:
                decide: Decide = partial(self._apart, spool, span, scan)
            else:
                decide = await self._samples(spool, span, base_at, scan)
            totals += await self._append(decide)
        gone = spool.gone()
        while ids := list(islice(gone, BATCH_SAMPLES)):
            bases = await self._bases(ids, base_at)
            question = partial(
                scan_batch.decide_removals, dataset=dataset, samples=ids, bases=bases, scan=scan
            )
            totals += await self._append(self._here(question))
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

    async def _samples(self, spool: Spool, span: Span, base_at: int | None, scan: str) -> Decide:
        """Return how it is decided here what some samples changed."""
        samples = await finished(lambda: list(spool.changed(span)))
        return self._here(
            partial(
                scan_batch.decide_samples,
                dataset=self.source.dataset,
                samples=samples,
                bases=await self._bases([one.sample for one in samples], base_at),
                scan=scan,
            )
        )

    def _here(self, question: Question) -> Decide:
        async def decide() -> Decided:
            batch = await self.projections.ask(question)
            facts = batch.facts()
            return Decided(facts, batch.versions, tally(facts))

        return decide

    async def _apart(self, spool: Spool, span: Span, scan: str) -> Decided:
        """Decide in a process of the pool, which reads samples and tables by itself."""
        tables = await self.projections.file()
        if tables is not None:
            asked = _encode(_Asked(self.source.dataset, scan, span))
            parts = (named(tables), name_of(spool.path), asked)
            # Whoever keeps the tables knows how to mend them: it is decided here then.
            with suppress(ProjectionsFailed):
                return _decided(await self.pool.run(work, *parts, raises=_RAISES, long=True))
        decide = await self._samples(spool, span, None, scan)
        return await decide()

    async def _bases(self, samples: list[str], at: int | None) -> dict[str, Document] | None:
        if at is None:
            return None
        question = partial(scan_batch.documents, dataset=self.source.dataset, samples=samples)
        return await self.projections.ask(question, at=at)

    async def _append_whole(self, fact: Fact, *, evidence: Evidence = "manifest") -> None:
        question = partial(scan_batch.decide_whole, dataset=self.source.dataset, facts=[fact])
        await self._append(self._here(question), evidence=evidence)

    async def _append(self, decide: Decide, *, evidence: Evidence = "manifest") -> Counter[str]:
        """Load, decide, append; anew when a stream moved in between."""
        for tries_left in reversed(range(TRIES)):
            facts, versions, counts = await decide()
            if self.dry_run or not facts:
                break
            try:
                events = [self._event(fact, evidence) for fact in facts]
                await self.store.append(events, expects=versions)
                break
            except WrongVersion:
                if not tries_left:
                    raise
        return counts

    def _event(self, fact: Fact | Encoded, evidence: Evidence) -> NewEvent:
        return NewEvent(
            id=self.clock.new_id(),
            stream=dataset_stream(self.source.dataset),
            fact=None if isinstance(fact, Encoded) else fact,
            encoded=fact if isinstance(fact, Encoded) else None,
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


class _Asked(NamedTuple):
    dataset: str
    scan: str
    span: Span


_encode = msgspec.msgpack.Encoder().encode
_asked = msgspec.msgpack.Decoder(_Asked)
_counts = msgspec.msgpack.Decoder(dict[str, int])


def _decided(pieces: Sequence[bytes]) -> Decided:
    spelled, versions = received(pieces[1:])
    counts = Counter(_counts.decode(pieces[0]))
    return Decided([one.encoded for one in spelled], versions, counts)


def work(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Decide on some samples in a process of the pool: counts and drafts out."""
    tables, spooled, asked = parts
    dataset, scan, span = _asked.decode(asked)
    with closing(Spool(Path(os.fsdecode(spooled)))) as spool:
        samples = list(spool.changed(span))
    with opened_as(tables) as view:
        batch = scan_batch.decide_samples(view, dataset, samples, bases=None, scan=scan)
    facts = batch.facts()
    yield _encode(dict(tally(facts)))
    drafts = [Draft(dataset_stream(dataset), fact) for fact in facts]
    yield from sent(Decision(drafts, batch.versions))


def batches(sizes: Iterable[tuple[int, int]]) -> Iterator[Span]:
    """Gather samples to spans of bounded number and size; a large one stands alone."""
    first = last = count = size = 0
    for nth, size_bytes in sizes:
        if count and (count >= BATCH_SAMPLES or size + size_bytes > BATCH_BYTES):
            yield first, last
            count = size = 0
        first = first if count else nth
        last = nth
        count += 1
        size += size_bytes
    if count:
        yield first, last


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
