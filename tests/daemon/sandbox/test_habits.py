"""The list of CVAT's habits names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
LIST = HERE.parents[2] / "docs" / "sandbox-habits.md"


def test_each_habit_names_a_test_that_exists() -> None:
    """A list that outlives its tests promises what nobody holds."""
    rows = re.findall(r"^\| (?!habit|---)(.+?) \| (.+) \|$", LIST.read_text(), re.MULTILINE)
    defined = {
        name
        for path in HERE.glob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }

    named = {habit: re.findall(r"`(test_\w+)`", tests) for habit, tests in rows}

    assert len(rows) > 60
    assert [habit for habit, tests in named.items() if not tests] == []
    assert {name for tests in named.values() for name in tests} - defined == set()
