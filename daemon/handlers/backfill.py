"""Record the deliveries that never reached us, from the server's own list of them.

CVAT sends a delivery once (before 2.66), and keeps what it sent for as long as the webhook lives.
How far the list was read stands in the log; a delivery is known by the hash of its document, so one
that was repeated, with its keys in another order, is not recorded twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from daemon.cvat.deliveries import UnreadableDelivery, of_document
from daemon.handlers.aside import List, set_aside
from daemon.handlers.carry_out import Journal
from daemon.handlers.deliveries import draft_of, received
from daemon.ports.cvat import (
    ASIDE_MAX,
    Aside,
    CvatApi,
    Forbidden,
    NotFound,
    Row,
    UnreadableAnswer,
    UnreadableRow,
)
from events.server import DeliveriesFilled, DeliveryReceived
from projections import jobs, runs
from projections.decision import Decision, Draft
from projections.streams import versions
from projections.tables import Tables

# Deliveries of one webhook that are read at once, the newest. CVAT never drops any.
READ_MAX: Final = 20_000
# The server numbers a delivery before it commits it: a neighbour's may show up later.
OVERLAP: Final = 50
# Deliveries in one append.
BATCH_MAX: Final = 500

OnDelivery = Callable[[str, DeliveryReceived], None]


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """What one webhook's list brought.

    read        deliveries that were looked at; `unreadable` of them are not what CVAT sends, and
                `aside` says of the first ones why
    new         those that were not known, oldest first
    complete    False where the list was longer than is read at once
    """

    webhook: int
    upto: int = 0
    read: int = 0
    unreadable: int = 0
    aside: tuple[UnreadableRow, ...] = ()
    new: tuple[DeliveryReceived, ...] = ()
    complete: bool = True
    refused: str = ""


@dataclass(frozen=True)
class Backfill:
    """Fills the gaps of one server's webhooks.

    target_url   where the server sends our deliveries
    on_delivery  is told of each delivery that came to be on disk
    """

    cvat: CvatApi
    journal: Journal
    target_url: str
    on_delivery: OnDelivery = lambda server, delivery: None

    @property
    def server(self) -> str:
        """The server's name in the settings and in the log."""
        return self.cvat.name

    async def fill(self, *, dry_run: bool = False) -> AsyncIterator[Filled]:
        """Read the list of each of our webhooks from where the last reading ended.

        Raises CvatError; a webhook that is gone, or whose list we may not read, is passed over. One
        whose list cannot be read holds up no other, and is raised at the end.
        """
        aside: Aside = []
        hooks = await self.hooks(aside)
        if not dry_run:
            await self._set_aside("webhooks", aside, hooks, whole=True)
        unreadable: UnreadableAnswer | None = None
        for webhook in hooks:
            try:
                found = await self._read(webhook)
            except (Forbidden, NotFound, UnreadableAnswer) as exc:
                unreadable = exc if isinstance(exc, UnreadableAnswer) else unreadable
                yield Filled(webhook=webhook, refused=exc.message)
                continue
            yield found if dry_run else await self._record(found)
        if unreadable is not None:
            raise unreadable

    async def hooks(self, aside: Aside | None = None) -> list[int]:
        """Return the webhooks that send to us: those of the server's list, and those of runs.

        aside  takes rows of the list that cannot be read; without it, they are UnreadableAnswer
        """
        listed = {
            row["id"]
            async for row in self._listed(aside)
            if row.get("target_url") == self.target_url
        }
        linked = await self.journal.projections.ask(
            lambda tables: {
                run.webhook
                for run in tables.scan(runs.RUNS)
                if run.webhook is not None
                and run.request.server == self.server
                and not run.cleaned_up
            }
        )
        return sorted(listed | linked)

    async def _set_aside(
        self, name: List, aside: Sequence[UnreadableRow], sound: Collection[int], *, whole: bool
    ) -> None:
        await set_aside(self.journal, self.server, name, aside, sound, whole=whole)

    async def _listed(self, aside: Aside | None) -> AsyncIterator[Row]:
        """Walk the server's webhooks; none where we may not."""
        try:
            async for row in self.cvat.webhooks(aside=aside):
                yield row
        except Forbidden:
            return

    async def _read(self, webhook: int) -> Filled:
        known = await self.journal.projections.ask(
            lambda tables: tables.get(jobs.HOOKS, self.server, webhook)
        )
        after = max(0, known.upto - OVERLAP) if known else 0
        upto, read = known.upto if known else 0, 0
        facts: list[DeliveryReceived] = []
        complete = True
        aside: Aside = []
        refused: list[UnreadableRow] = []
        async for row in self.cvat.deliveries(webhook, after=after, aside=aside):
            if read == READ_MAX:
                complete = False
                break
            upto = max(upto, row["id"])
            read += 1
            try:
                facts.append(received(of_document(_request(row))))
            except UnreadableDelivery as exc:
                refused.append(UnreadableRow(row["id"], exc.message))
        hidden = [*aside, *refused]
        new = await self.journal.projections.ask(
            lambda tables: tuple(_unknown(tables, self.server, facts[::-1]))
        )
        return Filled(
            webhook=webhook,
            upto=upto,
            read=read + len(aside),
            unreadable=len(hidden),
            aside=tuple(hidden[:ASIDE_MAX]),
            new=new,
            complete=complete,
        )

    async def _record(self, found: Filled) -> Filled:
        """Append what is not known by now either; the last append says how far the list was read.

        A process that dies between two of them reads the list again, and finds the first known.
        """
        await self._set_aside("deliveries", found.aside, (), whole=False)
        recorded: list[DeliveryReceived] = []
        for first in range(0, max(len(found.new), 1), BATCH_MAX):
            batch = found.new[first : first + BATCH_MAX]
            last = first + BATCH_MAX >= len(found.new)
            decision = await self.journal.carry_out(
                lambda tables, batch=batch, last=last: self._decide(  # type: ignore[misc]
                    tables, batch, found if last else None
                )
            )
            facts = [d.fact for d in decision.drafts if isinstance(d.fact, DeliveryReceived)]
            recorded += facts
            for fact in facts:
                self.on_delivery(self.server, fact)
        return msgspec.structs.replace(found, new=tuple(recorded))

    def _decide(
        self, tables: Tables, facts: Sequence[DeliveryReceived], found: Filled | None
    ) -> Decision:
        stream = f"server/{self.server}"
        drafts = [draft_of(self.server, fact) for fact in _unknown(tables, self.server, facts)]
        # A delivery that came meanwhile must be seen. Not so how far somebody else read the list:
        # the tables keep who came further, whoever ends last.
        expects = versions(tables, [stream]) if drafts else {}
        if found is not None and _is_further(tables, self.server, found):
            filled = DeliveriesFilled(
                webhook=found.webhook,
                upto=found.upto,
                read=found.read,
                new=len(found.new),
                complete=found.complete,
            )
            drafts.append(Draft(stream, filled))
        return Decision(drafts, expects)


def _is_further(tables: Tables, server: str, found: Filled) -> bool:
    known = tables.get(jobs.HOOKS, server, found.webhook)
    return found.upto > (known.upto if known else 0)


def _unknown(
    tables: Tables, server: str, facts: Sequence[DeliveryReceived]
) -> Iterator[DeliveryReceived]:
    """Yield the deliveries that the log does not hold, each once."""
    seen: set[str] = set()
    for fact in facts:
        if fact.body_hash not in seen and not tables.get(jobs.DELIVERIES, server, fact.body_hash):
            seen.add(fact.body_hash)
            yield fact


def _request(row: Row) -> dict[str, Any]:
    """Return the document that was sent, as the server kept it."""
    request = row.get("request")
    if not isinstance(request, dict):
        raise UnreadableDelivery("the server's list holds no document of the delivery")
    return request
