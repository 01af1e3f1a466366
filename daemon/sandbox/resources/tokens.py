"""Personal access tokens (2.73): `Authorization: Bearer`, read-only unless said otherwise."""

from __future__ import annotations

from datetime import UTC, datetime

from daemon.sandbox import present
from daemon.sandbox.call import Call, Reply
from daemon.sandbox.errors import forbidden, not_found
from daemon.sandbox.fields import (
    Check,
    FieldInvalid,
    Missing,
    boolean,
    clean,
    optional,
    record,
    text,
)
from daemon.sandbox.model import AccessToken, Json
from daemon.sandbox.query import listing
from daemon.sandbox.routes import route
from daemon.sandbox.state import as_date, newest_first

NO_DATE = (
    "Datetime has wrong format. Use one of these formats instead: "
    "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
)


def _date(value: object) -> str:
    """Check a DateTimeField; a date without a zone is in UTC."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError as exc:
        raise FieldInvalid([NO_DATE]) from exc
    return found.replace(tzinfo=found.tzinfo or UTC).isoformat().replace("+00:00", "Z")


TOKEN: Check = record(
    name=(text(longest=64), Missing),
    read_only=(boolean, True),
    expiry_date=(optional(_date), None),
)


def _shown(call: Call, row: AccessToken) -> Json:
    return {
        "id": row.id,
        "name": row.name,
        "created_date": as_date(row.created),
        "updated_date": as_date(row.updated),
        "expiry_date": row.expiry,
        "last_used_date": as_date(row.last_used) if row.last_used else None,
        "read_only": row.read_only,
        "owner": present.person(call.state, row.owner, call.base),
    }


@route("POST", "/api/auth/access_tokens", since="2.73")
async def tokens_create(call: Call) -> Reply:
    """Make a token; its value is shown this once. No token makes another."""
    if call.by_token:
        raise forbidden()
    sent = clean(TOKEN, call.json)
    state = call.state
    row = AccessToken(
        id=state.next_id("access_tokens"),
        name=sent["name"],
        owner=call.user.id,
        value=f"{call.user.key[:8]}.{state.clock.new_id().hex()}",
        read_only=sent["read_only"],
        expiry=sent["expiry_date"],
        created=state.now(),
        updated=state.now(),
    )
    state.access_tokens[row.id] = row
    return Reply(201, _shown(call, row) | {"value": row.value})


@route("GET", "/api/auth/access_tokens", since="2.73")
async def tokens_list(call: Call) -> Reply:
    """List the caller's tokens, without their values."""
    rows = [row for row in call.state.access_tokens.values() if row.owner == call.user.id]
    fields = {"id": lambda row: row.id, "name": lambda row: row.name}
    return listing(call, newest_first(rows), fields=fields, show=lambda row: _shown(call, row))


def _token(call: Call) -> AccessToken:
    row = call.state.access_tokens.get(call.id)
    if row is None or row.owner != call.user.id:
        raise not_found("No AccessToken matches the given query.")
    return row


@route("GET", "/api/auth/access_tokens/{id}", since="2.73")
async def tokens_get(call: Call) -> Reply:
    """Show a token."""
    return Reply(body=_shown(call, _token(call)))


@route("DELETE", "/api/auth/access_tokens/{id}", since="2.73")
async def tokens_delete(call: Call) -> Reply:
    """Revoke a token."""
    del call.state.access_tokens[_token(call).id]
    return Reply(204)
