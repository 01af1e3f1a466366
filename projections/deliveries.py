"""What came of a server by itself: deliveries, also refused and fetched ones, and sweeps."""

from __future__ import annotations

import msgspec

from events.envelope import Recorded
from events.server import DeliveriesFilled, DeliveryReceived, DeliveryRefused, SweepCompleted
from projections.attribution import Step, date_us
from projections.jobs import (
    DELIVERIES,
    HOOKS,
    JOBS,
    LATE,
    NAMELESS,
    SERVERS,
    SOURCES,
    STEPS,
    DeliveryRow,
    HookRow,
    LateRow,
    ServerRow,
    StepRow,
    source_of,
)
from projections.tables import Tables


def server_at(tables: Tables, at: Recorded) -> ServerRow:
    """Return the server that an event is of."""
    name = at.stream.removeprefix("server/")
    return tables.get(SERVERS, name) or ServerRow(server=name)


def delivery(tables: Tables, at: Recorded, fact: DeliveryReceived) -> None:
    row = server_at(tables, at)
    tables.put(
        SERVERS,
        msgspec.structs.replace(row, deliveries=row.deliveries + 1, last_delivery=at.position),
    )
    if fact.project is not None:
        source = source_of(tables, row.server, fact.project)
        tables.put(
            SOURCES,
            msgspec.structs.replace(
                source, deliveries=source.deliveries + 1, delivered_us=at.recorded_at
            ),
        )
    tables.put(
        DELIVERIES,
        DeliveryRow(server=row.server, body_hash=fact.body_hash, position=at.position),
    )
    if fact.event == "update:job" and fact.job is not None and fact.updated_date:
        step = _step(row.server, at.position, fact.job, fact)
        tables.put(STEPS, step)
        # Hardly any delivery is late; a look for what it may tell of costs as much as the rest.
        job = tables.get(JOBS, row.server, fact.job)
        if job is not None and step.updated_us <= job.nameless_us:
            _note_late(tables, step)


def _note_late(tables: Tables, step: StepRow) -> None:
    """Remember the nameless observation that the delivery's date lies in, if there is one."""
    until_us = None
    for row in tables.scan(NAMELESS, step.server, step.job, start=(step.updated_us,)):
        if row.until_us != (until_us or row.until_us) or row.since_us >= step.updated_us:
            return
        until_us = row.until_us
        late = LateRow(server=row.server, job=row.job, position=row.position, step=step.position)
        tables.put(LATE, late)


def _step(server: str, position: int, job: int, fact: DeliveryReceived) -> StepRow:
    updated_us = date_us(fact.updated_date or "")
    return StepRow(
        server=server,
        job=job,
        updated_us=updated_us,
        position=position,
        step=Step(
            updated_us=updated_us,
            before_us=date_us(fact.before_date) if fact.before_date else None,
            sender=fact.sender,
            saved=set(fact.before_update or ()) <= {"updated_date"},
        ),
    )


def filled(tables: Tables, at: Recorded, fact: DeliveriesFilled) -> None:
    name = at.stream.removeprefix("server/")
    known = tables.get(HOOKS, name, fact.webhook)
    # Two readers of one list may end in another order than they came far.
    if known is None or fact.upto > known.upto:
        tables.put(HOOKS, HookRow(server=name, webhook=fact.webhook, upto=fact.upto))


def refused(tables: Tables, at: Recorded, fact: DeliveryRefused) -> None:
    row = server_at(tables, at)
    tables.put(SERVERS, msgspec.structs.replace(row, refused=row.refused + fact.count))


def swept(tables: Tables, at: Recorded, fact: SweepCompleted) -> None:
    tables.put(SERVERS, msgspec.structs.replace(server_at(tables, at), last_sweep=at.position))
