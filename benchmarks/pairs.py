"""Two sides in turn, so that what else the machine does meets both; medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable

PAIRS = 5
Figure = dict[str, float]


def compared(ours: Callable[[], float], limit: Callable[[], float], units: int) -> Figure:
    """Return how near we come to a limit; each side returns the seconds it took.

    ratio  the limit's seconds over ours: 1 is as fast as the limit
    """
    times = [(ours(), limit()) if pair % 2 else (limit(), ours())[::-1] for pair in range(PAIRS)]
    return figure(times, units)


def figure(times: list[tuple[float, float]], units: int) -> Figure:
    """Return the medians of pairs of (our seconds, the limit's seconds)."""
    return {
        "ratio": round(statistics.median(limit / ours for ours, limit in times), 3),
        "per_s": round(units / statistics.median(ours for ours, _ in times)),
        "limit_per_s": round(units / statistics.median(limit for _, limit in times)),
    }
