"""Rows of a server's lists that cannot be read: which there are, and what a walk says of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import msgspec

from events import dataset, job, log, run, server
from events.envelope import Recorded
from events.registry import Fact
from events.server import RowReadable, RowUnreadable
from projections.decision import Decision, Draft
from projections.fold import Fold, Handler
from projections.streams import versions
from projections.tables import Table, Tables

NO_ID = -1
"""Stands in the table's key for the rows of a list that have no id."""


class UnreadableRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row, or all rows without an id; `since` is the position of the event that said so."""

    server: str
    list: str
    number: int
    reason: str
    since: int

    @property
    def id(self) -> int | None:
        """The row's id, where it has one."""
        return _id(self.number)


UNREADABLE = Table("unreadable", ("server", "list", "number"), UnreadableRow)


def observe_rows(
    tables: Tables,
    server_name: str,
    name: str,
    unreadable: Mapping[int | None, str],
    sound: Collection[int],
    *,
    whole: bool,
) -> Decision:
    """Decide what a walk over a list tells of rows that cannot be read, beyond what is known.

    unreadable  id → what is wrong; None: of those without an id
    sound       ids of the rows that were read
    whole       all rows were walked, so that one which is missing is gone

    A reason that changes is no news: a server that makes up another each time writes no log full.
    """
    known = {row.number for row in tables.scan(UNREADABLE, server_name, name)}
    found = {NO_ID if number is None else number: why for number, why in unreadable.items()}
    stream = f"server/{server_name}"
    facts: list[Fact] = [
        RowUnreadable(list=name, id=_id(number), reason=why)
        for number, why in found.items()
        if number not in known
    ]
    facts += [
        RowReadable(list=name, id=_id(number))
        for number in sorted(known - found.keys())
        if whole or number in sound
    ]
    return Decision([Draft(stream, fact) for fact in facts], versions(tables, [stream]))


def unreadable_rows(tables: Tables, server_name: str) -> Iterator[UnreadableRow]:
    """Yield the rows of a server that cannot be read."""
    yield from tables.scan(UNREADABLE, server_name)


def _id(number: int) -> int | None:
    return None if number == NO_ID else number


def _unreadable(tables: Tables, at: Recorded, fact: RowUnreadable) -> None:
    row = UnreadableRow(
        server=_server(at),
        list=fact.list,
        number=NO_ID if fact.id is None else fact.id,
        reason=fact.reason,
        since=at.position,
    )
    tables.put(UNREADABLE, row)


def _readable(tables: Tables, at: Recorded, fact: RowReadable) -> None:
    tables.delete(UNREADABLE, _server(at), fact.list, NO_ID if fact.id is None else fact.id)


def _server(at: Recorded) -> str:
    return at.stream.removeprefix("server/")


_HANDLERS: dict[type[Fact], Handler] = {RowUnreadable: _unreadable, RowReadable: _readable}

_EVERY: frozenset[type[Fact]] = frozenset(
    (*dataset.FACTS, *server.FACTS, *job.FACTS, *run.FACTS, *log.FACTS)
)

UNREADABLE_FOLD = Fold(
    name="unreadable",
    revision=1,
    tables=(UNREADABLE,),
    handlers=_HANDLERS,
    ignores=_EVERY - _HANDLERS.keys(),
)
