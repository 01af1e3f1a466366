"""The way to a CVAT server: address, TLS, login, version, rights, clock."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from config.settings import Server
from daemon.checks.finding import Finding, ok, problem, warning
from daemon.clock import Clock
from daemon.ports.cvat import (
    CvatApi,
    CvatError,
    Forbidden,
    NotFound,
    Refused,
    ServerMoved,
    ServerTrouble,
    ServerUnreachable,
    Unauthorized,
)

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
SKEW_S_MAX: Final = 60.0
OLDEST: Final = (2, 15)
NEWEST: Final = (2, 80)
# From which version on a server can do something (release notes of cvat-ai/cvat).
ABLE_FROM: Final = (
    ((2, 48), "personal access tokens"),
    ((2, 67), "repeated webhooks (lost ones are found by back-fill)"),
    ((2, 73), "webhooks about background work"),
)
UNABLE_FROM: Final = (
    ((2, 76), "no longer says what a webhook's update changed: authors are known less often"),
)


async def check_server(
    name: str, server: Server, cvat: CvatApi, clock: Clock, *, has_runs: bool
) -> AsyncIterator[Finding]:
    """Look at one server, as far as it lets us.

    has_runs  runs are open there, so that a read-only login is not enough
    """
    yield address(name, server.url)
    try:
        about = await cvat.about()
    except Unauthorized as exc:
        yield ok("reach", name, f"answers at {server.url}")
        yield _refused(name, exc)
        return
    except CvatError as exc:
        yield unreached(name, server, exc)
        return
    yield ok("reach", name, f"answers at {server.url}")
    yield version(name, str(about.get("version") or ""))
    yield await _clock(name, cvat, clock)
    try:
        user = await cvat.self_user()
    except CvatError as exc:
        yield _refused(name, exc)
        return
    yield _user(name, user)
    yield await _rights(name, cvat, server, has_runs=has_runs)


def address(name: str, url: str) -> Finding:
    """Tell whether credentials travel in the clear."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname in LOOPBACK:
        return ok("address", name, url)
    return warning(
        "address", name, f"{url} is not encrypted: credentials travel in the clear", "use https"
    )


def unreached(name: str, server: Server, exc: CvatError) -> Finding:
    """Say why a server gave no usable answer."""
    cause = f"{exc.message} {exc.facts.get('cause') or ''}".strip()
    if "CERTIFICATE_VERIFY_FAILED" in cause or "certificate" in cause.lower():
        todo = "give the authority that signed it as `ca_file`; verification is never switched off"
    elif isinstance(exc, ServerMoved):
        todo = "give the address that it redirects to as `url`"
    elif isinstance(exc, ServerUnreachable):
        todo = "check `url`, the network, and `proxy` or `trust_env` where one stands between"
    else:
        todo = "check that `url` is CVAT's own, and the server's health"
    return problem("reach", name, cause, todo, reached=False)


def version(name: str, text: str) -> Finding:
    """Say what the server's version can and cannot do."""
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        return warning("version", name, f"names no version ({text[:40]!r})", "is it CVAT?")
    number = int(found[1]), int(found[2])
    what = "; ".join([f"CVAT {text}", *_lacks(number)])
    if not OLDEST <= number <= NEWEST:
        oldest, newest = ".".join(map(str, OLDEST)), ".".join(map(str, NEWEST))
        return warning("version", name, what, f"tried with {oldest} to {newest}: watch the log")
    return ok("version", name, what)


def _lacks(number: tuple[int, int]) -> Iterator[str]:
    for since, ability in ABLE_FROM:
        if number < since:
            yield f"lacks what came with {since[0]}.{since[1]}: {ability}"
    for since, loss in UNABLE_FROM:
        if number >= since:
            yield loss


async def _clock(name: str, cvat: CvatApi, clock: Clock) -> Finding:
    before_us = clock.now_us()
    try:
        server_us = await cvat.clock_us()
    except CvatError:
        server_us = None
    if server_us is None:
        return ok("clock", name, "says no time")
    return skew(name, (server_us - (before_us + clock.now_us()) / 2) / 1e6)


def skew(name: str, ahead_s: float) -> Finding:
    """Tell how far the clocks are apart."""
    # The Date header has whole seconds.
    if abs(ahead_s) > SKEW_S_MAX:
        way = "ahead of" if ahead_s > 0 else "behind"
        return warning(
            "clock",
            name,
            f"its clock is {abs(ahead_s):.0f} s {way} ours",
            "set both by NTP: times of saves and of events would not go together",
        )
    return ok("clock", name, f"within {max(1.0, abs(ahead_s)):.0f} s of ours")


def _refused(name: str, exc: CvatError) -> Finding:
    if isinstance(exc, Unauthorized | Forbidden):
        todo = "give working credentials: `labeltrail server add` again, or the credential file"
        return problem("login", name, exc.message, todo)
    return problem("login", name, exc.message, "see the server's health", reached=False)


def _user(name: str, user: Any) -> Finding:
    groups = ", ".join(map(str, user.get("groups") or ())) or "none"
    sees = "sees everything" if user.get("is_superuser") else "sees what it owns or is assigned"
    return ok("login", name, f"as {user.get('username')} (groups: {groups}): {sees}")


async def _rights(name: str, cvat: CvatApi, server: Server, *, has_runs: bool) -> Finding:
    """Tell whether the login may write, by a write that has no object."""
    if server.personal_token is None:
        return ok("rights", name, "a login that may write, as far as its user may")
    try:
        await cvat.ping_webhook(0)
    except Forbidden:
        return _read_only(name, has_runs=has_runs)
    except (NotFound, Refused):
        return ok("rights", name, "a token that may write, as far as its user may")
    except (ServerTrouble, CvatError) as exc:
        return warning("rights", name, f"not known: {exc.message}", "ask again later")
    return ok("rights", name, "a token that may write")


def _read_only(name: str, *, has_runs: bool) -> Finding:
    if has_runs:
        return problem(
            "rights",
            name,
            "a read-only token, and annotation runs are open here",
            "runs need to write: give a token with read_only off",
        )
    return ok("rights", name, "a read-only token: enough to record, not to annotate or restore")
