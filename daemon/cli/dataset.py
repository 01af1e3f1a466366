"""`labeltrail dataset`."""

from __future__ import annotations

from typing import Any

import click

from daemon.cli.frame import runs
from daemon.cli.tables import table

Json = dict[str, Any]

shows_datasets = table(
    ("name", "NAME"),
    ("manifest", "MANIFEST"),
    ("found", "FOUND"),
    ("media_roots", "MEDIA ROOTS"),
    ("polling", "POLLING"),
    empty="no dataset is declared; `labeltrail dataset add NAME MANIFEST` declares one",
)


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


@dataset.command("rm")
@click.argument("name")
@runs("dataset.rm", dry_run=True)
def remove(name: str) -> Json:
    """Forget the dataset NAME; its events stay in the log, its files where they are."""
    return {"name": name}
