"""`labeltrail server`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs
from daemon.cli.names import declared
from daemon.cli.tables import table

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]

shows_servers = table(
    ("name", "NAME"),
    ("url", "URL"),
    ("organization", "ORGANIZATION"),
    ("login", "LOGIN"),
    ("projects", "PROJECTS"),
    ("webhook_secrets", "WEBHOOK SECRETS"),
    empty="no server is declared; `labeltrail server add NAME URL` declares one",
)


def shows_reached(objects: Iterator[Json], console: Console) -> None:
    """Say in a sentence whom we reached, and as whom."""
    for found in objects:
        console.print(
            f"{found['name']}: CVAT {found['version']} at {found['url']}, "
            f"as {found['user']} (id {found['user_id']})",
            markup=False,
        )


@click.group
def server() -> None:
    """Declare CVAT servers, and try them."""


@server.command
@click.argument("name")
# Not `url`: that is the option of every command that asks a daemon elsewhere.
@click.argument("address", metavar="URL")
@click.option("--user", help="Log in with this user; the password is asked for.")
@click.option("--token", is_flag=True, help="Use a token; it is asked for.")
@click.option("--personal-token", is_flag=True, help="Use a personal access token (CVAT ≥ 2.48).")
@click.option("--organization", help="Slug of the organization to work in.")
@click.option("--ca-file", type=click.Path(exists=True), help="PEM file of authorities to trust.")
@click.option("--project", "projects", type=int, multiple=True, help="Record this project only.")
@runs("server.add", dry_run=True)
def add(
    name: str,
    address: str,
    user: str | None,
    token: bool,
    personal_token: bool,
    organization: str | None,
    ca_file: str | None,
    projects: tuple[int, ...],
) -> Json:
    """Declare the server NAME at URL.

    The secret is asked for, or read from standard input; it goes into a credential file of its
    own beside the settings file.
    """
    ways = {"password": user is not None, "token": token, "personal_token": personal_token}
    chosen = [way for way, wanted in ways.items() if wanted]
    if len(chosen) > 1:
        raise click.UsageError("--user, --token and --personal-token exclude each other")
    return {
        "name": name,
        "url": address,
        "user": user,
        "organization": organization,
        "ca_file": ca_file,
        "projects": list(projects),
        **{way: _secret(way.replace("_", " ")) for way in chosen},
    }


def _secret(name: str) -> str:
    """Ask for a secret where there is a terminal, else read it; never take it as an argument.

    Arguments are seen by every user of the machine, and stay in the shell's history.
    """
    if sys.stdin.isatty():
        secret: str = click.prompt(name, hide_input=True, err=True)
        return secret
    return sys.stdin.readline().rstrip("\r\n")


@server.command("ls")
@runs("server.ls", shows_servers)
def ls() -> Json:
    """List the declared servers."""
    return {}


@server.command("test")
@click.argument("name", shell_complete=declared("servers"))
@runs("server.test", shows_reached)
def test(name: str) -> Json:
    """Ask the server NAME who it is, and who we are there. Exit code 5: not reachable."""
    return {"name": name}


@server.command("rm")
@click.argument("name", shell_complete=declared("servers"))
@runs("server.rm", dry_run=True)
def remove(name: str) -> Json:
    """Forget the server NAME and its credentials; its events stay in the log."""
    return {"name": name}


@server.command("thaw")
@click.argument("name")
@runs("thaw", dry_run=True)
def thaw(name: str) -> Json:
    """Go on with the server NAME, which looks restored: its ids still mean the same work.

    What is different now is recorded as changed by nobody known. Where the ids belong to other
    work, leave it frozen and declare the server under another name.
    """
    return {"name": name}
