"""`labeltrail token`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs
from daemon.cli.tables import table

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]

shows_tokens = table(
    ("name", "NAME"),
    ("scope", "SCOPE"),
    ("actor", "ACTOR"),
    ("made_at", "MADE"),
    empty="there is no token; `labeltrail token make NAME` makes one",
)


def shows_made(objects: Iterator[Json], console: Console) -> None:
    """The secret alone on its line, so that it can be copied or piped; what it is, on stderr."""
    for found in objects:
        click.echo(f"{found['name']}, for {found['scope']}; it is not shown again:", err=True)
        if "token" in found:
            console.print(found["token"], markup=False)


@click.group
def token() -> None:
    """Make, list and revoke the tokens of the HTTP API."""


@token.command("make")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["read", "write"]),
    default="read",
    show_default=True,
    help="What it may do; write includes read.",
)
@runs("token.make", shows_made, dry_run=True)
def make(name: str, scope: str) -> Json:
    """Make a token; what is done with it is recorded as done by token/NAME."""
    return {"name": name, "scope": scope}


@token.command("ls")
@runs("token.ls", shows_tokens)
def ls() -> Json:
    """List the tokens; their secrets are kept nowhere."""
    return {}


@token.command("revoke")
@click.argument("name")
@runs("token.revoke", dry_run=True)
def revoke(name: str) -> Json:
    """Revoke the token NAME: the next request with it is refused."""
    return {"name": name}
