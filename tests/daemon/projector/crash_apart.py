"""A process that has its pool fold a log into a file, and is killed in the middle.

Run by test_apart.py: `python -m tests.daemon.projector.crash_apart LOG PROJECTIONS`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from unittest.mock import patch

from daemon.pool import Pool
from daemon.projector import SqliteProjections, apart
from daemon.store.sqlite import SqliteStore
from projections.folds import FOLDS
from tests.daemon.projector import stricken
from tests.daemon.projector.tally import CLOCK


async def main(log: Path, projections: Path) -> None:
    store = await SqliteStore.open(log, CLOCK)
    kept = await SqliteProjections.open(projections, store, FOLDS, pool=Pool(), log_file=log)
    with patch.object(apart, "work", stricken.orphaned):
        await kept.ask(lambda _: None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
