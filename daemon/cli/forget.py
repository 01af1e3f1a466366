"""`labeltrail forget`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]


def shows_forgotten(objects: Iterator[Json], console: Console) -> None:
    """Say what went."""
    dry = click.get_current_context().params.get("dry_run")
    for found in objects:
        console.print(
            f"{found['person']}: {'would erase' if dry else 'erased'} {found['names']} names, "
            f"{found['texts']} texts, {found['deliveries']} raw deliveries",
            markup=False,
        )


@click.command
@click.argument("person")
@runs("forget", shows_forgotten, dry_run=True)
def forget(person: str) -> Json:
    """Erase the names, mail address and texts of PERSON for good.

    PERSON is SERVER/USER ID, or a user name. The log knows people by that id alone, stays as it
    is, and still verifies. Backups made before hold the names: delete those.
    """
    return {"person": person}
