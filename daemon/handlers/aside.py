"""Record the rows of a server's lists that cannot be read; the others are taken all the same."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Literal

import structlog

from daemon.handlers.carry_out import Journal
from daemon.ports.cvat import UnreadableRow
from events.server import RowUnreadable
from projections.unreadable import observe_rows

List = Literal["jobs", "tasks", "issues", "comments", "webhooks", "deliveries"]

HINT: Final = "the rest of the list was taken; look at this object on the server"

log = structlog.get_logger(__name__)


async def set_aside(
    journal: Journal,
    server: str,
    name: List,
    aside: Sequence[UnreadableRow],
    sound: Collection[int],
    *,
    whole: bool,
) -> list[int]:
    """Record what a walk over a list put aside, once; return the ids of rows that are news.

    sound  ids of the rows that were read
    whole  the walk was over all of the list
    """
    # The first reason of each stands: a walk may meet a row twice.
    unreadable = {row.id: row.reason for row in reversed(aside)}
    decision = await journal.carry_out(
        lambda tables: observe_rows(tables, server, name, unreadable, sound, whole=whole)
    )
    news = [d.fact for d in decision.drafts if isinstance(d.fact, RowUnreadable)]
    for fact in news:
        log.warning(
            "row_unreadable",
            server=server,
            list=name,
            row=fact.id,
            reason=fact.reason,
            hint=HINT,
        )
    return [fact.id for fact in news if fact.id is not None]
