"""The front as a process: `python -m daemon.http.front`, started by `daemon.http.desk` alone."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path

import msgspec

from daemon.http.front import front
from daemon.http.front.wire import Limits
from daemon.loops import collect_seldom, loop_factory
from daemon.worker import die_with_parent


def main(bound: str, pair: str, site: str, limits: str) -> None:
    """Serve until the daemon says stop, or is gone. Both sockets are given by their numbers."""
    if sys.platform == "linux":
        die_with_parent()
    # The daemon says when to stop: a supervisor tells both at once.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    collect_seldom()
    work = front.serve(
        socket.socket(fileno=int(bound)),
        socket.socket(fileno=int(pair)),
        Path(site),
        msgspec.json.decode(limits, type=Limits),
    )
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
