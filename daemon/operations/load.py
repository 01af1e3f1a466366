"""`load`: bring what annotators did to the dataset."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon import wiring
from daemon.operations.exits import DIFFERENT
from daemon.operations.registry import Json, exit_with, operation
from projections.run_keys import find_run

if TYPE_CHECKING:
    from daemon.app import App


class LoadArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The run to load."""

    dataset: str
    key: str
    dry_run: bool = False


@operation("load", args=LoadArgs, writes="dataset")
async def load(app: App, args: LoadArgs) -> AsyncGenerator[Json, None]:
    """Read, settle and merge each job of a run; loading again changes nothing."""
    run = await app.projections.ask(lambda tables: find_run(tables, args.dataset, args.key))
    handler = await wiring.load(app, run.request.server)
    waits = False
    async for loaded in handler.load(args.dataset, run.key, dry_run=args.dry_run):
        waits |= bool(loaded.conflicts or loaded.held or loaded.quarantined)
        yield {"kind": "loaded", **msgspec.structs.asdict(loaded)}
    if waits:
        yield exit_with(DIFFERENT)
