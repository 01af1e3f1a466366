"""`labeltrail verify` and `labeltrail replay`: is the log whole, does the state follow from it?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]


def shows_verified(objects: Iterator[Json], console: Console) -> None:
    """Each problem on a line, then what is proven."""
    for found in objects:
        if found["kind"] == "problem":
            place = "" if found["position"] is None else f" at {found['position']}"
            console.print(f"{found['sort']}{place}: {found['what']}", markup=False)
            continue
        said = "the log is whole" if found["ok"] else f"{found['problems_total']} problems"
        console.print(
            f"{said}: {found['head']} events, proven up to {found['proven_upto']} "
            f"by {found['checkpoints']} checkpoints, {found['unproven']} unproven"
        )


def shows_replayed(objects: Iterator[Json], console: Console) -> None:
    """Each difference on a line, then the outcome."""
    for found in objects:
        if found["kind"] == "difference":
            sides = [name for name in ("live", "replayed") if found[name]]
            where = "differs" if len(sides) == 2 else f"only {sides[0]}"
            console.print(f"{found['table']} {found['key']}: {where}", markup=False)
            continue
        said = "identical" if found["identical"] else f"different: {', '.join(found['differing'])}"
        console.print(
            f"replayed up to {found['position']}: {said} ({found['rows']} rows)"
            f"{', rebuilt' if found['rebuilt'] else ''}"
        )


@click.command
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint that was published elsewhere.",
)
@runs("verify", shows_verified)
def verify(against: Path | None) -> Json:
    """Read every byte of the log back, and hold it against what was signed.

    Exit code 4: something does not fit. What lies after the last checkpoint is reported as
    unproven: without a published checkpoint nobody can tell that an end was cut off.
    """
    return {"against": str(against.absolute()) if against else None}


@click.command
@click.option("--rebuild", is_flag=True, help="Put freshly folded tables in the place of those.")
@runs("replay", shows_replayed)
def replay(rebuild: bool) -> Json:
    """Fold the whole log anew, and compare with the state in use. Exit code 4: they differ."""
    return {"rebuild": rebuild}
