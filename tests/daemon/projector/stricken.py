"""Rebuilds in the pool that do not come to their end by themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from daemon.projector import share

GATE = "gate"
"""Name of a named pipe beside the projections: work waits until somebody has written to it."""


def killed_once(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Die after the first batch, but go on where somebody died before."""
    died = Path(f"{os.fsdecode(parts[1])}.died")
    for piece in share.work(parts):
        yield piece
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def killed(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Die after the first batch."""
    yield next(share.work(parts))
    os.kill(os.getpid(), signal.SIGKILL)


def held(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Wait at the gate after the first batch of the jobs."""
    pieces = share.work(parts)
    yield next(pieces)
    if b"jobs" in parts[2]:
        Path(os.fsdecode(parts[1])).with_name(GATE).read_bytes()
    yield from pieces


def orphaned(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Kill the daemon after the first batch, and wait for the end."""
    yield next(share.work(parts))
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
