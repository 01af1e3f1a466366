"""Synchronous work off the event loop that has ended once its caller is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def until_stopped(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run work on a thread; on cancellation tell it to stop and wait until it has.

    work  is given a question that it asks often: am I to stop?

    So that no thread still writes to files that its caller cleans up.
    """
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop.is_set))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # what it ended with is nobody's any more
        raise


async def finished(step: Callable[[], T]) -> T:
    """Run a short step on a thread; on cancellation wait until it is done.

    SQLite crashes where a connection is closed under a statement.
    """
    return await until_stopped(lambda _stopped: step())
