"""Scan a manifest: look, read it whole, decide what changed, append.

Nothing is appended before the manifest was read to its end and found unchanged. What a crash
leaves half-appended is healed by the next scan, since every batch moves the base that the next one
is compared with.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import msgspec

from config.settings import Dataset as DatasetSettings
from daemon.clock import Clock
from daemon.handlers.scan_append import Appender
from daemon.manifests import reading
from daemon.manifests.errors import (
    ManifestBroken,
    ManifestBusy,
    ManifestChanged,
    ManifestMissing,
    ManifestRefused,
    ScratchFailed,
)
from daemon.manifests.fiftyone import Metadata
from daemon.manifests.reading import Reading, read_metadata, read_samples
from daemon.manifests.source import Look, Source, check_whole, look, written_at_us
from daemon.manifests.spool import Before, Spool
from daemon.manifests.threads import finished, until_stopped
from daemon.pool import Pool, WorkFailed
from daemon.ports.projections import Projections
from daemon.ports.store import EventStore
from events.dataset import RefusedMedia
from projections import scan_batch
from projections.datasets import SCANS, Scan
from projections.restored import is_held
from projections.tables import Tables

PAGE_SAMPLES: Final = 5_000
# A manifest of no more is read in a thread: a process takes longer to start.
INLINE_BYTES_MAX: Final = 2**20

_REFUSALS: Final = (ManifestBroken, ManifestMissing, ScratchFailed)

Outcome = Literal["taken", "unchanged", "waiting", "held", "rejected", "failed"]
Digests = list[tuple[str, bytes]]


class ScanReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan found and did.

    outcome    taken: appended (on a dry run: would be); unchanged: nothing new;
               waiting: somebody is writing, come again; held: it removes so much that a person
               must accept it; rejected: it cannot be taken; failed: the daemon could not, try again
    reason     why it was not taken, and in `hint` what to do
    changed    samples whose own members changed; `labels` counts changes of labels
    looked_at  the files as they were; given to the next scan as `seen`, it saves reading them
    """

    dataset: str
    outcome: Outcome
    reason: str = ""
    hint: str = ""
    samples: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    labels: int = 0
    conflicts: int = 0
    refused: int = 0
    refused_media: tuple[RefusedMedia, ...] = ()
    looked_at: Look | None = None
    took_s: float = 0.0


async def scan(
    dataset: str,
    settings: DatasetSettings,
    *,
    store: EventStore,
    projections: Projections,
    clock: Clock,
    pool: Pool,
    accept: bool = False,
    dry_run: bool = False,
    actor: str | None = None,
    seen: Look | None = None,
    scratch: Path | None = None,
) -> ScanReport:
    """Bring into the log what changed in a manifest since it was last read.

    pool     reads a manifest that is large
    accept   take also what removes more than `removed_share_max` of the samples
    dry_run  decide, and append nothing
    actor    who accepts
    seen     `looked_at` of the report before: the same files are not read again
    scratch  a folder for temporary files; they may grow as large as the manifest

    Raises WrongVersion when the dataset's streams would not stand still; scan again then.
    Raises ScratchFailed when there is no room for temporary files.
    """
    work = _Scan(
        source=Source(dataset, settings.manifest, tuple(settings.media_roots)),
        settings=settings,
        store=store,
        projections=projections,
        clock=clock,
        pool=pool,
        accept=accept,
        dry_run=dry_run,
        actor=actor,
    )
    began_s = clock.monotonic_s()
    try:
        report = await work.run(seen, scratch)
    except ManifestBusy as exc:
        report = ScanReport(dataset=dataset, outcome="waiting", reason=exc.message)
    except ManifestRefused as exc:
        report = await work.reject(exc)
    return msgspec.structs.replace(report, took_s=round(clock.monotonic_s() - began_s, 4))


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """One scan on its way."""

    source: Source
    settings: DatasetSettings
    store: EventStore
    projections: Projections
    clock: Clock
    pool: Pool
    accept: bool
    dry_run: bool
    actor: str | None

    async def run(self, seen: Look | None, scratch: Path | None) -> ScanReport:
        files = await self._look()
        if files == seen:
            return ScanReport(dataset=self.source.dataset, outcome="unchanged", looked_at=files)
        now_ns = self.clock.now_us() * 1_000
        check_whole(self.source, files, now_ns=now_ns, quiet_s=self.settings.quiet_s)
        metadata = await asyncio.to_thread(read_metadata, self.source)
        last = await self._last()
        base_at = await self._base_at(metadata, last)
        with _scratch(scratch) as path:
            with closing(Spool(path)) as spool:
                await self._remember(spool, base_at)
            read = await self._read(metadata, path, files)
            if await self._look() != files:
                raise ManifestChanged(
                    "the manifest changed while it was read",
                    hint="nothing was changed; it is read again once it is quiet",
                )
            with closing(Spool(path)) as spool:
                return await self._take(spool, metadata, read, last, base_at, files)

    async def _read(self, metadata: Metadata, path: Path, files: Look) -> Reading:
        """Read the samples into the spool at a path; many of them in a process of their own."""
        if sum(one.size for one in files) <= INLINE_BYTES_MAX:
            with closing(Spool(path)) as spool:
                return await until_stopped(
                    lambda stopped: read_samples(self.source, metadata, spool, stopped=stopped)
                )
        asked = reading.to_read(self.source, path)
        try:
            [answer] = await self.pool.run(reading.work, asked, raises=_REFUSALS, long=True)
        except WorkFailed as exc:
            raise ManifestBroken(
                "no process could read the manifest to its end",
                reason=str(exc.facts.get("reason")),
                hint="nothing was changed; it is tried again with the next look",
            ) from exc
        return msgspec.msgpack.decode(answer, type=Reading)

    async def _look(self) -> Look:
        now_ns = self.clock.now_us() * 1_000
        return await asyncio.to_thread(look, self.source, now_ns=now_ns)

    async def reject(self, refused: ManifestRefused) -> ScanReport:
        """Record why the manifest is not taken, unless that was the last that was recorded."""
        reason = str(refused)
        if (await self._last()).rejected != reason:
            await self._appender().reject(reason)
        return ScanReport(
            dataset=self.source.dataset,
            outcome="rejected",
            reason=reason.removesuffix(f"; {refused.hint}"),
            hint=refused.hint or "",
        )

    async def _take(
        self,
        spool: Spool,
        metadata: Metadata,
        read: Reading,
        last: Scan,
        base_at: int | None,
        files: Look,
    ) -> ScanReport:
        report = ScanReport(
            dataset=self.source.dataset,
            outcome="unchanged",
            samples=read.samples,
            refused=read.refused,
            refused_media=read.refused_media,
            looked_at=files,
        )
        if read.digest == last.digest and not last.rejected and not last.unfinished:
            return report
        before, gone = await finished(spool.counts)
        if gone > before * self.settings.removed_share_max and last.acknowledged != read.digest:
            if not self.accept:
                return await self._hold(report, last, read.digest, before, gone)
            await self._appender().acknowledge(read.digest)
        appender = self._appender(written_at_us(files))
        totals = await appender.take(spool, metadata, read, base_at=base_at)
        return msgspec.structs.replace(report, outcome="taken", **totals)

    async def _hold(
        self, report: ScanReport, last: Scan, digest: str, before: int, gone: int
    ) -> ScanReport:
        """Let a manifest wait that would remove too much to be no mistake."""
        reason = f"the manifest would remove {gone} of {before} samples"
        hint = f"if that is meant, accept it: labeltrail dataset scan {report.dataset} --accept"
        if (last.rejected, last.rejected_digest) != (reason, digest):
            await self._appender().reject(reason, digest=digest, removed=gone)
        return msgspec.structs.replace(
            report, outcome="held", reason=reason, hint=hint, removed=gone
        )

    def _appender(self, written_at: int | None = None) -> Appender:
        return Appender(
            source=self.source,
            store=self.store,
            projections=self.projections,
            clock=self.clock,
            pool=self.pool,
            dry_run=self.dry_run,
            actor=self.actor,
            work=self.clock.new_id(),
            written_at=written_at,
        )

    async def _last(self) -> Scan:
        def question(tables: Tables) -> Scan:
            return tables.get(SCANS, self.source.dataset) or Scan(dataset=self.source.dataset)

        return await self.projections.ask(question)

    async def _base_at(self, metadata: Metadata, last: Scan) -> int | None:
        """Return the position whose state the manifest is compared with; None: the last scan.

        A manifest that says how far it has seen us is compared with that. Where the scan before
        said the same, it is nearer: it has what the dataset's side changed since then.
        """
        position = metadata.position
        if position is None or position == last.position or not last.digest:
            return None
        if position > (head := await self.store.head()):
            raise ManifestBroken(
                "the manifest has seen more of the log than there is",
                position=position,
                head=head,
                hint="nothing was changed; was the log put back from an older backup?",
            )
        epoch = metadata.epoch
        if not await self.projections.ask(lambda tables: is_held(tables, epoch, position)):
            raise ManifestBroken(
                "the manifest has seen a history of the log that ended when a backup was restored",
                position=position,
                epoch=epoch,
                hint="nothing was changed; export the dataset anew, and put the edits into that",
            )
        return position

    async def _remember(self, spool: Spool, base_at: int | None) -> None:
        """Put the digests of all samples as they were into the spool."""
        async for page in self._pages(scan_batch.scanned_digests, at=None):
            rows = [
                Before(one, digest if base_at is None else None, digest) for one, digest in page
            ]
            await finished(partial(spool.remember, rows))
        if base_at is not None:
            async for page in self._pages(scan_batch.current_digests, at=base_at):
                rows = [Before(one, digest, None) for one, digest in page]
                await finished(partial(spool.remember, rows))

    async def _pages(
        self, digests: Callable[..., Digests], *, at: int | None
    ) -> AsyncIterator[Digests]:
        start = ""
        dataset = self.source.dataset
        while page := await self.projections.ask(
            partial(digests, dataset=dataset, start=start, limit=PAGE_SAMPLES), at=at
        ):
            yield page
            start = page[-1][0] + "\0"  # the first text that sorts behind it


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    """Yield a path for a temporary file. Raises ScratchFailed."""
    try:
        made = tempfile.TemporaryDirectory(dir=folder, prefix="labeltrail-scan-")
    except OSError as exc:
        raise ScratchFailed(
            "a scan's temporary file cannot be made",
            folder=str(folder or tempfile.gettempdir()),
            reason=exc.strerror or str(exc),
            hint="nothing was changed; make room, or mend the folder or its rights",
        ) from exc
    with made as name:
        yield Path(name) / "spool"
