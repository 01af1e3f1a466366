"""Who makes a request: token, session, password, or a personal token (2.73)."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from hmac import compare_digest

from daemon.sandbox.call import Call
from daemon.sandbox.errors import unauthorized
from daemon.sandbox.model import AccessToken, User


def caller_of(call: Call) -> User | None:
    """Return who calls, or None; raises Refused (401) for credentials that are wrong."""
    kind, _, value = call.headers.get("authorization", "").partition(" ")
    match kind:
        case "Token":
            return _by_login_key(call, value)
        case "Basic":
            return _by_password(call, value)
        case "Bearer" if call.is_new:
            return _by_access_token(call, value)
    return _by_session(call)


def _same(left: str, right: str) -> bool:
    return compare_digest(left.encode(), right.encode())


def _by_login_key(call: Call, value: str) -> User:
    for user in call.state.users.values():
        if _same(user.key, value):
            return user
    raise unauthorized("Invalid token.")


def _by_access_token(call: Call, value: str) -> User:
    for row in call.state.access_tokens.values():
        if _same(row.value, value) and not _has_expired(row, call.state.clock.now_us()):
            row.last_used = call.state.now()
            call.by_token, call.read_only = True, row.read_only
            return call.state.users[row.owner]
    raise unauthorized("Invalid token.")


def _has_expired(row: AccessToken, now_us: int) -> bool:
    return row.expiry is not None and datetime.fromisoformat(row.expiry).timestamp() * 1e6 <= now_us


def _by_password(call: Call, value: str) -> User:
    try:
        name, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise unauthorized("Invalid basic header.") from exc
    for user in call.state.users.values():
        if _same(user.username, name) and _same(user.password, password):
            return user
    raise unauthorized("Invalid username/password.")


def _by_session(call: Call) -> User | None:
    for pair in call.headers.get("cookie", "").split(";"):
        name, _, content = pair.strip().partition("=")
        for user in call.state.users.values():
            if name == "sessionid" and _same(user.session, content):
                return user
    return None
