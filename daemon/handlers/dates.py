"""Dates as servers write them: believed only where they are dates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from projections.attribution import date_us

# Clocks differ by less.
AHEAD_MAX_US: Final = 86_400 * 1_000_000


def date_in(row: Mapping[str, Any], name: str) -> str:
    """Return a date of an object, "" for none and for what only looks like one (2026-99-99)."""
    found = row.get(name)
    return found if isinstance(found, str) and us_of(found) is not None else ""


def us_of(text: str | None) -> int | None:
    """Return the µs since 1970 UTC of a date, None for none and for what only looks like one."""
    try:
        return date_us(text) if text else None
    except (ValueError, OverflowError):
        return None


def latest(dates: Iterable[str], now_us: int) -> str:
    """Return the latest date to go on from, "" for none.

    One that lies ahead of all clocks does not count: nothing would ever be found behind it.
    """
    believed = (date for date in dates if date_us(date) <= now_us + AHEAD_MAX_US)
    return max(believed, key=date_us, default="")


def earlier(date: str, seconds: float) -> str | None:
    """Return a date that lies so long before another, as CVAT writes dates; None for no date."""
    if not date:
        return None
    found = datetime.fromisoformat(date) - timedelta(seconds=seconds)
    return found.isoformat().replace("+00:00", "Z")
