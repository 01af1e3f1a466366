"""`labeltrail show`, `diff`, `at`: read what happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs
from daemon.cli.moments import Moment, MomentRange

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
COLOURS = {"added": "green", "removed": "red", "changed": "yellow"}


def shows_steps(objects: Iterator[Json], console: Console) -> None:
    """What a label is now, then what happened to it, oldest first."""
    from rich.text import Text

    for found in objects:
        if found["kind"] == "event":
            console.print_json(data=found)
            continue
        if found["kind"] == "label":
            _print_label(found, console)
            continue
        who = found.get("actor_name") or found["actor"] or "–"
        when = (found["occurred_at"] or found["recorded_at"])[:19]
        console.print(
            Text.assemble(
                (f"@{found['position']:<7} ", "yellow"),
                (f"{when}Z ", "dim"),
                (f"{found['operation']:<9} ", COLOURS.get(found["operation"], "cyan")),
                (f"{who} ({found['evidence']}) ", "green"),
                found["stream"],
            )
        )
        for change in found["changes"]:
            _print_sides(change, console)


def _print_label(label: Json, console: Console) -> None:
    import json

    names = ("dataset", "sample", "frame", "field", "label")
    console.print("  ".join(f"{name} {label[name]}" for name in names if label[name]), markup=False)
    console.print(f"    {json.dumps(label['document'], ensure_ascii=False)}", markup=False)


def shows_differences(objects: Iterator[Json], console: Console) -> None:
    """Git's way: what it was, what it is; what came or went in one line."""
    import json

    from rich.text import Text

    for found in objects:
        if found["kind"] == "range":
            where = f"@{found['since']}..@{found['until']}"
            console.print(f"{where}: {found['differences']} differences", markup=False)
            continue
        names = ("dataset", "sample", "field", "label", "server", "job", "id")
        address = "  ".join(f"{name} {found[name]}" for name in names if name in found)
        style = COLOURS[found["operation"]]
        console.print(Text.assemble((f"{found['operation']:<8}", style), address))
        if found["operation"] == "changed":
            _print_sides(found, console)
        else:
            whole = json.dumps(found["new"] or found["old"], ensure_ascii=False)
            console.print(f"    {whole}", style=style, markup=False)


def _print_sides(change: Json, console: Console) -> None:
    import json

    for sign, side, style in (("-", "old", "red"), ("+", "new", "green")):
        for name, value in (change.get(side) or {}).items():
            line = f"    {sign} {name}: {json.dumps(value, ensure_ascii=False)}"
            console.print(line, style=style, markup=False)


def shows_state(objects: Iterator[Json], console: Console) -> None:
    """One label or annotation a line."""
    import json

    for found in objects:
        if found["kind"] == "position":
            console.print(f"@{found['position']}: {found['count']} labels", markup=False)
        else:
            value = json.dumps(found.get("document") or found.get("value"), ensure_ascii=False)
            address = "  ".join(str(found[name]) for name in ("sample", "field") if name in found)
            console.print(f"{address}  {value}", markup=False)


@click.command
@click.argument("what")
@click.option("--dataset", help="Where a label id is in several datasets.")
@runs("show", shows_steps)
def show(what: str, dataset: str | None) -> Json:
    """Show WHAT: an event (@POSITION), a label (its id), or an annotation (SERVER/JOB/shape/ID)."""
    return {"what": what, "dataset": dataset}


@click.command
@click.argument("range", type=MomentRange())
@click.argument("target")
@runs("diff", shows_differences)
def diff(range: tuple[str | None, str | None], target: str) -> Json:
    """Compare TARGET (a dataset, or job/SERVER/ID) at the two ends of RANGE.

    RANGE is A..B, with moments as in `labeltrail log`. Exit code 3: there are differences.
    """
    return {"since": range[0], "until": range[1], "target": target}


@click.command
@click.argument("moment", type=Moment())
@click.argument("target")
@click.option("--sample", help="Only the labels of this sample.")
@click.option("--field", help="Only the labels of this field.")
@runs("at", shows_state)
def at(moment: str, target: str, sample: str | None, field: str | None) -> Json:
    """Show TARGET (a dataset, or job/SERVER/ID) as it was at MOMENT."""
    return {"moment": moment, "target": target, "sample": sample, "field": field}
