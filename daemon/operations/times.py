"""Moments as people write them, turned into one of two spellings that need no clock.

now                          this moment
2026-11-22T14:00+01:00       ISO 8601; without a zone, in the zone of whoever asks
2026-11-22                   that midnight
@1200                        a position in the log
@{yesterday 14:00}           also: today, monday … sunday (the last one before today)
@{2 hours ago}               seconds, minutes, hours, days, weeks
@{2026-11-22 14:00}          ISO with a blank

The two spellings: "@1200", and "2026-11-22T13:00:00.000000Z".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.ports.store import EventStore

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
POSITION_DIGITS_MAX: Final = 18
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_POSITION = re.compile(rf"@(\d{{1,{POSITION_DIGITS_MAX}}})")
_BRACES = re.compile(r"@\{\s*([^{}]{1,60}?)\s*\}")
_AGO = re.compile(r"(\d{1,6}) (second|minute|hour|day|week)s? ago")
_DAY = re.compile(rf"(today|yesterday|{'|'.join(WEEKDAYS)})(?: (\d\d?:\d\d(?::\d\d)?))?")


class UnknownMoment(SyncError):
    """A text names no moment."""

    exit_code = 2


def spelled(text: str, *, now: datetime) -> str:
    """Return the moment that a person wrote in one of the two spellings.

    now   the present, in the zone that times without one are meant in
    """
    text = text.strip()
    if _POSITION.fullmatch(text):
        return f"@{int(text[1:])}"
    braces = _BRACES.fullmatch(text)
    try:
        moment = _moment(braces[1] if braces else text, now).astimezone(UTC)
    except OverflowError as exc:
        raise _unknown(text) from exc
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def spelled_range(text: str, *, now: datetime) -> tuple[str | None, str | None]:
    """Return both ends of `A..B`; either may be left out, a single moment is the end."""
    first, dots, last = text.partition("..")
    if not dots:
        first, last = "", first
    return (
        spelled(first, now=now) if first else None,
        spelled(last, now=now) if last else None,
    )


async def position_at(store: EventStore, moment: str) -> int:
    """Return the last position at a moment in one of the two spellings, 0: before all."""
    if position := _POSITION.fullmatch(moment):
        return min(int(position[1]), await store.head())
    return await store.position_at(micros(_iso(moment)))


def micros(moment: datetime) -> int:
    """Return the µs since 1970-01-01 UTC."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def iso(time_us: int) -> str:
    """Return µs since 1970-01-01 UTC as "2026-11-22T13:00:00.000000Z"."""
    return at_us(time_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def at_us(time_us: int) -> datetime:
    """Return µs since 1970-01-01 UTC as a moment in UTC."""
    return EPOCH + timedelta(microseconds=time_us)


def _moment(text: str, now: datetime) -> datetime:
    words = " ".join(text.lower().split())
    if words == "now":
        return now
    if ago := _AGO.fullmatch(words):
        return now - timedelta(**{f"{ago[2]}s": int(ago[1])})
    if day := _DAY.fullmatch(words):
        return _on_day(day[1], day[2] or "00:00", now)
    moment = _iso(text)
    return moment if moment.tzinfo else _in_zone_of(now, moment)


def _on_day(day: str, clock_time: str, now: datetime) -> datetime:
    if day in WEEKDAYS:
        # Asked on a Monday, "monday" is the one a week ago.
        back = (now.weekday() - WEEKDAYS.index(day) - 1) % 7 + 1
    else:
        back = int(day == "yesterday")
    try:
        at = time.fromisoformat(clock_time.rjust(len(clock_time) + (clock_time[1] == ":"), "0"))
    except ValueError as exc:
        raise _unknown(clock_time) from exc
    return _in_zone_of(now, datetime.combine(now.date() - timedelta(days=back), at))


def _in_zone_of(now: datetime, naive: datetime) -> datetime:
    # With the machine's own zone, `astimezone` knows its summer time at that date; a fixed
    # offset, as `now.tzinfo` has it, would be an hour off across a change.
    local = now == now.astimezone() and now.utcoffset() == now.astimezone().utcoffset()
    return naive.astimezone() if local else naive.replace(tzinfo=now.tzinfo)


def _iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as exc:
        raise _unknown(text) from exc


def _unknown(text: str) -> UnknownMoment:
    return UnknownMoment(
        "this names no moment",
        text=text[:80],
        hint="now, 2026-11-22T14:00, @1200, @{yesterday 14:00}, @{monday 9:00}, @{2 hours ago}",
    )
