"""What is recorded of a webhook delivery, however it reached us: by request or by look-up."""

from __future__ import annotations

from daemon.cvat.deliveries import Delivery
from daemon.handlers.dates import us_of
from events.server import DeliveryReceived
from projections.decision import Draft


def received(delivery: Delivery) -> DeliveryReceived:
    """Return what is recorded of a delivery."""
    names = delivery.before_update
    return DeliveryReceived(
        webhook=delivery.webhook,
        event=delivery.event,
        resource=delivery.kind,
        resource_id=delivery.resource,
        job=delivery.job,
        task=delivery.task,
        project=delivery.project,
        updated_date=delivery.updated_date,
        before_update=names if names is not None else delivery.changes,
        before_date=delivery.before_date,
        sender=delivery.sender,
        body_hash=delivery.digest.hex(),
    )


def draft_of(server: str, fact: DeliveryReceived) -> Draft:
    """Say whose a delivery is: its sender's, where it names one."""
    return Draft(
        f"server/{server}",
        fact,
        actor=None if fact.sender is None else f"{server}/{fact.sender}",
        evidence="unknown" if fact.sender is None else "webhook",
        occurred_at=us_of(fact.updated_date),
    )
