"""A process that folds a log into a file, and kills itself in the middle of a batch.

Run by test_sqlite.py: `python -m tests.daemon.projector.crash LOG PROJECTIONS POSITION`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from daemon.projector import SqliteProjections
from daemon.store.sqlite import SqliteStore
from events.envelope import Recorded
from events.registry import Fact
from projections.fold import Fold
from projections.tables import Table, Tables
from tests.daemon.projector.tally import CLOCK, FOLDS, version


class Met(msgspec.Struct, frozen=True):
    """An event that was folded."""

    position: int


METS = Table("mets", ("position",), Met)


def killing(position: int) -> Fold:
    """Return a fold that ends the process at a position, once the batch so far was written."""

    def kill(tables: Tables, at: Recorded, _fact: Fact) -> None:
        tables.put(METS, Met(at.position))
        if at.position == position:
            next(tables.scan(METS))  # A scan writes what the batch holds so far to the file.
            os.kill(os.getpid(), signal.SIGKILL)

    return Fold(name="killing", revision=1, tables=(METS,), handlers={Fact: kill})


async def main(log: Path, projections: Path, position: int) -> None:
    store = await SqliteStore.open(log, CLOCK)
    kept = await SqliteProjections.open(projections, store, (*FOLDS, killing(position)))
    await kept.ask(version)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
