"""The command's end of a daemon on another machine: the HTTP API with a token.

Standard library only, as for the socket: it runs at each command's start.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from daemon.control.client import DaemonGone
from daemon.control.wire import LAST_KINDS, LINE_BYTES_MAX
from events.errors import SyncError

PATH: Final = "/api/v1/"
LINES: Final = "application/x-ndjson"
CONNECT_S: Final = 10.0
NOT_REACHABLE: Final = 5
USAGE: Final = 2

Json = dict[str, Any]


class DaemonUnreachable(SyncError):
    """No daemon answers at the address."""

    exit_code = NOT_REACHABLE


class BadUrl(SyncError):
    """The address cannot be that of a daemon's API."""

    exit_code = USAGE


def call(url: str, token: str, name: str, arguments: Json) -> Iterator[Json]:
    """Run an operation in the daemon at an address; yield its objects.

    Closing the iterator cancels the operation. Raises BadUrl, DaemonUnreachable, DaemonGone.
    """
    connection, path = _connection(url)
    try:
        try:
            connection.connect()
        except OSError as exc:
            raise DaemonUnreachable(
                "no daemon answers there", url=url, reason=str(exc) or type(exc).__name__
            ) from exc
        # An operation may be silent for as long as it works.
        connection.sock.settimeout(None)
        yield from _objects(connection, f"{path}{PATH}{name}", token, arguments)
    finally:
        connection.close()


def _objects(
    connection: http.client.HTTPConnection, path: str, token: str, arguments: Json
) -> Iterator[Json]:
    given = {name: value for name, value in arguments.items() if value is not None}
    headers = {"Authorization": f"Bearer {token}", "Accept": LINES}
    try:
        connection.request("POST", path, body=json.dumps(given).encode(), headers=headers)
        response = connection.getresponse()
        # A refusal is one object of kind `error`, on one line as all the others.
        while line := response.readline(LINE_BYTES_MAX):
            found = json.loads(line)
            yield found
            if found["kind"] in LAST_KINDS:
                return
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as exc:
        raise _gone(type(exc).__name__) from exc
    raise _gone(f"status {response.status}")


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    """Return what is not connected yet, and the path that the daemon's own ones begin with."""
    parts = urlsplit(url)
    host, path = parts.hostname, parts.path.rstrip("/")
    if host is None or parts.username or parts.query or parts.fragment:
        hint = "give one like https://labeltrail.example.com, without user and password"
        raise BadUrl("this is no address of a daemon", hint=hint)
    match parts.scheme:
        case "https":
            context = ssl.create_default_context()
            port = parts.port
            return http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=context), path
        case "http" if _is_here(host):
            return http.client.HTTPConnection(host, parts.port, timeout=CONNECT_S), path
    raise BadUrl(
        "a token is sent to this machine or over https only",
        host=host,
        hint="put a proxy with TLS before the daemon, or a tunnel: ssh -L 8787:127.0.0.1:8787 HOST",
    )


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _gone(reason: str) -> DaemonGone:
    return DaemonGone(
        "what answers is no daemon of this release, or went away before the operation ended",
        reason=reason,
        hint="what it reported as written is on disk; look at `labeltrail log`",
    )
