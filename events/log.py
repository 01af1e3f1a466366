"""Facts of the stream `log`: what was done to the log as a whole."""

from __future__ import annotations

from events.registry import Fact, event

STREAM = "log"


@event("LogRestored")
class LogRestored(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The log goes on from a copy. What was recorded after the copy was made is not in it.

    epoch     the number of the history that begins: the time of restoring, in s since 1970
    position  the last event of the copy
    """

    epoch: int
    position: int


FACTS = (LogRestored,)
