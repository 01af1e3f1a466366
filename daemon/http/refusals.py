"""Refused deliveries, counted: a flood of them is a few events, not a full log."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

import structlog

from daemon.clock import Clock
from daemon.ports.store import EventStore, QueueFull, StoreFailed
from events.envelope import NewEvent
from events.server import DeliveryRefused

EVERY_S: Final = 60.0

Reason = Literal["signature", "too large", "too slow", "unreadable"]

log = structlog.get_logger(__name__)


class Refusals:
    """Appends at most one DeliveryRefused a server, reason and minute."""

    def __init__(self, store: EventStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._counted: Counter[tuple[str, Reason]] = Counter()
        self._quiet_until_s: dict[tuple[str, Reason], float] = {}

    async def count(self, server: str, reason: Reason) -> None:
        """Count one. The first is appended at once, so that a mistake shows at once."""
        self._counted[server, reason] += 1
        if self._quiet_until_s.get((server, reason), 0.0) <= self._clock.monotonic_s():
            await self._append(server, reason)

    async def flush(self) -> None:
        """Append what was counted and not appended yet."""
        for server, reason in list(self._counted):
            await self._append(server, reason)

    async def flush_now_and_then(self) -> None:
        """Flush each minute until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            await self.flush()

    async def _append(self, server: str, reason: Reason) -> None:
        # Taken out before the await: another refusal must not append the same ones.
        count = self._counted.pop((server, reason), 0)
        if not count:
            return
        self._quiet_until_s[server, reason] = self._clock.monotonic_s() + EVERY_S
        fact = DeliveryRefused(reason=reason, count=count)
        event = NewEvent(id=self._clock.new_id(), stream=f"server/{server}", fact=fact)
        try:
            await self._store.append([event])
        except (QueueFull, StoreFailed) as exc:
            self._counted[server, reason] += count
            log.warning("refusals not recorded", server=server, reason=reason, error=str(exc))
