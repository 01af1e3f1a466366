"""`hook install`: let a project of CVAT tell us when something happens."""

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
