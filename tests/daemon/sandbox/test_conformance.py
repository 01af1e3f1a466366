"""The sandbox answers recorded sessions as the real servers did."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from daemon.sandbox import Sandbox
from tests.conformance.__main__ import main
from tests.conformance.sessions import EXPORT, IMPORT, LARGE, SESSIONS, Session, run_session

# What the sandbox does not do: file export and import. Lower it when something was added.
SKIPPED_MAX = 9


@pytest.mark.parametrize(
    "session",
    [
        pytest.param(
            each,
            marks=pytest.mark.slow if each.name in LARGE else (),
            id=f"{each.name}-{each.version}",
        )
        for each in SESSIONS
    ],
)
async def test_a_recorded_session_is_answered_alike(session: Session) -> None:
    """Status, keys, types, values, and which date moved; only skips with a reason are left out."""
    outcomes = await run_session(session)
    if session.name in LARGE and not outcomes:
        pytest.skip("the recording is not on this machine")

    assert [text for each in outcomes.values() for text in each.differences] == []
    assert all(each.equal + each.skipped == each.exchanges for each in outcomes.values())
    assert set(session.recordings) <= set(outcomes)


def test_nothing_is_skipped_but_file_export_and_import() -> None:
    """A skip is for what the sandbox does not do, never for what it does otherwise."""
    skipped = [
        why for session in SESSIONS for plan in session.plans.values() for why in plan.skip.values()
    ]

    assert len(skipped) <= SKIPPED_MAX
    assert set(skipped) <= {EXPORT, IMPORT}


def test_the_last_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """A script reads it; people read the table above it."""
    name = "fiftyone-all-label-types"

    code = main({name})

    counts = {"exchanges": 17, "equal": 17, "skipped": 0}
    assert code == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {name: counts, f"{name}-2.73": counts}


def test_a_state_is_made_in_less_than_2_ms() -> None:
    """Thousands of them are made by one property test."""

    async def make() -> float:
        started = time.perf_counter()
        for _ in range(20):
            Sandbox(port=None)
        return (time.perf_counter() - started) / 20

    assert asyncio.run(make()) < 0.002
