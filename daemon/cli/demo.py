"""`labeltrail demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.frame import INTERRUPTED, complain

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
NOT_PROVED = 1
PLAIN_WIDTH = 120  # where there is no terminal to ask


@click.command
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Leave everything in this empty folder: dataset, settings, log, requests, export.",
)
@click.option("--json", "as_json", is_flag=True, help="Print nothing but one object at the end.")
def demo(keep: Path | None, as_json: bool) -> None:
    """Show the main job on a small dataset and a CVAT server that it makes, in under a minute.

    Two people annotate, webhooks get lost and repeated, the daemon is killed; then a script that
    imports nothing of Labeltrail counts what was recorded. Exit code 1: something was not proved.
    """
    import asyncio
    import json

    from rich.console import Console

    from events.errors import SyncError

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    try:
        found = asyncio.run(
            _played(keep.absolute() if keep else None, None if as_json else console)
        )
    except SyncError as exc:
        sys.exit(complain(exc, as_json))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)
    if as_json:
        click.echo(json.dumps(found))
    else:
        shows_proof(found, console, keep)
    sys.exit(0 if found["ok"] else NOT_PROVED)


async def _played(keep: Path | None, console: Console | None) -> Json:
    import asyncio
    import signal
    import tempfile

    from daemon.demo.story import play
    from daemon.demo.telling import Teller

    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does: what runs is ended, what was made is removed.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if keep is not None:
        return await play(keep, Teller(console))
    with tempfile.TemporaryDirectory(prefix="labeltrail-demo-", ignore_cleanup_errors=True) as made:
        return await play(Path(made), Teller(console))


def shows_proof(found: Json, console: Console, keep: Path | None) -> None:
    """Say in a few lines what was proved."""
    authors, deliveries = found["authors"], found["deliveries"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in found["kinds"].items())
    lines = (
        f"{found['edits_made']} edits made ({kinds})",
        f"{found['edits_recorded']} recorded, {found['lost']} lost, "
        f"{found['repeated']} repeated, {found['untrue']} untrue",
        f"authors: {authors['right']} by name, {authors['several']} among two, "
        f"{authors['unknown']} unknown (no webhook came), {authors['wrong']} wrong",
        f"webhooks answered: {deliveries['answered']}, recorded once each: "
        f"{_yes(deliveries['lost'] == 0 and deliveries['repeated'] == 0)}",
        f"the log ends with what the server holds: {_yes(found['final_state_equal'])}",
        f"replayed state is the same: {_yes(found['replay_identical'])}, "
        f"the log is whole: {_yes(found['log_ok'])}",
        f"{found['events']} events, {found['seconds']} s",
    )
    for line in lines:
        console.print(f"    {line}", markup=False)
    console.print(f"\n{'Proved.' if found['ok'] else 'NOT PROVED.'}", style="bold")
    if keep is not None:
        console.print(f"Look around: cd {keep} && labeltrail log", markup=False)


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "NO"
