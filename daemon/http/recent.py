"""Which deliveries came lately, so that hardly one is looked up in the tables."""

from __future__ import annotations

from typing import Final

Key = tuple[str, str]  # server, body hash

RECENT_MAX: Final = 400_000
"""So many deliveries are remembered at most, and at least half as many: 80 bytes for each."""


class Recent:
    """Deliveries that are on disk, the older half forgotten at once.

    64 bits of each are kept, by a salt of the process. That a new delivery is taken for one of them
    happens once in 10^13: then a hint is lost, and the next poll finds what it told of.

    since_us  every delivery that was recorded since then is here, µs since 1970-01-01 UTC; None:
              nobody knows yet
    """

    def __init__(self) -> None:
        self.since_us: int | None = None
        self._now: set[int] = set()
        self._before: set[int] = set()
        self._now_since_us = self._last_us = 0

    def __contains__(self, key: Key) -> bool:
        number = hash(key)
        return number in self._now or number in self._before

    def add(self, key: Key, at_us: int) -> None:
        """Remember a delivery that was recorded at a time."""
        if len(self._now) >= RECENT_MAX // 2:
            if self._before:
                self.since_us = max(self.since_us or 0, self._now_since_us)
            self._before, self._now = self._now, set()
        self._last_us = max(self._last_us, at_us)
        if not self._now:
            self._now_since_us = self._last_us
        self._now.add(hash(key))
