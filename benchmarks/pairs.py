"""Two sides in turn, so that what else the machine does meets both; medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable

PAIRS = 5
Figure = dict[str, float]


def compared(
    ours: Callable[[], float], limit: Callable[[], float], units: int, *, turns: int = 1
) -> Figure:
    """Return how near we come to a limit; each side returns the seconds it took.

    ratio  the limit's seconds over ours: 1 is as fast as the limit
    turns  how often each side runs in a pair: what is over in a moment meets a machine of one speed
    """
    sides = (ours, limit)
    times = []
    for pair in range(PAIRS):
        took = [0.0, 0.0]
        for turn in range(turns):
            for side in (0, 1) if (pair + turn) % 2 else (1, 0):
                took[side] += sides[side]() / turns
        times.append((took[0], took[1]))
    return figure(times, units)


def figure(times: list[tuple[float, float]], units: int) -> Figure:
    """Return the medians of pairs of (our seconds, the limit's seconds)."""
    return {
        "ratio": round(statistics.median(limit / ours for ours, limit in times), 3),
        "per_s": round(units / statistics.median(ours for ours, _ in times)),
        "limit_per_s": round(units / statistics.median(limit for _, limit in times)),
    }
