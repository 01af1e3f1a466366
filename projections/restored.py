"""After the log was restored from a copy: what may not be done yet.

Between the copy and its restoring, people went on in CVAT, and we may have written there ourselves;
the log knows nothing of it. Until all jobs of a server were read again, a merge would take old
values for the present, and a write could be the second one.
"""

from __future__ import annotations

from events.errors import SyncError
from events.log import STREAM
from projections.jobs import SERVERS
from projections.streams import STREAMS
from projections.tables import Tables


class NotSweptYet(SyncError):
    """The log was restored, and this server's jobs were not read since."""


def unswept(tables: Tables, server: str) -> bool:
    """Tell whether a server's jobs were not all read since the log was restored."""
    restored = tables.get(STREAMS, STREAM)
    row = tables.get(SERVERS, server)
    return restored is not None and (row is None or row.last_sweep < restored.position)


def check_swept(tables: Tables, server: str) -> None:
    """Raise NotSweptYet where nothing may be merged or written yet."""
    if unswept(tables, server):
        raise NotSweptYet(
            "the log was restored, and not all jobs of the server were read since",
            server=server,
            hint="nothing was written; the running daemon reads them, then this can be repeated",
        )
