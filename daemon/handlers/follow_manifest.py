"""Keep a dataset at its manifest: scan at start, after changes, and now and then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from config.settings import Dataset as DatasetSettings
from daemon.clock import Clock
from daemon.handlers.scan import ScanReport, scan
from daemon.manifests.errors import ScratchFailed
from daemon.manifests.source import Look
from daemon.manifests.watch import ManifestWatch
from daemon.pool import Pool
from daemon.ports.projections import Projections, ProjectionsStuck
from daemon.ports.store import DiskFull, EventStore, QueueFull, WrongVersion


async def follow_manifest(
    dataset: str,
    settings: DatasetSettings,
    *,
    store: EventStore,
    projections: Projections,
    clock: Clock,
    pool: Pool,
    told: Callable[[ScanReport], None],
    scratch: Path | None = None,
) -> None:
    """Scan whenever the manifest may have changed, until cancelled.

    told  is given every report, e.g. to log it
    """
    seen: Look | None = None
    async with ManifestWatch(dataset, settings, clock) as watch:
        async for _ in watch:
            try:
                report = await scan(
                    dataset,
                    settings,
                    store=store,
                    projections=projections,
                    clock=clock,
                    pool=pool,
                    seen=seen,
                    scratch=scratch,
                )
            except (WrongVersion, QueueFull):
                watch.look_again()
                continue
            except (ScratchFailed, DiskFull, ProjectionsStuck) as exc:
                # Others go on; this one tries again with the next look.
                hint = exc.hint or ""
                told(ScanReport(dataset=dataset, outcome="failed", reason=str(exc), hint=hint))
                continue
            seen = report.looked_at
            if report.outcome == "waiting":
                watch.look_again()
            told(report)
