"""Facts about the log as a whole, and about what is kept beside it."""

from __future__ import annotations

from events.registry import Fact, event

STREAM = "log"
EPOCH_FIRST = 1
PEOPLE_STREAM = "people"


@event("LogRestored")
class LogRestored(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The log goes on from a copy. What was recorded after the copy was made is not in it.

    epoch     the number of the history that begins: the time of restoring, in s since 1970
    position  the last event of the copy
    """

    epoch: int
    position: int


@event("PersonForgotten")
class PersonForgotten(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Names, mail address and texts of a person were erased. The log held none of them.

    person  the actor, "<server>/<user id>"
    """

    person: str


FACTS = (LogRestored, PersonForgotten)
