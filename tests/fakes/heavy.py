"""Work for a process of the pool that goes wrong in one way each. The first part is a file."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from events.errors import SyncError


class TooHeavy(SyncError):
    """An error of the work's own."""


def echo(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Yield what came."""
    yield from parts


def stuck(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Never end."""
    _began(parts)
    signal.pause()
    yield b""


def stuck_once(parts: Sequence[bytes]) -> Iterator[bytes]:
    """End at the second attempt."""
    if _began(parts) == 1:
        signal.pause()
    yield b"done"


def dead(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Die, as a process does that the kernel kills for its memory."""
    _began(parts)
    os.kill(os.getpid(), signal.SIGKILL)
    yield b""


def refused(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Raise the work's own error."""
    yield b"half of it"
    raise TooHeavy("too heavy", hint="take less", kg=70)


def broken(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Raise what nobody thought of."""
    print("not a frame")
    raise ZeroDivisionError("with a name in it")
    yield b""


def _began(parts: Sequence[bytes]) -> int:
    """Note this process in the file; return how many were noted."""
    path = Path(os.fsdecode(parts[0]))
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(path.read_text().split())
