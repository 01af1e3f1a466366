"""`labeltrail doctor`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
MARKS = {"ok": "✓", "warning": "!", "problem": "✗"}


def shows_findings(objects: Iterator[Json], console: Console) -> None:
    """A line for each finding, below it what to do; at the end how many of which."""
    levels: Counter[str] = Counter()
    for found in objects:
        levels[found["level"]] += 1
        mark = MARKS[found["level"]]
        console.print(f"{mark} {found['check']}  {found['where']}: {found['what']}", markup=False)
        if found["todo"]:
            console.print(f"    → {found['todo']}", markup=False)
    counted = (f"{levels[level]} {level}" for level in MARKS if levels[level])
    console.print(", ".join(counted) or "nothing to look at")


@click.command
@runs("doctor", shows_findings)
def doctor() -> Json:
    """Look whether all is well: this machine, each CVAT server and its way to us, each dataset.

    Exit code 1: there is a problem. Exit code 5: a server is not reachable.
    """
    return {}
