"""A fact of the tests' own, and a clock that they move by hand."""

from __future__ import annotations

from typing import Any

from events.envelope import NewEvent
from events.registry import Fact, event


@event("Noted")
class Noted(Fact, kw_only=True):
    """Anything at all was noted."""

    value: Any = None


class FakeClock:
    """A clock that stands still until it is told, with ids in order."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000
        self._ids = 0

    def now_us(self) -> int:
        return self.now

    def monotonic_s(self) -> float:
        return self.now / 1e6

    def new_id(self) -> bytes:
        self._ids += 1
        return self._ids.to_bytes(16, "big")

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1e6)


def noted(clock: FakeClock, stream: str = "notes", **fields: Any) -> NewEvent:
    """Return a new event with a note; `value` goes into it, all else into the envelope."""
    fact = Noted(value=fields.pop("value", None))
    return NewEvent(**{"id": clock.new_id(), "stream": stream, "fact": fact, **fields})
