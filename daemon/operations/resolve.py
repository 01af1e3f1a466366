"""`resolve`: decide what waits in `pending`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon import wiring
from daemon.operations.registry import Json, operation
from events.run import MergeReleased
from projections import merge, runs
from projections.pending import Choice, resolve

if TYPE_CHECKING:
    from daemon.app import App


class ResolveArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of `pending`, and whose side is taken."""

    id: str
    choice: Choice
    dry_run: bool = False


@operation("resolve", args=ResolveArgs, writes="dataset")
async def run(app: App, args: ResolveArgs) -> AsyncGenerator[Json, None]:
    """Decide an entry; a released merge is carried out at once."""
    decision = await app.projections.ask(lambda tables: resolve(tables, args.id, args.choice))
    if not args.dry_run:
        decision = await wiring.journal(app).carry_out(
            lambda tables: resolve(tables, args.id, args.choice)
        )
    for draft in decision.drafts:
        yield {"kind": "resolved", "stream": draft.stream, **msgspec.to_builtins(draft.fact)}
        if isinstance(draft.fact, MergeReleased) and not args.dry_run:
            await _merge(app, draft.stream, draft.fact.job)


async def _merge(app: App, stream: str, job: int) -> None:
    run = await app.projections.ask(lambda tables: tables.get(runs.RUNS, *runs.run_of(stream)))
    assert run is not None
    server = run.request.server
    await wiring.witness(app).carry_out(lambda tables: merge.decide(tables, server, job))
