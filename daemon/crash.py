"""What may be told of a mistake of ours."""

from __future__ import annotations

import traceback


def crash(exc: BaseException) -> dict[str, str]:
    """Return what an exception was and where, for a line of the service's log.

    Without its words: they may quote what a label, a name or a header holds.
    """
    where = "".join(traceback.format_tb(exc.__traceback__))
    return {"error": type(exc).__name__, "where": where}
