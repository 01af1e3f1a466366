"""After the log was restored from a copy: what is held of its past, and what may not be done yet.

Between the copy and its restoring, people went on in CVAT, and we may have written there ourselves;
the log knows nothing of it. Until all jobs of a server were read again, a merge would take old
values for the present, and a write could be the second one.
"""

from __future__ import annotations

import msgspec

from events import dataset, job, run, server
from events.envelope import Recorded
from events.errors import SyncError
from events.log import EPOCH_FIRST, LogRestored, PersonForgotten
from projections.fold import Fold
from projections.jobs import SERVERS
from projections.tables import Table, Tables


class EpochRow(msgspec.Struct, frozen=True, kw_only=True):
    """One history of the log that went on from a copy.

    began     the last position that the copy held
    position  of the event that says so
    """

    epoch: int
    began: int
    position: int


EPOCHS = Table("epochs", ("epoch",), EpochRow)


class NotSweptYet(SyncError):
    """The log was restored, and this server's jobs were not read since."""


def epoch_of(tables: Tables) -> int:
    """Return the number of the history that is being written."""
    return max((row.epoch for row in tables.scan(EPOCHS)), default=EPOCH_FIRST)


def is_held(tables: Tables, epoch: int, position: int) -> bool:
    """Tell whether what somebody saw at a position, in an epoch, is in this log."""
    rows = list(tables.scan(EPOCHS))
    known = {EPOCH_FIRST, *(row.epoch for row in rows)}
    return epoch in known and all(position <= row.began for row in rows if row.epoch > epoch)


def unswept(tables: Tables, server: str) -> bool:
    """Tell whether a server's jobs were not all read since the log was restored."""
    restored = max((row.position for row in tables.scan(EPOCHS)), default=0)
    row = tables.get(SERVERS, server)
    return restored > 0 and (row is None or row.last_sweep < restored)


def check_swept(tables: Tables, server: str) -> None:
    """Raise NotSweptYet where nothing may be merged or written yet."""
    if unswept(tables, server):
        raise NotSweptYet(
            "the log was restored, and not all jobs of the server were read since",
            server=server,
            hint="nothing was written; the running daemon reads them, then this can be repeated",
        )


def _restored(tables: Tables, at: Recorded, fact: LogRestored) -> None:
    tables.put(EPOCHS, EpochRow(epoch=fact.epoch, began=fact.position, position=at.position))


RESTORED_FOLD = Fold(
    name="restored",
    revision=1,
    tables=(EPOCHS,),
    handlers={LogRestored: _restored},
    ignores=frozenset((*dataset.FACTS, *server.FACTS, *job.FACTS, *run.FACTS, PersonForgotten)),
)
