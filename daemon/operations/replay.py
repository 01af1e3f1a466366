"""Fold the whole log anew, and hold the result against the state that is in use."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from daemon.operations.exits import NOT_VERIFIED
from daemon.operations.registry import Json, exit_with, operation
from events.errors import SyncError
from projections.compare import dump
from projections.fold import Fold
from projections.folds import FOLDS
from projections.streams import STREAMS
from projections.tables import Tables

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.ports.projections import Projections

TRIES_MAX: Final = 10
DIFFERENCES_MAX: Final = 100  # named one by one

Rows = dict[tuple[str, str], bytes]


class StillMoving(SyncError):
    """The state moved on each time that it was compared."""


class ReplayArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """rebuild: put freshly folded tables in the place of those in use."""

    rebuild: bool = False


class _Digest(NamedTuple):
    """A whole state in 32 bytes a fold. position: of the last event, as the tables know it."""

    position: int
    folds: dict[str, bytes]
    rows: int


@operation("replay", args=ReplayArgs)
async def replay(app: App, args: ReplayArgs) -> AsyncGenerator[Json, None]:
    """Replay into new, empty tables, compare with the live ones; exit code 4 if they differ."""
    position, live, fresh = await _both(app)
    differing = [fold for fold in FOLDS if live.folds[fold.name] != fresh.folds[fold.name]]
    for fold in differing:
        async for found in _differences(app.projections, fold, position):
            yield found
    if args.rebuild:
        await app.projections.rebuild()
    yield {
        "kind": "replayed",
        "identical": not differing,
        "position": position,
        "rows": fresh.rows,
        "folds": [fold.name for fold in FOLDS],
        "differing": [fold.name for fold in differing],
        "rebuilt": args.rebuild,
    }
    if differing:
        yield exit_with(NOT_VERIFIED)


async def _both(app: App) -> tuple[int, _Digest, _Digest]:
    """Return a position, the digest of the live tables there, and of a replay up to there."""
    for _ in range(TRIES_MAX):
        head = await app.store.head()
        live = await app.projections.ask(_digest)
        # Where nothing was appended meanwhile, the position is known without the tables' word.
        position = head if head == await app.store.head() else live.position
        # Tables `at` a position are folded from the log into tables of their own.
        fresh = await app.projections.ask(_digest, at=position)
        if position == head or fresh.position == live.position:
            return position, live, fresh
    raise StillMoving("the state moved on while it was compared", hint="try again when it is calm")


async def _differences(
    projections: Projections, fold: Fold, position: int
) -> AsyncGenerator[Json, None]:
    def rows(tables: Tables) -> Rows:
        return {(one.table, repr(one.key)): _hash(one.row) for one in dump(tables, fold)}

    live = await projections.ask(rows)
    fresh = await projections.ask(rows, at=position)
    keys = sorted(key for key in live.keys() | fresh.keys() if live.get(key) != fresh.get(key))
    for table, key in keys[:DIFFERENCES_MAX]:
        yield {
            "kind": "difference",
            "fold": fold.name,
            "table": table,
            "key": key,
            "live": (table, key) in live,
            "replayed": (table, key) in fresh,
        }


def _digest(tables: Tables) -> _Digest:
    position = max((row.position for row in tables.scan(STREAMS)), default=0)
    folds, rows = {}, 0
    for fold in FOLDS:
        digest = hashlib.sha256()
        for piece in _pieces(tables, fold):
            digest.update(_hash(piece))
            rows += 1
        folds[fold.name] = digest.digest()
    return _Digest(position, folds, rows)


def _pieces(tables: Tables, fold: Fold) -> Iterator[bytes]:
    for one in dump(tables, fold):
        yield f"{one.table}\0{one.key!r}\0".encode() + one.row


def _hash(piece: bytes) -> bytes:
    return hashlib.sha256(piece).digest()
