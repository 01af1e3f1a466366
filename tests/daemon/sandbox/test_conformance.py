"""The sandbox answers recorded sessions as the real servers did."""

from __future__ import annotations

import asyncio
import time

import pytest

from daemon.sandbox import Sandbox
from tests.conformance.sessions import SESSIONS, Session, run_session

LARGE = {"fiftyone-long-session"}


@pytest.mark.parametrize(
    "session",
    [each for each in SESSIONS if each.name not in LARGE],
    ids=lambda each: f"{each.name}-{each.version}",
)
async def test_a_recorded_session_is_answered_alike(session: Session) -> None:
    """Status, keys, types, values, and which date moved; only skips with a reason are left out."""
    outcomes = await run_session(session)

    assert {name: list(each.differences.values()) for name, each in outcomes.items()} == {
        name: [] for name in outcomes
    }
    assert all(each.equal + each.skipped == each.exchanges for each in outcomes.values())
    assert set(session.recordings) <= set(outcomes)


def test_a_state_is_made_in_less_than_2_ms() -> None:
    """Thousands of them are made by one property test."""

    async def make() -> float:
        started = time.perf_counter()
        for _ in range(20):
            Sandbox(port=None)
        return (time.perf_counter() - started) / 20

    assert asyncio.run(make()) < 0.002
