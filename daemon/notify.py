"""What systemd is told, and what it hands over; nothing happens without systemd.

Protocols: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket

FIRST_FD = 3
SEND_S = 1.0


def notify(*states: str) -> None:
    """Send states such as READY=1 to the supervisor named by $NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(SEND_S)
        # A name that begins with @ is in Linux's abstract namespace.
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall("\n".join(states).encode())


def watchdog_s() -> float | None:
    """Return how often a sign of life is due, in seconds; None if nobody waits for one."""
    wanted_us = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not wanted_us.isdigit() or meant_for != str(os.getpid()):
        return None
    return int(wanted_us) / 1_000_000 / 2


def listening_socket() -> socket.socket | None:
    """Return the socket that systemd listens on for us, so that no delivery is refused."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    return socket.socket(fileno=FIRST_FD)
