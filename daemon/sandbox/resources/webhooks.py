"""Webhooks and their deliveries."""

from __future__ import annotations

import json

from daemon.sandbox import present, present_webhooks
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import bad_request, not_found
from daemon.sandbox.fields import (
    Absent,
    Check,
    FieldInvalid,
    Missing,
    boolean,
    choice,
    clean,
    integer,
    optional,
    record,
    text,
    url,
)
from daemon.sandbox.model import Delivery, Json, Webhook
from daemon.sandbox.query import Fields, listing
from daemon.sandbox.rights import in_scope, may_project, may_webhook, need
from daemon.sandbox.routes import route
from daemon.sandbox.state import newest_first

SECRET_LONGEST = 64
DESCRIPTION_LONGEST = 128
PROJECT_EVENTS = sorted(
    [
        f"{verb}:{kind}"
        for verb in ("create", "update", "delete")
        for kind in ("task", "job", "issue", "comment")
    ]
    + ["update:project", "delete:project"]
)
ORGANIZATION_EVENTS = sorted(
    [*PROJECT_EVENTS, "create:project", "create:invitation", "delete:invitation"]
    + [f"{verb}:membership" for verb in ("create", "update", "delete")]
    + ["update:organization", "delete:organization"]
)
EVENTS = {"project": PROJECT_EVENTS, "organization": ORGANIZATION_EVENTS}
# 2.73 lists events in groups; the keys are what is posted.
OF_TASKS = [
    (f"{verb}:{kind}", kind.capitalize())
    for kind in ("task", "job", "issue", "comment")
    for verb in ("create", "update", "delete")
]
OF_REQUESTS = [
    ("completed:request[export:annotations]", "Dataset export"),
    ("completed:request[export:dataset]", "Dataset export"),
    ("completed:request[export:backup]", "Backup export"),
    ("completed:request[create:task]", "Task data creation"),
    ("completed:request[merge:task]", "Consensus merge"),
    ("completed:request[merge:job]", "Consensus merge"),
    ("completed:request[calculate:quality]", "Quality report creation"),
]
NEW_EVENTS = {
    "project": [
        *OF_TASKS,
        *OF_REQUESTS,
        ("update:project", "Project"),
        ("delete:project", "Project"),
    ],
    "organization": [
        *((f"{verb}:project", "Project") for verb in ("create", "update", "delete")),
        *OF_TASKS,
        ("update:organization", "Organization"),
        ("create:invitation", "Invitation"),
        ("delete:invitation", "Invitation"),
        *((f"{verb}:membership", "Membership") for verb in ("create", "update", "delete")),
        *OF_REQUESTS,
    ],
}
KNOWN_EVENTS = {*ORGANIZATION_EVENTS, *(key for key, _ in OF_REQUESTS)}


def _events(value: object) -> list[str]:
    if not isinstance(value, list):
        kind = type(value).__name__
        raise FieldInvalid([f'Expected a list of items but got type "{kind}".'])
    for name in value:
        choice(KNOWN_EVENTS)(name)
    return sorted(set(value))


FIELDS: dict[str, Check] = {
    "target_url": url,
    "description": text(longest=DESCRIPTION_LONGEST, blank=True),
    "content_type": choice(["application/json"]),
    "secret": text(longest=SECRET_LONGEST, blank=True),
    "is_active": boolean,
    "enable_ssl": boolean,
    "events": _events,
}
WEBHOOK: Check = record(
    target_url=(url, Missing),
    description=(FIELDS["description"], ""),
    type=(choice(list(EVENTS)), Missing),
    content_type=(FIELDS["content_type"], "application/json"),
    secret=(FIELDS["secret"], ""),
    is_active=(boolean, True),
    enable_ssl=(boolean, True),
    project_id=(optional(integer()), None),
    events=(_events, Missing),
)
CHANGE: Check = record(**{name: (check, Absent) for name, check in FIELDS.items()})


@route("GET", "/api/webhooks/events")
async def events(call: Call) -> Reply:
    """List the events that a webhook may name."""
    kind = call.param("type") or "all"
    if call.is_new:
        listed = NEW_EVENTS.get(kind, NEW_EVENTS["organization"])
        shown = [{"key": key, "group": {"display_name": group}} for key, group in listed]
        return Reply(body={"webhook_type": kind, "events": shown})
    named = EVENTS.get(kind, ORGANIZATION_EVENTS)
    return Reply(body={"webhook_type": kind, "events": named})


@route("POST", "/api/webhooks")
async def webhooks_create(call: Call) -> Reply:
    """Make a webhook of a project or of the named organization."""
    sent = clean(WEBHOOK, call.json)
    state = call.state
    named = call.organization
    if sent["type"] == "project":
        if sent["project_id"] not in state.projects:
            raise bad_request({"project_id": ["Project not found."]})
        need(may_project(call, state.projects[sent["project_id"]]))
    elif named is None:
        raise bad_request(["Only organization webhooks can be created in an organization"])
    listed = {key for key, _ in NEW_EVENTS[sent["type"]]} if call.is_new else EVENTS[sent["type"]]
    unknown = [name for name in sent["events"] if name not in listed]
    if unknown:
        raise bad_request({"events": ["Invalid events list for webhook type"]})
    row = Webhook(
        id=state.next_id("webhooks"),
        target_url=sent["target_url"],
        description=sent["description"],
        type=sent["type"],
        secret=sent["secret"],
        is_active=sent["is_active"],
        enable_ssl=sent["enable_ssl"],
        owner=call.user.id,
        project=sent["project_id"] if sent["type"] == "project" else None,
        organization=named.id if named else None,
        events=sent["events"],
        created=state.now(),
        updated=state.now(),
    )
    state.webhooks[row.id] = row
    return Reply(201, present_webhooks.webhook(state, row, call.base))


@route("GET", "/api/webhooks")
async def webhooks_list(call: Call) -> Reply:
    """List the webhooks that the caller manages."""
    state = call.state
    rows = [
        row
        for row in newest_first(state.webhooks.values())
        if in_scope(call, row.organization) and may_webhook(call, row)
    ]
    fields = {
        "id": lambda row: row.id,
        "target_url": lambda row: row.target_url,
        "type": lambda row: row.type,
        "description": lambda row: row.description,
        "project_id": lambda row: row.project,
        "owner": lambda row: state.users[row.owner].username,
        "updated_date": lambda row: row.updated,
    }

    def show(row: Webhook) -> Json:
        return present_webhooks.webhook(state, row, call.base, last=True)

    return listing(
        call, rows, fields=fields, show=show, search=("target_url", "owner", "type", "description")
    )


def _webhook(call: Call) -> Webhook:
    row = call.state.must_find(call.state.webhooks, call.id, "Webhook")
    need(may_webhook(call, row))
    return row


@route("GET", "/api/webhooks/{id}")
async def webhooks_get(call: Call) -> Reply:
    """Show a webhook and how its last delivery ended."""
    return Reply(body=present_webhooks.webhook(call.state, _webhook(call), call.base, last=True))


@route("PATCH", "/api/webhooks/{id}")
async def webhooks_change(call: Call) -> Reply:
    """Change a webhook; a change of its secret holds for the next delivery."""
    row = _webhook(call)
    for name, value in clean(CHANGE, call.json).items():
        if name != "content_type":
            setattr(row, name, value)
    row.updated = call.state.now()
    return Reply(body=present_webhooks.webhook(call.state, row, call.base))


@route("DELETE", "/api/webhooks/{id}")
async def webhooks_delete(call: Call) -> Reply:
    """Delete a webhook with its deliveries."""
    row = _webhook(call)
    call.state.deleted_webhooks[row.id] = call.state.webhooks.pop(row.id)
    return Reply(204)


@route("POST", "/api/webhooks/{id}/ping")
async def webhooks_ping(call: Call) -> Reply:
    """Send a ping within the request, and tell how it ended."""
    row = _webhook(call)
    sender = present.basic_user(call.user, call.base)
    body = {
        "event": "ping",
        "webhook": present_webhooks.webhook(call.state, row, call.base),
        "sender": sender,
    }
    delivery = Delivery(0, row.id, "ping", body, redelivery=False, created=0, updated=0)
    status, answer = await call.outbox.attempt(row, json.dumps(body).encode())
    call.outbox.record(delivery, status, answer)
    return Reply(body=_delivery(call, delivery, stored=False))


def _delivery(call: Call, row: Delivery, *, stored: bool = True) -> Json:
    return present_webhooks.delivery(row, is_new=call.is_new, stored=stored)


def _deliveries(call: Call) -> list[Delivery]:
    row = _webhook(call)
    return [each for each in newest_first(call.state.deliveries.values()) if each.webhook == row.id]


@route("GET", "/api/webhooks/{id}/deliveries")
async def deliveries_list(call: Call) -> Reply:
    """List deliveries, the newest first; they cannot be filtered."""
    none: Fields[Delivery] = {}
    return listing(call, _deliveries(call), fields=none, show=lambda row: _delivery(call, row))


def _one(call: Call) -> Delivery:
    wanted = int(call.ids[1])
    found = [row for row in _deliveries(call) if row.id == wanted]
    if not found:
        raise not_found()
    return found[0]


@route("GET", "/api/webhooks/{id}/deliveries/{id}")
async def deliveries_get(call: Call) -> Reply:
    """Show a delivery."""
    return Reply(body=_delivery(call, _one(call)))


@route("POST", "/api/webhooks/{id}/deliveries/{id}/redelivery")
async def deliveries_repeat(call: Call) -> Reply:
    """Send a delivery again: other bytes, another valid signature."""
    row = _one(call)
    again = call.outbox.queue(_webhook(call), row.request, redelivery=True)
    again.changed_fields = row.changed_fields
    return Reply(body={})
