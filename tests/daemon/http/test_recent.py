"""What is said to be remembered is, and memory has an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.http import recent
from daemon.http.recent import Key, Recent

ADDED = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 100)), max_size=80)


@given(ADDED, st.integers(1, 20))
def test_every_delivery_since_a_time_is_remembered(added: list[tuple[int, int]], most: int) -> None:
    """The tables are not asked about them, so one that is forgotten would be recorded twice."""
    held = Recent()
    came: dict[Key, int] = {}
    with pytest.MonkeyPatch.context() as small:
        small.setattr(recent, "RECENT_MAX", most)
        for number, at_us in added:
            key = ("main", f"{number}")
            held.add(key, at_us)
            came[key] = at_us

    since_us = held.since_us or 0
    assert all(key in held for key, at_us in came.items() if at_us > since_us)
    assert [key for key in (("main", "none"), ("other", "1")) if key in held] == []
    assert len(held._now) + len(held._before) <= most + 1
    if held.since_us is None:
        assert all(key in held for key in came)
