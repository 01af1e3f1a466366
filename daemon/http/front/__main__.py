"""The front as a process: `python -m daemon.http.front`, started by `daemon.http.desk` alone."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from pathlib import Path

import msgspec

from daemon.http.front import front
from daemon.http.front.wire import Limits
from daemon.worker import die_with_parent

COLLECT_EVERY = 10_000


def main(bound: str, pair: str, site: str, limits: str) -> None:
    """Serve until the daemon says stop, or is gone. Both sockets are given by their numbers."""
    if sys.platform == "linux":
        die_with_parent()
    # The daemon says when to stop: a supervisor tells both at once.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    work = front.serve(
        socket.socket(fileno=int(bound)),
        socket.socket(fileno=int(pair)),
        Path(site),
        msgspec.json.decode(limits, type=Limits),
    )
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
