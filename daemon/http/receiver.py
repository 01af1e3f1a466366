"""Take deliveries in: check, read, know again, append. What was answered 204 is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import closing
from functools import cache
from typing import Final, NamedTuple

import structlog

from daemon.clock import Clock
from daemon.crash import crash
from daemon.cvat import deliveries, signatures
from daemon.cvat.deliveries import UnreadableDelivery
from daemon.cvat.signatures import BadSignature
from daemon.handlers.deliveries import draft_of, received
from daemon.http.bodies import Bodies, Body
from daemon.http.recent import Key, Recent
from daemon.http.refusals import Reason, Refusals
from daemon.ports.projections import Projections
from daemon.ports.store import EventStore, QueueFull, StoreFailed
from events.envelope import NewEvent
from events.errors import SyncError
from events.server import DeliveryReceived
from projections.attribution import date_us
from projections.jobs import DELIVERIES
from projections.jobs_fold import JOBS_FOLD
from projections.tables import Tables

GROUP_MAX: Final = 64  # deliveries in one append: as many as are prepared on the loop
RECALLED_EVENTS_MAX: Final = 50_000
KNOWN_S: Final = 1.0
# How far a CVAT server's clock may be ahead of ours.
CLOCK_SKEW_US: Final = 3_600 * 1_000_000

Secrets = Callable[[str], Sequence[str]]
OnDelivery = Callable[[str, DeliveryReceived], None]

log = structlog.get_logger(__name__)


class RefusedDelivery(SyncError):
    """A delivery that can never be right, however often it is repeated."""

    def __init__(self, reason: Reason, exc: SyncError) -> None:
        super().__init__(exc.message, hint=exc.hint, **exc.facts)
        self.reason = reason


class Given(NamedTuple):
    """A delivery as a request brings it.

    signature  the header, None where there is none
    told       is told what became of it, once: whether it was new, once it is on disk; or what
               kept it from there
    """

    server: str
    body: bytes
    signature: str | None
    told: Callable[[bool | BaseException], None]


class _Coming(NamedTuple):
    """A delivery on its way to the disk, and the requests that wait for that.

    given  the first one brought it
    """

    key: Key
    fact: DeliveryReceived
    event: NewEvent
    given: list[Given]

    def on_disk(self) -> None:
        """Tell all who wait."""
        for nth, given in enumerate(self.given):
            given.told(nth == 0)

    def fail(self, exc: BaseException) -> None:
        """Tell all who wait why it is not on disk."""
        for given in self.given:
            given.told(exc)


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
        self._coming: dict[Key, _Coming] = {}
        self._recent = Recent()
        self._lines = log.bind()  # as it is configured now, which costs more than a line
        self._gathered: list[_Coming] = []  # while an append is on its way
        self._appending = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def recall(self) -> None:
        """Read the end of the log, for what the tables do not show yet after a crash.

        They may be far behind, or be built anew, and a port that waited for them would refuse
        deliveries meanwhile.
        """
        since_us, last = await asyncio.to_thread(_last_deliveries, self._store)
        for key, recorded_us in last:
            self._recent.add(key, recorded_us)
        self._recent.since_us = max(since_us, self._recent.since_us or 0)

    def heard(self, server: str, delivery: DeliveryReceived) -> None:
        """Know a delivery that came another way: by back-fill."""
        self._recent.add((server, delivery.body_hash), self._clock.now_us())

    def check_known(self, server: str) -> None:
        """Raise UnknownServer where no such server is declared."""
        self._secrets(server)

    def take(self, group: Sequence[Given]) -> None:
        """Check and read deliveries, and have them recorded: with all that come meanwhile.

        They are told UnknownServer, RefusedDelivery (recorded, counted), QueueFull, StoreFailed,
        ProjectionsFailed, or whatever else kept one from the disk.
        """
        secrets = cache(self._secrets)
        unsure: list[tuple[Given, DeliveryReceived]] = []
        for given in group:
            if (fact := self._read(given, secrets)) is None:
                continue
            if self._tell_known(given, fact):
                continue
            if self._may_be_old(fact):
                unsure.append((given, fact))
            else:
                self._put(self._taken(given, fact))
        if unsure:
            self._start(self._ask(unsure), [given for given, _ in unsure])

    async def refused(self, server: str, reason: Reason, exc: SyncError) -> RefusedDelivery:
        """Count a refusal, return what to raise."""
        await self.refusals.count(server, reason)
        return RefusedDelivery(reason, exc)

    def _read(self, given: Given, secrets: Secrets) -> DeliveryReceived | None:
        """Return what is recorded of a delivery, None where it is refused."""
        try:
            signatures.check(given.body, given.signature, secrets(given.server))
            return received(deliveries.parse(given.body))
        except BadSignature as exc:
            self._start(self._refuse(given, "signature", exc), [given])
        except UnreadableDelivery as exc:
            self._start(self._refuse(given, "unreadable", exc), [given])
        except Exception as exc:
            given.told(exc)
        return None

    async def _refuse(self, given: Given, reason: Reason, exc: SyncError) -> None:
        given.told(await self.refused(given.server, reason, exc))

    async def _ask(self, unsure: Sequence[tuple[Given, DeliveryReceived]]) -> None:
        """Append what the tables do not know of some deliveries."""
        keys = {(given.server, fact.body_hash) for given, fact in unsure}
        for key in await self._recorded_of(keys):
            self._recent.add(key, self._clock.now_us())
        for given, fact in unsure:
            # Another request may have begun with it meanwhile.
            if not self._tell_known(given, fact):
                self._put(self._taken(given, fact))

    def _tell_known(self, given: Given, fact: DeliveryReceived) -> bool:
        """Tell a request of a delivery that another one brought, now or once it is on disk."""
        key = (given.server, fact.body_hash)
        if (coming := self._coming.get(key)) is not None:
            coming.given.append(given)
        elif key in self._recent:
            given.told(False)
        else:
            return False
        return True

    def _may_be_old(self, fact: DeliveryReceived) -> bool:
        """Tell whether a delivery may have come before what is remembered.

        It tells of a moment, and its first copy came soon after. The tables need not be asked
        about a moment since when every delivery is remembered.
        """
        since_us = self._recent.since_us
        if since_us is None or fact.updated_date is None:
            return True
        return date_us(fact.updated_date) < since_us + CLOCK_SKEW_US

    async def _recorded_of(self, keys: Collection[Key]) -> list[Key]:
        """Return which of some deliveries are recorded."""

        def recorded(tables: Tables) -> list[Key]:
            return [key for key in keys if tables.get(DELIVERIES, *key) is not None]

        try:
            async with asyncio.timeout(KNOWN_S):
                return await self._projections.ask(recorded, folds=[JOBS_FOLD.name], stale=True)
        except TimeoutError:
            # A long question holds up the tables. A hint recorded twice costs one more look at
            # a job; a sender that waits too long gives up, and older ones for good.
            return []

    def _taken(self, given: Given, fact: DeliveryReceived) -> _Coming:
        """Put a delivery on its way."""
        draft = draft_of(given.server, fact)
        event = NewEvent(
            id=self._clock.new_id(),
            stream=draft.stream,
            fact=fact,
            occurred_at=draft.occurred_at,
            actor=draft.actor,
            evidence=draft.evidence,
        )
        coming = _Coming((given.server, fact.body_hash), fact, event, [given])
        self._coming[coming.key] = coming
        return coming

    def _start(self, work: Coroutine[None, None, None], group: Sequence[Given]) -> None:
        """Work for some deliveries. What it raises is told to whoever waits for them."""

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (exc := task.exception()) is not None:
                for given in group:
                    given.told(exc)

        task = asyncio.create_task(work, name="deliveries")
        self._tasks.add(task)
        task.add_done_callback(ended)

    def _put(self, coming: _Coming) -> None:
        if not self._gathered:
            # All that comes in this turn of the loop goes with it.
            asyncio.get_running_loop().call_soon(self._go_on)
        self._gathered.append(coming)

    def _go_on(self) -> None:
        """Append what was gathered, unless that can wait for the append on its way."""
        while self._gathered and (not self._appending or len(self._gathered) >= GROUP_MAX):
            group, self._gathered = self._gathered[:GROUP_MAX], self._gathered[GROUP_MAX:]
            self._appending += 1
            self._start(
                self._append_group(group), [one for coming in group for one in coming.given]
            )

    async def _append_group(self, group: list[_Coming]) -> None:
        try:
            await self._append(group)
        finally:
            self._appending -= 1
            self._go_on()

    async def _append(self, group: list[_Coming]) -> None:
        began_s = self._clock.monotonic_s()
        try:
            appended = await self._store.append([coming.event for coming in group])
        except (QueueFull, StoreFailed) as exc:
            self._failed(group, exc)
        except BaseException as exc:
            if len(group) == 1 or not isinstance(exc, SyncError):
                self._failed(group, exc)  # Who waits raises it, so it is not lost.
                return
            # What is refused of one delivery is not its neighbours' fault.
            for coming in group:
                await self._append([coming])
        else:
            took_s = self._clock.monotonic_s() - began_s
            self._recorded(group)
            # Answers are on their way first: whoever waits for them goes on meanwhile.
            asyncio.get_running_loop().call_soon(self._follow_up, group, appended.positions, took_s)

    def _failed(self, group: list[_Coming], exc: BaseException) -> None:
        for coming in group:
            # The server will send it again, and it is not known then.
            self._coming.pop(coming.key, None)
            coming.fail(exc)

    def _recorded(self, group: list[_Coming]) -> None:
        now_us = self._clock.now_us()
        for coming in group:
            self._coming.pop(coming.key, None)
            self._recent.add(coming.key, now_us)
            coming.on_disk()

    def _follow_up(self, group: list[_Coming], positions: Sequence[int], took_s: float) -> None:
        """Do what is to be done about deliveries on disk, and nobody waits for."""
        now_us = self._clock.now_us()
        self._bodies.keep(*[Body(now_us, *one.key, one.given[0].body) for one in group])
        for one in group:
            try:
                self._on_delivery(one.key[0], one.fact)
            except Exception as exc:
                # It is on disk, and its sender knows so.
                log.error("delivery_unheard", server=one.key[0], **crash(exc))
        self._tell(group, positions, took_s)

    def _tell(self, group: list[_Coming], positions: Sequence[int], took_s: float) -> None:
        """Log one line for the deliveries of a server in one append."""
        stood: dict[str, list[int]] = {}
        for coming, position in zip(group, positions, strict=True):
            stood.setdefault(coming.event.stream, []).append(position)
        for stream, mine in stood.items():
            self._lines.info(
                "deliveries",
                server=stream.removeprefix("server/"),
                received=len(mine),
                first=mine[0],
                last=mine[-1],
                ms=round(took_s * 1_000, 1),
            )


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
