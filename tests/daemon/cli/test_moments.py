"""Moments as people write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from daemon.operations.times import (
    UnknownMoment,
    iso,
    micros,
    position_at,
    spelled,
    spelled_range,
)
from daemon.store.memory import MemoryStore
from events.envelope import NewEvent
from events.server import SweepCompleted
from tests.fakes.clock import START_US, FakeClock

# A Wednesday, in a zone two hours east of UTC.
NOW = datetime(2026, 11, 25, 14, 30, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("now", "2026-11-25T12:30:00.000000Z"),
        ("@12", "@12"),
        ("@007", "@7"),
        ("2026-11-22T14:00:00Z", "2026-11-22T14:00:00.000000Z"),
        ("2026-11-22T14:00+01:00", "2026-11-22T13:00:00.000000Z"),
        ("2026-11-22T14:00", "2026-11-22T12:00:00.000000Z"),
        ("2026-11-22", "2026-11-21T22:00:00.000000Z"),
        ("@{2026-11-22 14:00}", "2026-11-22T12:00:00.000000Z"),
        ("@{now}", "2026-11-25T12:30:00.000000Z"),
        ("@{today}", "2026-11-24T22:00:00.000000Z"),
        ("@{today 9:05}", "2026-11-25T07:05:00.000000Z"),
        ("@{yesterday 14:00}", "2026-11-24T12:00:00.000000Z"),
        ("yesterday 14:00:30", "2026-11-24T12:00:30.000000Z"),
        ("@{ Tuesday  14:00 }", "2026-11-24T12:00:00.000000Z"),
        ("@{wednesday}", "2026-11-17T22:00:00.000000Z"),
        ("@{2 hours ago}", "2026-11-25T10:30:00.000000Z"),
        ("@{1 week ago}", "2026-11-18T12:30:00.000000Z"),
    ],
)
def test_a_moment_has_one_spelling_that_needs_no_clock(text: str, said: str):
    """The daemon may be asked from another zone, and a permalink must mean the same tomorrow."""
    assert spelled(text, now=NOW) == said


@pytest.mark.parametrize(
    "text",
    ["", "@", "@{}", "@-1", "@1x", "@{later}", "@{25:00}", "@{today 25:00}", "@{monday 1:99}",
     "2026-13-01", "@{0x10 days ago}", "@{9999999 days ago}", "@{999999 weeks ago}", "9" * 400,
     "@" + "9" * 30, "0001-01-01", "9999-12-31T23:59-14:00"],
)  # fmt: skip
def test_what_is_no_moment_is_said_so_with_examples(text: str):
    """A moment that is guessed at shows the wrong day as the truth."""
    with pytest.raises(UnknownMoment) as caught:
        spelled(text, now=NOW)

    assert "@{yesterday 14:00}" in str(caught.value.hint)


def test_a_spelled_moment_spells_itself():
    """What one command prints, another one takes."""
    for text in ("@12", "2026-11-22T14:00:00.123456Z"):
        assert spelled(text, now=NOW) == text


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("@1..@9", ("@1", "@9")),
        ("..@9", (None, "@9")),
        ("@1..", ("@1", None)),
        ("@9", (None, "@9")),
        ("@{2 hours ago}..now", ("2026-11-25T10:30:00.000000Z", "2026-11-25T12:30:00.000000Z")),
    ],
)
def test_a_range_has_two_ends_and_either_may_be_left_out(
    text: str, ends: tuple[str | None, str | None]
):
    """As in git."""
    assert spelled_range(text, now=NOW) == ends


def test_microseconds_survive_the_way_there_and_back():
    """Positions are found by recorded times, which are exact."""
    for time_us in (0, 1, START_US, START_US + 999_999):
        assert micros(datetime.fromisoformat(iso(time_us))) == time_us


async def test_a_moment_is_the_last_position_recorded_by_then():
    """`at TIME` shows what had happened, not what was about to."""
    clock = FakeClock()
    store = MemoryStore(clock)
    for _ in range(3):
        event = NewEvent(id=clock.new_id(), stream="server/main", fact=SweepCompleted(jobs=0))
        await store.append([event])
        clock.move(clock._now_us + 1_000_000)

    found = [
        await position_at(store, moment)
        for moment in (
            "@0",
            "@2",
            "@99",
            iso(START_US - 1),
            iso(START_US),
            iso(START_US + 1_500_000),
        )
    ]

    assert found == [0, 2, 3, 0, 1, 2]
