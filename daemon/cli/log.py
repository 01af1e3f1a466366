"""`labeltrail log`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import runs
from daemon.cli.moments import Moment, MomentRange

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
FOLLOWED_LAST = 10  # like `tail -f`


def shows_log(objects: Iterator[Json], console: Console) -> None:
    """One line an event: position, time, stream, type, actor, summary."""
    from rich.text import Text

    for found in objects:
        who = found.get("actor_name") or found["actor"] or "–"
        console.print(
            Text.assemble(
                (f"{found['position']:>8} ", "yellow"),
                (f"{found['recorded_at'][:19]}Z ", "dim"),
                f"{found['stream']} ",
                (f"{found['type']} ", "bold cyan"),
                (f"{who} ({found['evidence']}) ", "green"),
                found["summary"],
            )
        )


@click.command
@click.argument("range", required=False, type=MomentRange())
@click.option("--stream", help="Only this stream, or with a closing / or * all that begin so.")
@click.option("--type", "types", multiple=True, help="Only events of this type; may be repeated.")
@click.option("--since", type=Moment(), help="Only what was recorded after this moment.")
@click.option("--until", type=Moment(), help="Only what was recorded up to this moment.")
@click.option("-n", "last", type=click.IntRange(min=0), help="Only the last N of them.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is appended from now on.")
@runs("log", shows_log)
def log(
    range: tuple[str | None, str | None] | None,
    stream: str | None,
    types: tuple[str, ...],
    since: str | None,
    until: str | None,
    last: int | None,
    follow: bool,
) -> Json:
    """Read the log, oldest first.

    RANGE is A..B: after A, up to B. A moment is `now`, an ISO time, @POSITION,
    @{yesterday 14:00}, @{monday 9:00} or @{2 hours ago}.
    """
    if range and (since or until):
        raise click.UsageError("give a RANGE, or --since and --until, not both")
    first, end = range or (since, until)
    if follow and end:
        raise click.UsageError("--follow goes on for ever; leave the end of the range out")
    if follow and last is None and first is None:
        last = FOLLOWED_LAST
    as_json = click.get_current_context().params["as_json"]
    return {
        "since": first,
        "until": end,
        "stream": stream,
        "types": list(types),
        "last": last,
        "follow": follow,
        "facts": as_json,
    }
