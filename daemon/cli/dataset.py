"""`labeltrail dataset`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs
from daemon.cli.names import declared
from daemon.cli.tables import table

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
COUNTS = ("added", "changed", "removed", "labels", "conflicts", "refused")
REFUSED_SHOWN_MAX = 10

shows_datasets = table(
    ("name", "NAME"),
    ("manifest", "MANIFEST"),
    ("found", "FOUND"),
    ("media_roots", "MEDIA ROOTS"),
    ("polling", "POLLING"),
    empty="no dataset is declared; `labeltrail dataset add NAME MANIFEST` declares one",
)


def shows_scans(objects: Iterator[Json], console: Console) -> None:
    """A line a dataset; what was not taken with its reason and what to do."""
    for found in objects:
        counts = ", ".join(f"{found[name]} {name}" for name in COUNTS if found[name])
        said = f"{found['dataset']}: {found['outcome']}, {found['samples']} samples"
        console.print(f"{said}{f' ({counts})' if counts else ''}", markup=False)
        for name in ("reason", "hint"):
            if found[name]:
                console.print(f"  {name}: {found[name]}", markup=False)
        for media in found["refused_media"][:REFUSED_SHOWN_MAX]:
            console.print(f"  refused {media['filepath']}: {media['reason']}", markup=False)


@click.group
def dataset() -> None:
    """Declare datasets, and read their manifests."""


@dataset.command
@click.argument("name")
@click.argument("manifest", type=click.Path())
@click.option("--media-root", "media_roots", multiple=True, help="Media may lie here too.")
@click.option("--polling", is_flag=True, help="Look for changes instead of listening (NFS, SMB).")
@runs("dataset.add", dry_run=True)
def add(name: str, manifest: str, media_roots: tuple[str, ...], polling: bool) -> Json:
    """Declare the dataset NAME by its MANIFEST.

    A manifest is the folder of a FiftyOneDataset export, or a CVAT manifest.jsonl.
    """
    from pathlib import Path

    # The daemon, or whoever else runs the operation, may stand in another folder.
    roots = [str(Path(root).absolute()) for root in media_roots]
    return {
        "name": name,
        "manifest": str(Path(manifest).absolute()),
        "media_roots": roots,
        "polling": polling,
    }


@dataset.command("ls")
@runs("dataset.ls", shows_datasets)
def ls() -> Json:
    """List the declared datasets."""
    return {}


@dataset.command("scan")
@click.argument("name", shell_complete=declared("datasets"), required=False)
@click.option("--accept", is_flag=True, help="Take also what removes many samples at once.")
@runs("dataset.scan", shows_scans, dry_run=True)
def scan(name: str | None, accept: bool) -> Json:
    """Read the manifest of NAME, or of all datasets, now. Exit code 3: something was not taken."""
    return {"name": name, "accept": accept}


@dataset.command("rm")
@click.argument("name", shell_complete=declared("datasets"))
@runs("dataset.rm", dry_run=True)
def remove(name: str) -> Json:
    """Forget the dataset NAME; its events stay in the log, its files where they are."""
    return {"name": name}
