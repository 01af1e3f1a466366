"""`POST /webhooks/cvat/<server>`: what each outcome is answered with.

A 4xx makes newer CVAT servers give a delivery up for good (408 and 429 excepted), so only what can
never be right gets one. Whatever is our own trouble is a 503, which they repeat for days.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from daemon.app import UnknownServer
from daemon.http.receiver import RefusedDelivery
from daemon.http.refusals import Reason
from daemon.ports.projections import ProjectionsFailed
from daemon.ports.store import QueueFull, StoreFailed

PATH: Final = "/webhooks/cvat/{server}"
STATUS: Final[dict[Reason, int]] = {
    "signature": 401,
    "too large": 413,
    "too slow": 408,
    "unreadable": 400,
}


class Verdict(NamedTuple):
    """What a delivery is answered with.

    text     short and ASCII: CVAT keeps it
    outcome  as it is counted, None where it is not known whose the delivery is, or not our word
    """

    status: int
    text: str = ""
    outcome: str | None = None


RECEIVED: Final = Verdict(204, outcome="received")
DUPLICATE: Final = Verdict(204, outcome="duplicate")
NO_SERVER: Final = Verdict(404, "no such server\n")
# The reason stands in our own log; it is nobody else's business.
NOT_NOW: Final = Verdict(503, "cannot record it now\n")
OUR_FAULT: Final = Verdict(500, "it failed\n")


def verdict(outcome: bool | BaseException) -> Verdict:
    """Judge what became of a delivery: whether it was new, or what kept it from being recorded."""
    match outcome:
        case True:
            return RECEIVED
        case False:
            return DUPLICATE
        case UnknownServer():
            return NO_SERVER
        case RefusedDelivery():
            return Verdict(STATUS[outcome.reason], f"{outcome.message}\n", "refused")
        case QueueFull() | StoreFailed() | ProjectionsFailed():
            return NOT_NOW
    return OUR_FAULT
