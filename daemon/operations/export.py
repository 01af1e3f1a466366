"""Hand a dataset on as files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from daemon.handlers.export import export_fiftyone
from daemon.manifests.export import MediaForm, check_place
from daemon.operations.registry import Json, operation
from daemon.operations.times import position_at

if TYPE_CHECKING:
    from daemon.app import App


class ExportArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to write, and where.

    folder     an absolute path; the operation may run in a daemon that stands elsewhere
    at         a moment; None: now
    media      link to the media files, copy them, or only name their paths
    overwrite  replace an earlier export of ours
    """

    dataset: str
    folder: str
    at: str | None = None
    media: MediaForm = "symlink"
    overwrite: bool = False
    dry_run: bool = False


@operation("export", args=ExportArgs, writes="folder")
async def export(app: App, args: ExportArgs) -> AsyncGenerator[Json, None]:
    """Write a FiftyOneDataset folder of now or of any moment."""
    settings, folder = app.dataset(args.dataset), Path(args.folder)
    watched = [dataset.manifest for dataset in app.settings.datasets.values()]
    at = None if args.at is None else await position_at(app.store, args.at)
    if args.dry_run:
        await asyncio.to_thread(check_place, folder, watched=watched, overwrite=args.overwrite)
        position = await app.store.head() if at is None else at
        yield {"kind": "export", "dataset": args.dataset, "folder": args.folder, "at": position}
        return
    report = await export_fiftyone(
        args.dataset,
        folder,
        settings,
        projections=app.projections,
        at=at,
        media=args.media,
        watched=watched,
        overwrite=args.overwrite,
    )
    yield {"kind": "exported", **msgspec.to_builtins(report)}
