"""Work for a process of the pool that goes wrong in one way each. The first part is a file."""

from __future__ import annotations

import os
import signal
import time
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


def slow_but_alive(parts: Sequence[bytes]) -> Iterator[bytes | None]:
    """Take longer than one silence may last, and say all the while that it goes on."""
    until_s = time.monotonic() + float(parts[0])
    while time.monotonic() < until_s:
        time.sleep(0.05)
        yield None
    yield b"done"


def about(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Tell the process and its niceness."""
    yield str(os.getpid()).encode()
    yield str(os.nice(0)).encode()


def wasteful(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Take so many bytes, then tell the process."""
    taken = b"x" * int(parts[0])
    yield str(os.getpid() if taken else 0).encode()


def killed(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Die, whatever the parts are."""
    os.kill(os.getpid(), signal.SIGKILL)
    yield b""
