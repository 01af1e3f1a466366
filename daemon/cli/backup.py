"""`labeltrail backup`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import config_option, execute, json_option

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]


def shows_backup(objects: Iterator[Json], console: Console) -> None:
    """Say what was copied, removed, or restored."""
    for found in objects:
        match found["kind"]:
            case "backup":
                said = f"{found['path']}: {found['position']} events, verified"
            case "restored":
                said = (
                    f"{found['folder']}: goes on after event {found['position']} as epoch "
                    f"{found['epoch']}; all jobs are read before anything is merged or written"
                )
            case _:
                said = f"removed {found['path']}"
        console.print(said, markup=False)


@click.command
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", help="The backup's name in FOLDER; without it the date and time.")
@click.option("--keep", type=click.IntRange(min=1), help="Remove all but the newest N dated ones.")
@click.option("--restore", is_flag=True, help="Go on from the backup FOLDER instead.")
@config_option
@json_option
def backup(
    folder: Path,
    name: str | None,
    keep: int | None,
    restore: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Copy the log, its keys and people's names to FOLDER, also while the daemon runs.

    The copy is verified and appears whole or not at all. With --restore, FOLDER is a backup, and
    the data folder must be empty.
    """
    if restore and (name or keep):
        raise click.UsageError("--restore takes the backup itself: no --name, no --keep")
    arguments: Json = {"folder": str(folder.absolute())}
    if not restore:
        arguments |= {"name": name, "keep": keep}
    operation = "backup.restore" if restore else "backup.make"
    execute(operation, arguments, config=config, as_json=as_json, shows=shows_backup)
