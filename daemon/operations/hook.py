"""`hook`: let CVAT tell us when something happens, also afterwards, and under which secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon import keys, wiring
from daemon.handlers.projects import install_hook
from daemon.handlers.rotate import Rotate, our_hooks
from daemon.operations.registry import Json, operation
from daemon.ports.cvat import CvatError

if TYPE_CHECKING:
    from daemon.app import App


class InstallHook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A project of a server."""

    project: int
    server: str | None = None
    dry_run: bool = False


@operation("hook.install", args=InstallHook, writes="CVAT")
async def install(app: App, args: InstallHook) -> AsyncGenerator[Json, None]:
    """Install the project's webhook, or mend the one that is there, and let CVAT try it."""
    server = wiring.server_name(app, args.server)
    hook = await wiring.hook(app, server)
    found: Json = {
        "kind": "hook",
        "server": server,
        "project": args.project,
        "target_url": hook.target_url,
    }
    if args.dry_run:
        yield found
        return
    cvat = await app.cvat(server)
    webhook = await install_hook(cvat, args.project, hook)
    ping = await cvat.ping_webhook(webhook)
    yield found | {"webhook": webhook, "ping_status": ping.get("status_code")}


class BackfillHooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server whose webhooks may have been missed."""

    server: str | None = None
    dry_run: bool = False


@operation("hook.backfill", args=BackfillHooks, writes="log")
async def backfill(app: App, args: BackfillHooks) -> AsyncGenerator[Json, None]:
    """Read the server's own list of what it sent us, and record what never reached us."""
    server = wiring.server_name(app, args.server)
    handler = await wiring.backfill(app, server)
    async for filled in handler.fill(dry_run=args.dry_run):
        yield {
            "kind": "filled",
            "server": server,
            "webhook": filled.webhook,
            "read": filled.read,
            "new": len(filled.new),
            "unreadable": filled.unreadable,
            "complete": filled.complete,
            "refused": filled.refused or None,
        }


class HookStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server."""

    server: str | None = None


@operation("hook.status", args=HookStatus)
async def status(app: App, args: HookStatus) -> AsyncGenerator[Json, None]:
    """List the webhooks that send to us: how their last delivery went, and which never came."""
    server = wiring.server_name(app, args.server)
    handler = await wiring.backfill(app, server)
    rows = await our_hooks(handler.cvat, handler.target_url)
    async for filled in handler.fill(dry_run=True):
        row = rows.get(filled.webhook, {})
        yield {
            "kind": "hook",
            "server": server,
            "webhook": filled.webhook,
            "project": row.get("project_id"),
            "target_url": row.get("target_url"),
            "active": row.get("is_active"),
            "last_status": row.get("last_status"),
            "last_delivery": row.get("last_delivery_date"),
            "missed": len(filled.new),
            "refused": filled.refused or None,
        }


class RotateHooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server whose webhooks get another secret."""

    server: str | None = None
    dry_run: bool = False


@operation("hook.rotate", args=RotateHooks, writes="CVAT")
async def rotate(app: App, args: RotateHooks) -> AsyncGenerator[Json, None]:
    """Change the secret of all our webhooks; interrupted, it is asked for again.

    Both secrets are accepted from before the first webhook has the new one until the last one has.
    """
    server = wiring.server_name(app, args.server)
    handler = await wiring.backfill(app, server)

    async def hooks() -> set[int]:
        return {*await our_hooks(handler.cvat, handler.target_url), *await handler.hooks()}

    if args.dry_run:
        for webhook in sorted(await hooks()):
            yield {"kind": "hook", "server": server, "webhook": webhook}
        return
    given = app.server(server).webhook_secrets
    secret = (
        given[0].get_secret_value()
        if given
        else await asyncio.to_thread(keys.make_next_webhook_secret, app.folder, server)
    )
    done = [webhook async for webhook in Rotate(handler.cvat, hooks).to(secret)]
    if not given:
        await asyncio.to_thread(keys.retire_webhook_secret, app.folder, server)
    for webhook in done:
        yield {
            "kind": "hook",
            "server": server,
            "webhook": webhook,
            "ping_status": await _ping(app, server, webhook),
        }
    yield {"kind": "rotated", "server": server, "hooks": len(done), "by_settings": bool(given)}


async def _ping(app: App, server: str, webhook: int) -> int | None:
    """Let CVAT try a webhook; None where it cannot."""
    try:
        ping = await (await app.cvat(server)).ping_webhook(webhook)
    except CvatError:
        return None
    status = ping.get("status_code")
    return status if isinstance(status, int) else None
