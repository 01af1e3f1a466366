"""The command's end of the socket. Standard library only: it runs at each command's start."""

from __future__ import annotations

import grp
import json
import socket
from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, Final

from daemon.control.wire import LAST_KINDS, LINE_BYTES_MAX, SOCKET_PATH_BYTES_MAX, request
from events.errors import SyncError

CONNECT_S: Final = 5.0
# A socket that refuses was left behind by a daemon that was killed.
NOBODY_THERE: Final = (FileNotFoundError, NotADirectoryError, ConnectionRefusedError)

Json = dict[str, Any]


class DaemonGone(SyncError):
    """The daemon went away, or answered what is no answer, before the operation ended."""


class DaemonRefused(SyncError):
    """The socket may not be used by this user."""


def call(path: Path, name: str, arguments: Json) -> Iterator[Json] | None:
    """Run an operation in the daemon; return its objects, None if no daemon listens.

    Closing the iterator cancels the operation. Raises DaemonRefused, DaemonGone.
    """
    if len(str(path).encode()) > SOCKET_PATH_BYTES_MAX:
        return None  # No daemon could listen there either.
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(CONNECT_S)
        connection.connect(str(path))
    except OSError as exc:
        connection.close()
        if isinstance(exc, NOBODY_THERE):
            return None
        raise _not_connected(path, exc) from exc
    # An operation may be silent for as long as it works, `log -f` for days.
    connection.settimeout(None)
    return _objects(connection, name, arguments)


def _not_connected(path: Path, exc: OSError) -> SyncError:
    if isinstance(exc, PermissionError):
        return DaemonRefused(
            "this user may not talk to the daemon",
            socket=str(path),
            hint=f"join the group {_group(path)} of its data folder, then log in again",
        )
    return DaemonGone("the daemon does not answer", socket=str(path), reason=str(exc))


def _objects(connection: socket.socket, name: str, arguments: Json) -> Iterator[Json]:
    try:
        with connection, connection.makefile("rb") as answer:
            connection.sendall(request(name, json.dumps(arguments).encode()))
            for line in _body(answer):
                found = json.loads(line)
                yield found
                if found["kind"] in LAST_KINDS:
                    return
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise _gone(name, type(exc).__name__) from exc
    raise _gone(name, "it closed the connection")


def _body(answer: BinaryIO) -> Iterator[bytes]:
    """Return the lines of an answer after its head, which says no more than they do."""
    lines = iter(partial(answer.readline, LINE_BYTES_MAX), b"")
    for _ in takewhile(bytes.strip, lines):
        pass
    return lines


def _gone(name: str, reason: str) -> DaemonGone:
    return DaemonGone(
        "the daemon went away before the operation ended",
        operation=name,
        reason=reason,
        hint="what it reported as written is on disk; look at `labeltrail log`",
    )


def _group(path: Path) -> str:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        return "that owns it"
