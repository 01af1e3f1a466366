"""Copy the data folder, and go on from a copy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from daemon.app import check_local
from daemon.operations.registry import Json, operation

if TYPE_CHECKING:
    from daemon.app import App


class BackupArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """folder: where backups lie. name: of this one. keep: so many of those with dates.

    Paths are absolute.
    """

    folder: str
    name: str | None = None
    keep: int | None = None


class RestoreArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """folder: the backup, an absolute path."""

    folder: str


@operation("backup.make", args=BackupArgs)
async def make(app: App, args: BackupArgs) -> AsyncGenerator[Json, None]:
    """Copy the data folder beside whoever writes to it, and verify the copy."""
    from daemon import backup

    folder = Path(args.folder)
    name = args.name or backup.dated(app.clock.now_us())
    report = await asyncio.to_thread(backup.make, app.folder, folder, name)
    yield {
        "kind": "backup",
        "path": str(folder / name),
        "log": report.log_id,
        "epoch": report.epoch,
        "position": report.head,
        "proven_upto": report.proven_upto,
    }
    if args.keep is not None:
        for path in await asyncio.to_thread(backup.prune, folder, max(1, args.keep)):
            yield {"kind": "removed", "path": str(path)}


@operation("backup.restore", args=RestoreArgs)
async def restore(app: App, args: RestoreArgs) -> AsyncGenerator[Json, None]:
    """Go on from a backup, in an empty data folder."""
    from daemon import backup

    await asyncio.to_thread(check_local, app.folder)
    source = Path(args.folder)
    fact = await backup.restore(source, app.folder, app.clock, app.actor)
    yield {
        "kind": "restored",
        "folder": str(app.folder),
        "backup": str(source),
        "epoch": fact.epoch,
        "position": fact.position,
    }
