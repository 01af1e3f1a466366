"""Datasets: declared in the settings file, read from their manifests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from config import edit
from daemon.operations.exits import DIFFERENT
from daemon.operations.registry import Json, NoArgs, exit_with, operation
from daemon.operations.server import in_thread
from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.app import App


NOT_TAKEN: Final = frozenset({"waiting", "held", "rejected"})

# How often a manifest is looked at until it is quiet.
LOOKS_MAX: Final = 5


class NoManifest(SyncError):
    """There is nothing at the manifest's path."""


class AddDataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset to declare."""

    name: str
    manifest: str
    media_roots: tuple[str, ...] = ()
    polling: bool = False
    dry_run: bool = False


class ScanDataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to scan.

    name    of the dataset; None: all that are declared
    accept  take also what removes more samples than the dataset's limit
    """

    name: str | None = None
    accept: bool = False
    dry_run: bool = False


class RemoveDataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset to forget; its events stay in the log, its files where they are."""

    name: str
    dry_run: bool = False


@operation("dataset.add", args=AddDataset, writes="settings", reloads=True)
async def add(app: App, args: AddDataset) -> AsyncGenerator[Json, None]:
    """Declare a dataset."""
    given = await in_thread(lambda: _declaration(args))
    await in_thread(
        lambda: edit.add(app.config_file, "datasets", args.name, given, dry_run=args.dry_run)
    )
    yield {"kind": "dataset", "name": args.name, **given, "settings": str(app.config_file)}


def _declaration(args: AddDataset) -> dict[str, object]:
    manifest = Path(args.manifest).absolute()
    if not manifest.exists():
        raise NoManifest(
            "there is no such manifest",
            path=str(manifest),
            hint="name the folder of a FiftyOneDataset export, or a CVAT manifest.jsonl",
        )
    values = {
        "manifest": str(manifest),
        "media_roots": [str(Path(root).absolute()) for root in args.media_roots],
        "polling": args.polling,
    }
    return {name: value for name, value in values.items() if value}


@operation("dataset.rm", args=RemoveDataset, writes="settings", reloads=True)
async def remove(app: App, args: RemoveDataset) -> AsyncGenerator[Json, None]:
    """Forget a dataset."""
    app.dataset(args.name)
    await in_thread(
        lambda: edit.remove(app.config_file, "datasets", args.name, dry_run=args.dry_run)
    )
    yield {"kind": "removed", "name": args.name}


@operation("dataset.ls")
async def ls(app: App, args: NoArgs) -> AsyncGenerator[Json, None]:
    """List the declared datasets."""
    for name, dataset in sorted(app.settings.datasets.items()):
        yield {
            "kind": "dataset",
            "name": name,
            "manifest": str(dataset.manifest),
            # In a thread: the folder may lie on a network file system that does not answer.
            "found": await in_thread(dataset.manifest.exists),
            "media_roots": [str(root) for root in dataset.media_roots],
            "polling": dataset.polling,
        }


@operation("dataset.scan", args=ScanDataset, writes="log")
async def scan(app: App, args: ScanDataset) -> AsyncGenerator[Json, None]:
    """Read manifests, and bring what changed into the log. Exit code 3: something was not taken."""
    from daemon.handlers.scan import scan as read

    names = sorted(app.settings.datasets) if args.name is None else [args.name]
    not_taken = False
    for name in names:
        for _ in range(LOOKS_MAX):
            report = await read(
                name,
                app.dataset(name),
                store=app.store,
                projections=app.projections,
                clock=app.clock,
                pool=app.pool,
                accept=args.accept,
                dry_run=args.dry_run,
                actor=app.actor,
                scratch=app.scratch,
            )
            if report.outcome != "waiting":
                break
            # It was written a moment ago. Who asks for a scan wants it taken, not put off.
            await app.clock.sleep(app.dataset(name).quiet_s)
        found = msgspec.to_builtins(msgspec.structs.replace(report, looked_at=None))
        del found["looked_at"]
        yield {"kind": "scan", **found}
        not_taken |= report.outcome in NOT_TAKEN
    if not_taken:
        yield exit_with(DIFFERENT)
