"""`labeltrail service`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]


def shows_service(objects: Iterator[Json], console: Console) -> None:
    """The files, then the commands that are left to the administrator."""
    dry = click.get_current_context().params.get("dry_run")
    headed = False
    for found in objects:
        match found["kind"]:
            case "unit" if dry:
                console.print(f"# {found['path']}\n{found['text']}", markup=False)
            case "unit":
                console.print(f"wrote {found['path']}", markup=False)
            case "removed":
                console.print(f"{'would remove' if dry else 'removed'} {found['path']}")
            case _:
                if not headed:
                    console.print("then run:")
                headed = True
                console.print(f"  {found['run']}", markup=False)


user_option = click.option("--user", is_flag=True, help="A service of your own, without root.")
root_option = click.option(
    "--root", default="/", type=click.Path(), help="Write below this folder, for packages."
)


@click.group
def service() -> None:
    """Run Labeltrail as a service of systemd."""


@service.command("install")
@user_option
@click.option("--account", default="labeltrail", help="The user that the daemon runs as.")
@click.option("--backups", type=click.Path(), help="Where the nightly backups go.")
@root_option
@runs("service.install", shows_service, dry_run=True)
def install(user: bool, account: str, backups: str | None, root: str) -> Json:
    """Write units for this installation and these settings.

    Run it again after `server add` or `dataset add`: the units hand over credential files, and
    open the folders of datasets.
    """
    return {"user": user, "account": account, "backups": backups, "root": root}


@service.command("uninstall")
@user_option
@root_option
@runs("service.uninstall", shows_service, dry_run=True)
def uninstall(user: bool, root: str) -> Json:
    """Remove the units; the log, its keys and the settings stay."""
    return {"user": user, "root": root}
