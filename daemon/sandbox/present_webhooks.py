"""Webhooks and their deliveries as JSON documents; see `present`."""

from __future__ import annotations

from daemon.sandbox.model import Delivery, Json, Webhook
from daemon.sandbox.present import person
from daemon.sandbox.state import State, as_date


def webhook(state: State, row: Webhook, base: str, *, last: bool = False) -> Json:
    """Show a webhook, never its secret; `last` adds how its latest delivery ended."""
    shown = {
        "id": row.id,
        "url": f"{base}/api/webhooks/{row.id}",
        "target_url": row.target_url,
        "description": row.description,
        "type": row.type,
        "content_type": "application/json",
        "is_active": row.is_active,
        "enable_ssl": row.enable_ssl,
        "created_date": as_date(row.created),
        "updated_date": as_date(row.updated),
        "owner": person(state, row.owner, base),
        "project_id": row.project,
        "organization": row.organization,
        "events": row.events,
    }
    sent = [each for each in state.deliveries.values() if each.webhook == row.id]
    if not last or not sent:
        return shown
    return shown | {
        "last_status": sent[-1].status_code,
        "last_delivery_date": as_date(sent[-1].updated),
    }


def delivery(row: Delivery, *, is_new: bool, stored: bool = True) -> Json:
    """Show a delivery; what was stored comes back with its keys in another order.

    is_new  2.73 tells which attempt it was, and how long it took
    """
    attempt = {"attempt": row.attempt, "request_duration": row.duration_ms} if is_new else {}
    return {
        "id": row.id,
        "webhook_id": row.webhook,
        "event": row.event,
        "status_code": row.status_code,
        "redelivery": row.redelivery,
        **attempt,
        "created_date": as_date(row.created),
        "updated_date": as_date(row.updated),
        "changed_fields": row.changed_fields,
        "request": in_stored_order(row.request) if stored else row.request,
        "response": row.response,
    }


def in_stored_order(value: Json) -> Json:
    """Order keys as PostgreSQL's jsonb does: short names first, then by byte."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        return {name: in_stored_order(value[name]) for name in names}
    return [in_stored_order(each) for each in value] if isinstance(value, list) else value
