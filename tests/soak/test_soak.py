"""A steady load: what the daemon takes stays flat, how far it is behind is bounded, all is kept."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.soak.annotators import Save
from tests.soak.reckoning import Log, Told, judged
from tests.soak.story import Plan, flaws, play

SECONDS: Final = float(os.environ.get("LABELTRAIL_SOAK_S", "1800"))
# Caches of bounded size fill meanwhile.
WARM_UP_S: Final = 120.0
SHORT_S: Final = 20.0

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def told(found: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(found, indent=1))
    return found


@needs_linux
@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_long_steady_load_is_kept_up_with_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """100 saves a second over 500 jobs: a leak of a kilobyte a save would take the machine."""
    found = told(asyncio.run(play(tmp_path, Plan(SECONDS, warm_up_s=WARM_UP_S))))

    assert flaws(found, flat=True) == []


@needs_linux
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_save_of_a_steady_load_is_lost(tmp_path: Path) -> None:
    """The same for a moment, without the claims that take time."""
    found = told(asyncio.run(play(tmp_path, Plan(SHORT_S))))

    assert flaws(found, flat=False) == []


def test_a_save_is_lost_where_no_event_and_no_window_tells_of_it() -> None:
    """A reckoning that cannot find a loss would prove nothing."""
    log = Log()
    log.told[7, 1] = [Told(1001, 0, 10, 11), Told(1004, 20, 30, 31), Told(1005, 30, 40, 41)]
    saves = [
        Save(7, 1, 1001, 9, 9.5),
        Save(7, 1, 1002, 15, 15.5),  # Before the window of the next value.
        Save(7, 1, 1003, 21, 21.5),  # Within it, so the later save stands for it.
        Save(7, 1, 1004, 29, 29.5),
        Save(7, 1, 1006, 50, 50.5),  # After all.
        Save(8, 1, 1007, 50, 50.5),  # Of a box that the log does not know.
    ]

    counts, lags = judged(saves, log)

    assert counts == {"saves": 6, "recorded": 2, "covered": 1, "lost": 3}
    assert [round(lag, 1) for _, lag in lags] == [1.5, 9.5, 1.5]
