"""Take deliveries in: check, read, know again, append. What was answered 204 is on disk."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final, NamedTuple

from daemon.clock import Clock
from daemon.cvat import deliveries, signatures
from daemon.cvat.deliveries import UnreadableDelivery
from daemon.cvat.signatures import BadSignature
from daemon.handlers.deliveries import draft_of, received
from daemon.http.bodies import Bodies, Body
from daemon.http.refusals import Reason, Refusals
from daemon.ports.projections import Projections
from daemon.ports.store import EventStore
from events.envelope import NewEvent
from events.errors import SyncError
from events.server import DeliveryReceived
from projections.attribution import date_us
from projections.jobs import DELIVERIES, JOBS_FOLD
from projections.tables import Tables

# Deliveries that the projections may not show yet; they lag behind by milliseconds.
RECENT_MAX: Final = 50_000
RECALLED_EVENTS_MAX: Final = 50_000
KNOWN_S: Final = 1.0
# How far a CVAT server's clock may be behind ours.
CLOCK_SKEW_US: Final = 3_600 * 1_000_000

Secrets = Callable[[str], Sequence[str]]
OnDelivery = Callable[[str, DeliveryReceived], None]
Key = tuple[str, str]  # server, body hash


class RefusedDelivery(SyncError):
    """A delivery that can never be right, however often it is repeated."""

    def __init__(self, reason: Reason, exc: SyncError) -> None:
        super().__init__(exc.message, hint=exc.hint, **exc.facts)
        self.reason = reason


class _Remembered(NamedTuple):
    """A delivery that came at a time; `appending` while it is on its way to the disk."""

    appending: asyncio.Task[None] | None
    at_us: int


class Receiver:
    """Takes the deliveries of all servers.

    secrets      returns the secrets of a server in force; raises UnknownServer
    on_delivery  is told of each new delivery, after it is on disk
    """

    def __init__(
        self,
        store: EventStore,
        projections: Projections,
        clock: Clock,
        *,
        secrets: Secrets,
        on_delivery: OnDelivery,
        bodies: Bodies,
    ) -> None:
        self.refusals = Refusals(store, clock)
        self._store = store
        self._projections = projections
        self._clock = clock
        self._secrets = secrets
        self._on_delivery = on_delivery
        self._bodies = bodies
        self._recent: OrderedDict[Key, _Remembered] = OrderedDict()
        # From when on every delivery is among them; None before the log was read.
        self._remembers_since_us: int | None = None

    async def recall(self) -> None:
        """Read the end of the log, for what the tables do not show yet after a crash.

        They may be far behind, or be built anew, and a port that waited for them would refuse
        deliveries meanwhile.
        """
        since_us, last = await asyncio.to_thread(_last_deliveries, self._store)
        for key, recorded_us in last:
            self._remember(key, None, recorded_us)
        self._remembers_since_us = max(since_us, self._remembers_since_us or 0)

    def heard(self, server: str, delivery: DeliveryReceived) -> None:
        """Know a delivery that came another way: by back-fill."""
        if (server, delivery.body_hash) not in self._recent:
            self._remember((server, delivery.body_hash), None)

    def check_known(self, server: str) -> None:
        """Raise UnknownServer where no such server is declared."""
        self._secrets(server)

    async def receive(self, server: str, body: bytes, signature: str | None) -> bool:
        """Record a delivery; return False if it was known.

        Raises UnknownServer, RefusedDelivery (recorded, counted), QueueFull, StoreFailed.
        """
        try:
            signatures.check(body, signature, self._secrets(server))
            delivery = deliveries.parse(body)
        except BadSignature as exc:
            raise await self.refused(server, "signature", exc) from exc
        except UnreadableDelivery as exc:
            raise await self.refused(server, "unreadable", exc) from exc
        return await self._record(server, body, received(delivery))

    async def refused(self, server: str, reason: Reason, exc: SyncError) -> RefusedDelivery:
        """Count a refusal, return what to raise."""
        await self.refusals.count(server, reason)
        return RefusedDelivery(reason, exc)

    async def _record(self, server: str, body: bytes, fact: DeliveryReceived) -> bool:
        """Append once, however many requests bring the same delivery at once."""
        key = (server, fact.body_hash)
        if key not in self._recent and self._may_be_old(fact) and await self._is_recorded(key):
            return False
        # Asked after the await: another request may have begun with the same delivery.
        if key in self._recent:
            await _outcome(self._recent[key].appending)
            return False
        appending = asyncio.create_task(self._append(key, body, fact), name="append delivery")
        self._remember(key, appending)
        await _outcome(appending)
        return True

    def _may_be_old(self, fact: DeliveryReceived) -> bool:
        """Tell whether a delivery may have come before what is remembered.

        It tells of a moment, and its first copy came soon after. The tables need not be asked
        about a moment since when every delivery is remembered.
        """
        if self._remembers_since_us is None or fact.updated_date is None:
            return True
        return date_us(fact.updated_date) < self._remembers_since_us + CLOCK_SKEW_US

    async def _is_recorded(self, key: Key) -> bool:
        def known(tables: Tables) -> bool:
            return tables.get(DELIVERIES, *key) is not None

        try:
            async with asyncio.timeout(KNOWN_S):
                return await self._projections.ask(known, folds=[JOBS_FOLD.name], stale=True)
        except TimeoutError:
            # A long question holds up the tables. A hint recorded twice costs one more look at
            # a job; a sender that waits too long gives up, and older ones for good.
            return False

    async def _append(self, key: Key, body: bytes, fact: DeliveryReceived) -> None:
        server, body_hash = key
        draft = draft_of(server, fact)
        event = NewEvent(
            id=self._clock.new_id(),
            stream=draft.stream,
            fact=fact,
            occurred_at=draft.occurred_at,
            actor=draft.actor,
            evidence=draft.evidence,
        )
        try:
            await self._store.append([event])
        except BaseException:
            # The server will send it again, and it is not known then.
            self._recent.pop(key, None)
            raise
        if key in self._recent:
            # The task is done, and so many of them would be kept for as long as the keys are.
            self._recent[key] = self._recent[key]._replace(appending=None)
        self._bodies.keep(Body(self._clock.now_us(), server, body_hash, body))
        self._on_delivery(server, fact)

    def _remember(
        self, key: Key, appending: asyncio.Task[None] | None, recorded_us: int | None = None
    ) -> None:
        if appending is not None:
            # Where every waiting client has gone, nobody else would look at the outcome.
            appending.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._recent[key] = _Remembered(appending, recorded_us or self._clock.now_us())
        if len(self._recent) > RECENT_MAX:
            _, oldest = self._recent.popitem(last=False)
            self._remembers_since_us = max(oldest.at_us, self._remembers_since_us or 0)


async def _outcome(appending: asyncio.Task[None] | None) -> None:
    """Wait until a delivery is on disk. A client that gives up does not stop it for others."""
    if appending is not None:
        await asyncio.shield(appending)


def _last_deliveries(store: EventStore) -> tuple[int, list[tuple[Key, int]]]:
    """Return from when on all are there, and the last deliveries with the times they came at."""
    with closing(store.reader()) as reader:
        after = max(0, reader.head() - RECALLED_EVENTS_MAX)
        first = next(reader.read(after=after, upto=after + 1), None)
        tail = reader.read(after=after, prefix="server/")
        last = [
            ((row.stream.removeprefix("server/"), fact.body_hash), row.recorded_at)
            for row in tail
            if isinstance(fact := reader.fact(row), DeliveryReceived)
        ]
        return first.recorded_at if after and first else 0, last
