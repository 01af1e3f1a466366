"""`server thaw`: a person says what the ids of a restored server mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon import wiring
from daemon.operations.registry import Json, operation
from events.errors import SyncError
from events.server import ServerThawed
from projections.decision import Decision, Draft
from projections.jobs import JOBS, SERVERS
from projections.streams import versions
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App


class ThawServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server whose ids still mean the same work, as somebody has made sure."""

    name: str
    dry_run: bool = False


class NotFrozen(SyncError):
    """The server is not frozen, so there is nothing to decide."""


@operation("thaw", args=ThawServer, writes="log")
async def thaw(app: App, args: ThawServer) -> AsyncGenerator[Json, None]:
    """Go on with a frozen server: read each job as it is now, end those that are others today."""
    app.server(args.name)
    decision = await app.projections.ask(lambda tables: _thawing(tables, args.name))
    frozen = await app.projections.ask(lambda tables: _in_condition(tables, args.name, "frozen"))
    (draft,) = decision.drafts
    assert isinstance(draft.fact, ServerThawed)
    found = {"kind": "thawed", "server": args.name, "reason": draft.fact.reason}
    if args.dry_run:
        yield {**found, "jobs": len(frozen)}
        return
    watch = await wiring.watch(app, args.name)
    await wiring.journal(app).carry_out(lambda tables: _thawing(tables, args.name))
    outcomes = Counter([(await watch.observe(job)).outcome for job in frozen])
    replaced = await app.projections.ask(
        lambda tables: _in_condition(tables, args.name, "replaced")
    )
    yield {**found, "jobs": len(frozen), "outcomes": dict(outcomes), "replaced": replaced}


def _thawing(tables: Tables, name: str) -> Decision:
    row = tables.get(SERVERS, name)
    if row is None or not row.frozen:
        raise NotFrozen("the server is not frozen", server=name, hint="nothing was written")
    stream = f"server/{name}"
    thawed = ServerThawed(reason=row.frozen)
    return Decision([Draft(stream, thawed)], versions(tables, [stream]))


def _in_condition(tables: Tables, name: str, condition: str) -> list[int]:
    return [row.job for row in tables.scan(JOBS, name) if row.condition == condition]
