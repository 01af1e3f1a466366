"""The frame that every command runs in: options, where it runs, output, exit code.

Only click and the standard library are imported here at load time, so that `--help` is instant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from daemon.cli.harmless import harmless
from daemon.spelling import spelled as json_line

if TYPE_CHECKING:
    from rich.console import Console

    from events.errors import SyncError

Json = dict[str, Any]
Shows = Callable[[Iterator[Json], "Console"], None]
"""A renderer: takes the objects of an operation as they come, and prints them for people."""

INTERRUPTED = 130  # what a shell makes of SIGINT


def runs(
    operation: str, shows: Shows | None = None, *, dry_run: bool = False
) -> Callable[[Callable[..., Json]], Callable[..., None]]:
    """Make a click function, which returns an operation's arguments, run the operation.

    shows    renders for people; without one, each object is a line of `name value`
    dry_run  the operation writes: give the command `--dry-run`
    """

    def decorate(arguments: Callable[..., Json]) -> Callable[..., None]:
        @wraps(arguments)
        def command(*, config: Path | None, url: str | None, as_json: bool, **options: Any) -> None:
            dry = {"dry_run": options.pop("dry_run")} if dry_run else {}
            wanted = arguments(**options) | dry
            execute(operation, wanted, config=config, as_json=as_json, shows=shows, url=url)

        added = [config_option, url_option, json_option, *([dry_run_option] if dry_run else [])]
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file; default: $LABELTRAIL_CONFIG, ./labeltrail.toml, or the one in"
    " ~/.config/labeltrail/ or /etc/labeltrail/.",
)
url_option = click.option(
    "--url",
    envvar="LABELTRAIL_URL",
    help="Ask the daemon at this address, with the token in $LABELTRAIL_TOKEN.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line, for programs."
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be written, and where; write nothing."
)


def execute(
    name: str,
    arguments: Json,
    *,
    config: Path | None,
    as_json: bool,
    shows: Shows | None,
    url: str | None = None,
) -> NoReturn:
    """Run an operation, print what it yields, and exit with its code.

    url  of a daemon elsewhere that runs it; None: it runs on this machine
    """
    from events.errors import SyncError

    try:
        from daemon.cli.calls import objects_of

        ending = Ending()
        # Closed in any case: an operation that is left in the middle has to clean up.
        with (
            closing(objects_of(name, arguments, config, url)) as found,
            suppress(FailedAtOnce),
        ):
            if as_json:
                _print_lines(ending.watched(found))
            else:
                _show(name, arguments, ending.watched(found), shows)
        sys.exit(ending.code(as_json))
    except SyncError as exc:
        sys.exit(complain(exc, as_json))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # `labeltrail log | head`: the reader has seen enough. Python flushes once more at exit,
        # which has to go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


class FailedAtOnce(Exception):
    """An operation failed before it had anything to show."""


class Ending:
    """Takes the last object out of a stream, and turns it into an exit code."""

    def __init__(self) -> None:
        self._last: Json = {"kind": "exit", "code": 0}

    def watched(self, objects: Iterator[Json]) -> Iterator[Json]:
        """Yield all but the last object, which is about the operation itself.

        Raises FailedAtOnce where an error is all there is: "nothing found" would be untrue.
        """
        is_first = True
        for found in objects:
            if found["kind"] in ("exit", "error"):
                self._last = found
                if is_first and found["kind"] == "error":
                    raise FailedAtOnce
                return
            is_first = False
            yield found

    def code(self, as_json: bool) -> int:
        """Return the exit code; an error is printed."""
        if self._last["kind"] == "exit":
            return int(self._last["code"])
        print_error(self._last, as_json)
        return int(self._last["exit_code"])


def complain(error: SyncError, as_json: bool = False) -> int:
    """Print an error, return its exit code."""
    from daemon.operations.exits import failure

    failed = failure(error)
    print_error(failed, as_json)
    return int(failed["exit_code"])


def print_error(failed: Json, as_json: bool = False) -> None:
    """Print an error on stderr: what, the facts, and what to do."""
    if as_json:
        click.echo(json_line(failed), err=True)
        return
    failed = harmless(failed)
    facts = dict(failed["facts"])
    problems = facts.pop("problems", [])
    shown = ", ".join(f"{name}={_fact(fact)}" for name, fact in facts.items() if fact is not None)
    click.echo(f"error: {failed['message']}{f' ({shown})' if shown else ''}", err=True)
    for problem in problems:
        click.echo(f"  {problem}", err=True)
    if failed["hint"]:
        click.echo(f"hint: {failed['hint']}", err=True)


def _fact(fact: object) -> str:
    return ", ".join(map(str, fact)) or "none" if isinstance(fact, list) else str(fact)


def _print_lines(objects: Iterator[Json]) -> None:
    for found in objects:
        sys.stdout.write(json_line(found) + "\n")
        sys.stdout.flush()


def _show(name: str, arguments: Json, objects: Iterator[Json], shows: Shows | None) -> None:
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with an error of its own.

    console = Terminal(highlight=False, soft_wrap=True)
    if arguments.get("dry_run"):
        from daemon.operations.registry import find

        console.print(f"→ {find(name).writes} (dry run: nothing is written)")
    (shows or show_plainly)(map(harmless, objects), console)


def show_plainly(objects: Iterator[Json], console: Console) -> None:
    """Print each object as `name value` on one line."""
    for found in objects:
        members = (f"{name} {value}" for name, value in found.items() if value is not None)
        console.print("  ".join(members), markup=False)
