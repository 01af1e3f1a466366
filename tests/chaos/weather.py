"""The network and the server on a bad day: what fails is rolled from one seed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from daemon.sandbox.faults import Faults, RequestFault, RequestKind

REQUESTS_FAIL: Final = 0.05
KINDS: Final[tuple[RequestKind, ...]] = ("reset", "before", "after", "reset-after")
STATUS: Final = (500, 502, 503, 504)
LATENCY_S: Final = 1.0
# Shares of all deliveries; together 30 %.
LOST, REPEATED, LATE, OVERTAKEN = 0.12, 0.08, 0.04, 0.06
LATE_S: Final = 0.3
OVERTAKEN_BY_MAX: Final = 20


@dataclass
class Weather(Faults):
    """Faults that are rolled. `rages` turns those of requests on and off."""

    rng: random.Random = field(default_factory=random.Random)
    rages: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def forecast(self, first: int, deliveries: int) -> None:
        """Roll what becomes of deliveries, by their number."""
        fates = (self._lose, self._repeat, self._delay, self._overtake, self._spare)
        shares = (LOST, REPEATED, LATE, OVERTAKEN)
        weights = (*shares, 1 - sum(shares))
        for number in range(first, first + deliveries):
            self.rng.choices(fates, weights)[0](number)
            if self.rng.random() < REPEATED:
                self.shuffle_keys.add(number)

    def _lose(self, number: int) -> None:
        self.lose.add(number)

    def _repeat(self, number: int) -> None:
        self.repeat.add(number)

    def _delay(self, number: int) -> None:
        self.delay_s[number] = self.rng.uniform(0.01, LATE_S)

    def _overtake(self, number: int) -> None:
        self.hold_back[number] = self.rng.randint(1, OVERTAKEN_BY_MAX)

    def _spare(self, number: int) -> None:
        """Nothing happens to it."""

    def of_request(self, method: str, path: str) -> RequestFault | None:
        """Let one request in twenty fail, in one of five ways."""
        self.latency_s = 0.0
        if not self.rages:
            return None
        self.counts["requests"] += 1
        if self.rng.random() >= REQUESTS_FAIL:
            return None
        kind: RequestKind | None = self.rng.choice([*KINDS, None])
        self.counts[f"requests: {kind or 'latency'}"] += 1
        if kind is None:
            # The sandbox looks at it right after this call, before it waits.
            self.latency_s = self.rng.uniform(0.05, LATENCY_S)
            return None
        return RequestFault(kind, status=self.rng.choice(STATUS))
