"""How the log names people of this machine."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from typing import Final

_UCRED: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


def peer_uid(connected: socket.socket) -> int:
    """Return the user id of the other end of a unix socket, by the kernel's word."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _pid, uid, _gid = _UCRED.unpack(credentials)
    return int(uid)


def actor(uid: int | None = None) -> str:
    """Return `cli/<user name>` of a user id, by default of the one we run as."""
    uid = os.getuid() if uid is None else uid
    try:
        return f"cli/{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"cli/{uid}"
