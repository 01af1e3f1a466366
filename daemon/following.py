"""The daemon's task that follows the manifest of every declared dataset."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from daemon.handlers.follow_manifest import follow_manifest

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.handlers.scan import ScanReport

QUIET: Final = frozenset({"unchanged", "waiting"})

log = structlog.get_logger(__name__)


async def follow_manifests(app: App) -> None:
    """Keep all datasets at their manifests until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, dataset in app.settings.datasets.items():
            following = follow_manifest(
                name,
                dataset,
                store=app.store,
                projections=app.projections,
                clock=app.clock,
                pool=app.pool,
                told=_log,
                scratch=app.scratch,
            )
            group.create_task(following, name=f"manifest {name}")
        await asyncio.Event().wait()


def _log(report: ScanReport) -> None:
    say = log.debug if report.outcome in QUIET else log.info
    if report.outcome in ("held", "rejected"):
        say = log.warning
    say(
        "manifest",
        dataset=report.dataset,
        outcome=report.outcome,
        reason=report.reason or None,
        samples=report.samples,
        added=report.added,
        changed=report.changed,
        removed=report.removed,
        labels=report.labels,
        conflicts=report.conflicts,
        ms=round(report.took_s * 1_000, 1),
    )
