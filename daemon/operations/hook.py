"""`hook install`, `hook backfill`: let CVAT tell us when something happens, also afterwards."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec

from daemon import wiring
from daemon.handlers.annotate import install_hook
from daemon.operations.registry import Json, operation

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
