"""`diff`: what changed between two moments, in a dataset or in a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from daemon.operations.exits import DIFFERENT
from daemon.operations.log import opened
from daemon.operations.registry import Json, exit_with, operation
from daemon.operations.targets import FOLDS, Job, target
from daemon.operations.times import position_at
from events.envelope import Recorded
from events.registry import Fact
from projections import comparison
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.ports.store import LogReader

Place = TypeVar("Place")


class DiffArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two moments, and what is compared: a dataset, or job/SERVER/ID."""

    target: str
    since: str | None = None
    until: str | None = None


@operation("diff", args=DiffArgs)
async def diff(app: App, args: DiffArgs) -> AsyncGenerator[Json, None]:
    """Compare two moments; ends with exit code 3 where there are differences.

    Reads only the events between them, and only the labels that those name.
    """
    first = await position_at(app.store, args.since) if args.since else 0
    last = await position_at(app.store, args.until) if args.until else await app.store.head()
    wanted = await target(app, args.target)
    if isinstance(wanted, Job):
        found = await _compared(
            app,
            (first, last),
            ["job/"],
            lambda events: comparison.touched_annotations(events, wanted.server, wanted.job),
            lambda tables, key: comparison.annotation_at(tables, wanted.server, wanted.job, *key),
            lambda key: {"server": wanted.server, "job": wanted.job, "kind": key[0], "id": key[1]},
        )
    else:
        found = await _compared(
            app,
            (first, last),
            [f"dataset/{wanted}", f"run/{wanted}/"],
            lambda events: comparison.touched_labels(events, wanted),
            lambda tables, address: comparison.label_at(tables, wanted, address),
            lambda address: {"dataset": wanted, **address._asdict()},
        )
    yield {"kind": "range", "since": first, "until": last, "differences": len(found)}
    for one in found:
        yield {"kind": "difference", **one.where, "operation": one.operation,
               "old": one.old, "new": one.new}  # fmt: skip
    if found:
        yield exit_with(DIFFERENT)


async def _compared(
    app: App,
    span: tuple[int, int],
    streams: list[str],
    touched: Callable[[Iterator[tuple[Recorded, Fact]]], list[Place]],
    value: Callable[[Tables, Place], Json | None],
    where: Callable[[Place], Json],
) -> list[comparison.Difference]:
    async with opened(app.store) as reader:
        places = await asyncio.to_thread(lambda: touched(_events(reader, span, streams)))
    if not places:
        return []

    def values(tables: Tables) -> list[Any]:
        return [value(tables, place) for place in places]

    old = await app.projections.ask(values, at=span[0], folds=FOLDS)
    new = await app.projections.ask(values, at=span[1], folds=FOLDS)
    pairs = zip(places, old, new, strict=True)
    found = (comparison.difference(where(place), was, now) for place, was, now in pairs)
    return [one for one in found if one is not None]


def _events(
    reader: LogReader, span: tuple[int, int], streams: list[str]
) -> Iterator[tuple[Recorded, Fact]]:
    for recorded in reader.read(after=span[0], upto=span[1]):
        if recorded.stream.startswith(tuple(streams)):
            yield recorded, reader.fact(recorded)
