"""Where an operation runs: in the running daemon, in one elsewhere, or in this process.

A command that a daemon answers imports no more than what is imported here at load time: everything
else takes several times as long as the answer.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

from config import credentials, places
from config.problems import SettingsUnusable
from daemon.control import client
from daemon.operations.here import HERE
from events.errors import SyncError

Json = dict[str, Any]

TOKEN_VARIABLE: Final = "LABELTRAIL_TOKEN"  # noqa: S105
TOKEN_FILE: Final = "api.token"  # noqa: S105  # in the folder of the credential files


def objects_of(
    name: str, arguments: Json, config: Path | None, url: str | None = None
) -> Generator[Json, None, None]:
    """Run an operation where it belongs; yield its objects. Closing the iterator cancels it."""
    if url is not None:
        from daemon.control import remote

        yield from remote.call(url, _token(config), name, arguments)
    elif name in HERE:
        yield from _here(name, arguments, config)
    else:
        yield from in_daemon(name, arguments, config) or _alone(name, arguments, config)


class NoToken(SyncError):
    """A daemon elsewhere is to be asked, and there is no token for it."""

    exit_code = 2


def _token(config: Path | None) -> str:
    """Return the token of the environment, or of the credential file. Raises NoToken."""
    if given := os.environ.get(TOKEN_VARIABLE, "").strip():
        return given
    folder = credentials.folder_for(places.config_path(config))
    path = (folder or Path()) / TOKEN_FILE
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError) as exc:
        raise NoToken(
            "there is no token to ask the daemon with",
            variable=TOKEN_VARIABLE,
            file=str(path),
            hint="make one where the daemon runs: `labeltrail token make NAME`",
        ) from exc


def in_daemon(name: str, arguments: Json, config: Path | None) -> Iterator[Json] | None:
    """Call the running daemon, None if there is none. Raises BadSettings."""
    return client.call(_control_socket(config), name, arguments)


def _control_socket(config: Path | None) -> Path:
    try:
        return places.find_control_socket(config)
    except SettingsUnusable:
        from config import load
        from daemon.app import load_settings

        # Reading all of it names every problem, each with its line. Members of the daemon's
        # group may use its socket, and need not be able to read its secrets.
        return load.control_socket(load_settings(config, secrets=False))


def _here(name: str, arguments: Json, config: Path | None) -> Iterator[Json]:
    from daemon.operations.registry import find

    reloads = find(name).reloads and not arguments.get("dry_run")
    for found in _alone(name, arguments, config):
        if found["kind"] == "exit" and reloads:
            yield from in_daemon("reload", {}, config) or ()
        yield found


def _alone(name: str, arguments: Json, config: Path | None) -> Iterator[Json]:
    from daemon.cli import alone
    from daemon.operations.registry import find

    return alone.objects_of(find(name), arguments, config)
