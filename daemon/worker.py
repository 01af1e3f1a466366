"""One process of the pool: takes work on stdin, answers on stdout, until stdin ends.

Started as `python -m daemon.worker` by `daemon.pool`, and by nobody else.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import BinaryIO, Final, Literal

import orjson

from events.errors import SyncError

BYTES_MAX: Final = 4 * 2**30
"""Address space of one process: a body that would take more fails alone, not the machine."""

# A frame is its kind, its length and so many bytes. A request is the name of the work, its parts
# and an end; an answer is its pieces and an end, or an error.
Kind = Literal[b"W", b"P", b".", b"E"]
WORK: Final = b"W"
PART: Final = b"P"
END: Final = b"."
ERROR: Final = b"E"
HEAD: Final = struct.Struct(">cQ")


def main() -> None:
    """Work until the parent is gone."""
    _limit_memory()
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
        for piece in getattr(import_module(module), function)(parts):
            _write(answers, PART, piece)
        _write(answers, END)
    except SyncError as exc:
        error = [type(exc).__name__, exc.message, exc.hint, exc.facts]
        _write(answers, ERROR, orjson.dumps(error, default=str))
    except Exception as exc:
        # Nobody stands above it: whoever waits must hear of whatever it was.
        _write(answers, ERROR, orjson.dumps(["", type(exc).__name__, None, {}]))


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
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (BYTES_MAX, BYTES_MAX))


if __name__ == "__main__":
    main()
