"""The event loop of a process that answers others, and what keeps it from stopping them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

COLLECT_EVERY: Final = 10_000  # new objects; Python's own is 700


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes a fast loop, None where there is only Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def collect_seldom() -> None:
    """Keep the garbage collector from holding deliveries up.

    What was imported stays for ever; a full collection that looked at all of it again stopped the
    loop for 0.1 s, and the small ones took a fifth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
