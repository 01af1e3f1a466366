"""Read the settings again."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from daemon.operations.registry import Json, NoArgs, operation

if TYPE_CHECKING:
    from daemon.app import App


@operation("reload")
async def reload(app: App, args: NoArgs) -> AsyncGenerator[Json, None]:
    """Let the running daemon take over the settings as they are now."""
    await app.reload()
    yield {
        "kind": "reloaded",
        "servers": sorted(app.settings.servers),
        "datasets": sorted(app.settings.datasets),
    }
