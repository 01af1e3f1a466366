"""Facts of a `server/<name>` stream: what reached us from one CVAT server."""

from __future__ import annotations

from events.registry import Fact, event


@event("DeliveryReceived")
class DeliveryReceived(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """One webhook request with a valid signature. A hint that a job may have changed, no more.

    body_hash       SHA-256 (hex) of the canonical JSON: a redelivery orders its keys anew
    before_update   names of the changed members, None where the server does not tell
    before_date     the resource's `updated_date` before, None where the server does not tell
    """

    webhook: int | None = None
    event: str
    resource: str = ""
    resource_id: int | None = None
    job: int | None = None
    task: int | None = None
    project: int | None = None
    updated_date: str | None = None
    before_update: tuple[str, ...] | None = None
    before_date: str | None = None
    sender: int | None = None
    body_hash: str


@event("DeliveriesFilled")
class DeliveriesFilled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The server's own list of a webhook's deliveries was read; those not known are recorded.

    upto      highest delivery id read: the next reading begins after it
    read      deliveries read, `new` of them not known before
    complete  False where the list was longer than is read at once: the oldest were left out
    """

    webhook: int
    upto: int
    read: int
    new: int = 0
    complete: bool = True


@event("DeliveryRefused")
class DeliveryRefused(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A request to the webhook address that was not taken (signature, size, form). Counted."""

    reason: str
    count: int = 1


@event("SweepCompleted")
class SweepCompleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """All jobs in sight were compared with what was recorded."""

    jobs: int
    changed: int = 0
    gone: int = 0


@event("RowUnreadable")
class RowUnreadable(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """One row of a list of the server's is not what CVAT documents; the others were taken.

    list    jobs, tasks, issues, comments, webhooks or deliveries
    id      of the row; None for all those of the list that have none
    reason  what is wrong, and in which member
    """

    list: str
    id: int | None = None
    reason: str


@event("RowReadable")
class RowReadable(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A row that was unreadable is sound now, or no longer there."""

    list: str
    id: int | None = None


@event("ServerChanged")
class ServerChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Ids may belong to other work now (restored or reinstalled): its jobs are frozen."""

    reason: str
    old: dict[str, object] = {}
    new: dict[str, object] = {}


@event("ServerThawed")
class ServerThawed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A person decided that the server's ids still mean the same work: its jobs are read again.

    reason  what it was frozen for
    """

    reason: str


FACTS = (
    DeliveryReceived,
    DeliveriesFilled,
    DeliveryRefused,
    SweepCompleted,
    RowUnreadable,
    RowReadable,
    ServerChanged,
    ServerThawed,
)
