"""`labeltrail status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]


def shows_status(objects: Iterator[Json], console: Console) -> None:
    """A line for each thing there is; drawn anew for each look."""
    for found in objects:
        if found["kind"] == "look":
            console.clear()
            continue
        console.print(_line(found), markup=False)
        for row in found.get("unreadable", ()):
            console.print(_unreadable(row), markup=False)


def _line(found: Json) -> str:
    match found["kind"]:
        case "log":
            runs_at = f"daemon at {found['daemon']}" if found["daemon"] else "no daemon runs"
            last = f", the last at {found['recorded_at'][:19]}Z" if found["recorded_at"] else ""
            return f"log: {found['position']} events{last} in {found['folder']} ({runs_at})"
        case "server":
            jobs = ", ".join(f"{count} {name}" for name, count in found["conditions"].items())
            frozen = f", FROZEN: {found['frozen']}" if found["frozen"] else ""
            rows = found["unreadable_rows"]
            unreadable = f", {rows} rows cannot be read" if rows else ""
            return (
                f"server {found['name']}: {found['jobs']} jobs{f' ({jobs})' if jobs else ''}, "
                f"{found['deliveries']} deliveries, {found['refused']} refused{unreadable}{frozen}"
                f"{_undeclared(found)}"
            )
        case "source":
            return _source(found)
        case "dataset":
            refused = f", {found['refused_media']} media refused" if found["refused_media"] else ""
            rejected = f", last scan not taken: {found['rejected']}" if found["rejected"] else ""
            return (
                f"dataset {found['name']}: {found['samples']} samples{refused}{rejected}"
                f"{_undeclared(found)}"
            )
    return f"{found['runs']} runs, {found['pending']} pending"


def _unreadable(row: Json) -> str:
    what = "without an id" if row["id"] is None else row["id"]
    return (
        f"  cannot be read in the list of {row['list']}: {what}: {row['reason']} "
        "(the others were taken; look at it on the server)"
    )


def _source(found: Json) -> str:
    what = "tasks outside projects" if found["project"] is None else f"project {found['project']}"
    way = "hooks"
    if not found["hooks"]:
        way = f"polling every {found['poll_s']:g} s" if found["poll_s"] else "not watched any more"
    last = f", last event {found['delivered_at'][:19]}Z" if found["delivered_at"] else ""
    changed = f", last change {found['changed_at'][:19]}Z" if found["changed_at"] else ""
    gaps = ""
    if found["gaps"]:
        since, until = found["gap_since"][:19], found["gap_until"][:19]
        gaps = f", {found['gaps']} gaps without an author in 7 days (last: {since}Z to {until}Z)"
    return f"  {found['server']}, {what}: {found['jobs']} jobs, {way}{last}{changed}{gaps}"


def _undeclared(found: Json) -> str:
    return "" if found["declared"] else " (not declared any more)"


@click.command
@click.option("--watch", is_flag=True, help="Look again every 2 s, until Ctrl-C.")
@runs("status", shows_status)
def status(watch: bool) -> Json:
    """Show what there is, and how it stands."""
    return {"watch": watch}
