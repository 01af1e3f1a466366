"""`at`: the labels of a dataset, or the annotations of a job, as they were at a moment."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec

from daemon.operations.registry import Json, operation
from daemon.operations.targets import FOLDS, Job, target
from daemon.operations.times import position_at
from projections import comparison
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App


class AtArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A moment, and what is to be seen: a dataset, or job/SERVER/ID."""

    moment: str
    target: str
    sample: str | None = None
    field: str | None = None


@operation("at", args=AtArgs)
async def at(app: App, args: AtArgs) -> AsyncGenerator[Json, None]:
    """Show a state of the past: the one at the last position recorded by then."""
    position = await position_at(app.store, args.moment)
    wanted = await target(app, args.target)

    def state(tables: Tables) -> list[Json]:
        if isinstance(wanted, Job):
            return [
                {"kind": "annotation", "server": wanted.server, "job": wanted.job, "value": value}
                for _, value in comparison.annotations_of(tables, wanted.server, wanted.job)
            ]
        return [
            {"kind": "label", "dataset": wanted, **address._asdict(), "document": document}
            for address, document in comparison.labels_of(
                tables, wanted, sample=args.sample, field=args.field
            )
        ]

    found: list[dict[str, Any]] = await app.projections.ask(state, at=position, folds=FOLDS)
    yield {"kind": "position", "position": position, "count": len(found)}
    for one in found:
        yield one
