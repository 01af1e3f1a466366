"""The way back: does each webhook reach us, and which tasks have none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, Final
from urllib.parse import urlsplit

from daemon.checks.finding import Finding, ok, problem, warning
from daemon.ports.cvat import CvatApi, CvatError, Forbidden, NotFound, Row

# Tasks that are looked through for those that no webhook can cover.
TASKS_MAX: Final = 2_000
NAMED_MAX: Final = 10

SMOKESCREEN: Final = (
    "CVAT's outgoing proxy refuses private addresses: set SMOKESCREEN_OPTS=\"--allow-address=<our"
    ' ip>" (or --allow-range=<network>) for its server and its webhook worker'
)
Advice = Callable[[str], str]
ADVICE: Final[dict[int, str]] = {
    401: "the webhook signs with another secret: `labeltrail hook install PROJECT` sets ours",
    403: "something before us refuses: a proxy, a firewall",
    404: "the address is not ours: set [http] public_url, then `labeltrail hook install PROJECT`",
    407: SMOKESCREEN,
    502: "CVAT cannot connect: check [http] host and public_url, and that the port is open to it; "
    "where the address is private: " + SMOKESCREEN,
    503: "we could not write it down: see disk, and our own log lines",
    504: "no answer within 10 s: a firewall that drops packets, or a name that leads elsewhere",
}


def target(server: str, url: str) -> Finding:
    """Tell whether a CVAT server could reach the address that we give it."""
    host = urlsplit(url).hostname or ""
    todo = "set [http] public_url to an address by which CVAT reaches us"
    if host in ("0.0.0.0", "::"):  # noqa: S104 — compared, not listened at
        return problem("target", server, f"{url} is no address to send to", todo)
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return warning("target", server, f"{url} is reached from this machine alone", todo)
    if "." not in host and ":" not in host:
        return problem("target", server, f"CVAT refuses one-label host names ({host})", todo)
    return ok("target", server, url)


async def check_hooks(
    cvat: CvatApi, hooks: Collection[int], *, is_listening: bool
) -> AsyncIterator[Finding]:
    """Let the server try each of our webhooks.

    is_listening  a daemon of ours runs; without one a ping could only fail
    """
    if not is_listening:
        yield warning(
            "hook", cvat.name, "no daemon runs, so CVAT's way to us was not tried",
            "run `labeltrail doctor` while the daemon serves",
        )  # fmt: skip
        return
    for webhook in hooks:
        yield await _ping(cvat, webhook)


async def _ping(cvat: CvatApi, webhook: int) -> Finding:
    where = f"{cvat.name}, webhook {webhook}"
    try:
        delivery = await cvat.ping_webhook(webhook)
    except NotFound:
        return problem("hook", where, "is gone", "`labeltrail hook install PROJECT` makes it anew")
    except Forbidden:
        return warning("hook", where, "we may not try it", "let its owner run `doctor`")
    except CvatError as exc:
        return warning("hook", where, f"was not tried: {exc.message}", "ask again later")
    return pinged(where, delivery.get("status_code"))


def pinged(where: str, status: Any) -> Finding:
    """Say what the answer that CVAT got from us means."""
    code = status if isinstance(status, int) else int(status) if str(status).isdecimal() else 0
    if 200 <= code < 300:
        return ok("hook", where, "CVAT's ping reached us")
    todo = ADVICE.get(code, "something between CVAT and us answered: look for a proxy")
    return problem("hook", where, f"CVAT's ping ended with {code or 'no status'}", todo)


async def check_coverage(
    cvat: CvatApi, *, hooked: Collection[int], watched: Collection[int], poll_s: float
) -> AsyncIterator[Finding]:
    """Tell which tasks fire no webhook of ours.

    hooked   projects with a webhook of ours
    watched  projects whose jobs are recorded
    """
    loose: list[Row] = []
    looked = 0
    async for row in cvat.tasks():
        looked += 1
        if row.get("project_id") is None and not _organization(row):
            loose.append(row)
        if looked == TASKS_MAX:
            break
    polled = f"their saves are found by polling, every {poll_s:g} s, and without an author"
    if loose:
        names = ", ".join(f"{row.get('id')}" for row in loose[:NAMED_MAX])
        more = ", …" if len(loose) > NAMED_MAX else ""
        yield warning(
            "coverage",
            cvat.name,
            f"{len(loose)} tasks outside a project and organization fire no webhook ({names}{more})"
            f": {polled}",
            "move them into a project, and install its webhook",
        )
    bare = sorted(set(watched) - set(hooked))
    if bare:
        names = ", ".join(map(str, bare[:NAMED_MAX]))
        yield warning(
            "coverage",
            cvat.name,
            f"{len(bare)} recorded projects have no webhook of ours ({names}): {polled}",
            "`labeltrail hook install PROJECT`",
        )
    if not loose and not bare:
        yield ok("coverage", cvat.name, "no task in sight lacks a webhook, and no recorded project")


def _organization(row: Row) -> Any:
    # `organization` up to 2.7x, `organization_id` after.
    return row.get("organization") or row.get("organization_id")
