"""Packing and unpacking the payloads of a log, against the standard library's zlib."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from benchmarks.changes import saves
from benchmarks.pairs import Figure, compared
from daemon.store.packing import ZLIB_LEVEL, pack, unpack
from events.registry import encode

JOBS = 20
T = TypeVar("T")


async def measure(*, quick: bool) -> dict[str, Figure]:
    """Return `pack` and `unpack`: payloads a second, of 20 changes each."""
    count = 300 if quick else 5_000
    spelled = [encode(fact).payload for _, fact in saves(JOBS, count)][-count:]
    packed = [pack(one) for one in spelled]
    return {
        "pack": compared(
            lambda: _timed(pack, spelled),
            lambda: _timed(lambda one: zlib.compress(one, ZLIB_LEVEL), spelled),
            count,
        ),
        "unpack": compared(
            lambda: _timed(lambda one: unpack(*one), packed),
            lambda: _timed(lambda one: zlib.decompress(one.stored), packed),
            count,
        ),
    }


def _timed(work: Callable[[T], object], all_of: Sequence[T]) -> float:
    started = time.perf_counter()
    for one in all_of:
        work(one)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(asyncio.run(measure(quick=True)))
