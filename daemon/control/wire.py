"""What both ends of the socket agree on: HTTP/1.0, a JSON object in, JSON lines out.

POST /operations/<name>, body: the arguments. Each line of the answer is an object with a `kind`;
the last one is of kind `exit` (with `code`) or `error` (with `message`, `hint`, `facts`,
`exit_code`). An answer without such a line was cut off; it ends when the daemon closes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from events.errors import SyncError

PATH: Final = "/operations/"
ARGUMENTS_BYTES_MAX: Final = 16 * 1024 * 1024
LINE_BYTES_MAX: Final = 64 * 1024 * 1024
LAST_KINDS: Final = frozenset({"exit", "error"})

# sockaddr_un holds 108 bytes on Linux and 104 elsewhere, the closing zero included. Beside this
# socket is another one, whose name is 5 bytes longer (`daemon.http.listener`).
SOCKET_PATH_BYTES_MAX: Final = 98


class SocketPathTooLong(SyncError):
    """The path of the control socket does not fit into an address of the kernel's."""


def request(name: str, body: bytes) -> bytes:
    """Return the request that runs an operation.

    HTTP/1.0 asks for an answer without chunks, which takes no more than a socket to read: Python's
    own client would import the mail package, a quarter of the time of a short command.
    """
    head = f"POST {PATH}{name} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def check_socket_path(path: Path) -> None:
    """Raise SocketPathTooLong for a path that cannot be bound."""
    length = len(str(path).encode())
    if length > SOCKET_PATH_BYTES_MAX:
        raise SocketPathTooLong(
            "the path of the control socket is too long",
            path=str(path),
            bytes=length,
            bytes_max=SOCKET_PATH_BYTES_MAX,
            hint="set a shorter one as `socket` in [data]",
        )
