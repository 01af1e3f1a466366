"""The processors that this process's threads, and the processes that it starts, run on."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from contextlib import suppress
from typing import Final

GIVEN: Final[frozenset[int]] = frozenset(os.sched_getaffinity(0) if sys.platform == "linux" else ())
"""Those that this process was started on; none where the system does not tell."""


def share_one() -> None:
    """Keep this thread, and those that it starts from now on, on one processor.

    They take turns with Python's interpreter anyway. On several processors each turn begins by
    fetching what another one holds in its caches: a third of a daemon's work (docs/benchmarks.md).
    """
    if GIVEN:
        # Several daemons of one machine hardly ever meet on one processor so.
        use([sorted(GIVEN)[os.getpid() % len(GIVEN)]])


def use(processors: Collection[int]) -> None:
    """Run this thread on these processors, where the system has a say in it and allows it."""
    if sys.platform == "linux" and processors:
        with suppress(OSError):
            os.sched_setaffinity(0, processors)
