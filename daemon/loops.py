"""The event loop of a process that answers others, and what keeps it from stopping them."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Final

COLLECT_EVERY: Final = 10_000  # new objects; Python's own is 700
TURN_S: Final = 0.001  # Python's own is 0.005


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


def take_short_turns() -> None:
    """Let no thread keep the interpreter for long while another one waits for it.

    A small commit asks for its turn three times and the event loop twice for each group of
    deliveries, so that a thread that folds made them wait for 25 ms with Python's own turns.
    """
    sys.setswitchinterval(TURN_S)
