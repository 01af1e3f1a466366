"""`labeltrail export`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs
from daemon.cli.moments import MOMENTS, Moment
from daemon.cli.names import declared

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
REFUSED_SHOWN_MAX = 10


def shows_exported(objects: Iterator[Json], console: Console) -> None:
    """Say what was written, and which media could not be taken along."""
    for found in objects:
        if found["kind"] == "export":
            console.print(f"{found['dataset']} at {found['at']} → {found['folder']}", markup=False)
            continue
        console.print(
            f"{found['dataset']} at {found['position']} → {found['folder']}: "
            f"{found['samples']} samples",
            markup=False,
        )
        for media in found["refused_media"][:REFUSED_SHOWN_MAX]:
            console.print(f"  not in it: {media['filepath']}: {media['reason']}", markup=False)
        if found["refused"] > REFUSED_SHOWN_MAX:
            console.print(f"  … {found['refused']} media files in all")


@click.command
@click.argument("dataset", shell_complete=declared("datasets"))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(["fiftyone"]), default="fiftyone")
@click.option("--at", type=Moment(), help=f"The state at a moment: {MOMENTS}.")
@click.option(
    "--media",
    type=click.Choice(["symlink", "copy", "absolute"]),
    default="symlink",
    show_default=True,
    help="Link to the media files, copy them, or only name their paths.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier export of ours.")
@runs("export", shows_exported, dry_run=True)
def export(
    dataset: str, folder: Path, form: str, at: str | None, media: str, overwrite: bool
) -> Json:
    """Write DATASET into FOLDER, as it is now or was at any moment."""
    del form  # There is one so far.
    return {
        "dataset": dataset,
        "folder": str(folder.absolute()),
        "at": at,
        "media": media,
        "overwrite": overwrite,
    }
