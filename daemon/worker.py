"""One process of the pool: takes work on stdin, answers on stdout, until stdin ends.

Started as `python -m daemon.worker` by `daemon.pool`, and by nobody else.
"""

from __future__ import annotations

import gc
import os
import signal
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Final, Literal

import orjson

from events.errors import SyncError

BYTES_MAX: Final = 4 * 2**30
"""Address space of one process: a body that would take more fails alone, not the machine."""
NICE: Final = 10
"""The daemon itself comes first: whoever waits for an acknowledgement waits for nothing here."""
ALIVE_S: Final = 0.2
"""A sign of life is passed on so often at most."""

# A frame is its kind, its length and so many bytes. A request is the name of the work, its parts
# and an end; an answer is its pieces and signs of life, an error where there was one, and an end
# that tells how many bytes the process took at most.
Kind = Literal[b"W", b"P", b"A", b"E", b"."]
WORK: Final = b"W"
PART: Final = b"P"
ALIVE: Final = b"A"
END: Final = b"."
ERROR: Final = b"E"
HEAD: Final = struct.Struct(">cQ")

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def main() -> None:
    """Work until the parent is gone."""
    if sys.platform == "linux":
        _limit_memory()
        die_with_parent()
    # A sandbox that forbids it, as many containers do, costs the courtesy and not the work.
    with suppress(OSError):
        os.nice(NICE)
    # What lives until the end need not be looked at, and work is made of values without cycles.
    gc.freeze()
    gc.disable()
    # What somebody prints must not get between the frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests = sys.stdin.buffer
    while (frame := _read(requests)) is not None:
        _work(frame[1].decode(), list(_parts(requests)), answers)
        answers.flush()


def _work(name: str, parts: list[bytes], answers: BinaryIO) -> None:
    module, _, function = name.partition(":")
    try:
        _answer(getattr(import_module(module), function)(parts), answers)
    except SyncError as exc:
        error = [type(exc).__name__, exc.message, exc.hint, exc.facts]
        _write(answers, ERROR, orjson.dumps(error, default=str))
    except Exception as exc:
        # Nobody stands above it: whoever waits must hear of whatever it was.
        _write(answers, ERROR, orjson.dumps(["", type(exc).__name__, None, {}]))
    _write(answers, END, str(_peak_bytes()).encode())


def _answer(pieces: Iterable[bytes | None], answers: BinaryIO) -> None:
    told_s = time.monotonic()
    for piece in pieces:
        if piece is not None:
            _write(answers, PART, piece)
        elif time.monotonic() - told_s > ALIVE_S:
            _write(answers, ALIVE)
        else:
            continue
        answers.flush()
        told_s = time.monotonic()


def _parts(requests: BinaryIO) -> Iterator[bytes]:
    while (frame := _read(requests)) is not None and frame[0] == PART:
        yield frame[1]


def _read(requests: BinaryIO) -> tuple[bytes, bytes] | None:
    head = requests.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    kind, size = HEAD.unpack(head)
    return kind, requests.read(size)


def _write(answers: BinaryIO, kind: bytes, body: bytes = b"") -> None:
    answers.write(HEAD.pack(kind, len(body)))
    answers.write(body)


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (BYTES_MAX, BYTES_MAX))


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone, however it went."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _peak_bytes() -> int:
    if sys.platform == "linux":
        # getrusage(2) counts in what the daemon had when it started this process: beside a large
        # daemon no process would ever be kept.
        status = Path("/proc/self/status").read_text("ascii", "replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
