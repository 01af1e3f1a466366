"""`/healthz`: the process is alive. `/readyz`: it can record and answer."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from daemon.ports.projections import Projections
from daemon.ports.store import EventStore
from events.errors import SyncError
from projections.tables import Tables

ANSWER_S: Final = 5.0


async def healthz(_request: web.Request) -> web.Response:
    """Answer, which shows that the event loop turns."""
    return web.Response(text="ok\n")


class Readyz:
    """Asks the log and the projections."""

    def __init__(self, store: EventStore, projections: Projections) -> None:
        self._store = store
        self._projections = projections

    async def handle(self, _request: web.Request) -> web.Response:
        """Answer 200 with the log's head, or 503 with what is wrong."""
        try:
            async with asyncio.timeout(ANSWER_S):
                head = await self._store.head()
                await self._projections.ask(_nothing, stale=True)
        except TimeoutError:
            return web.json_response({"ready": False, "reason": "no answer in time"}, status=503)
        except SyncError as exc:
            return web.json_response({"ready": False, "reason": exc.message}, status=503)
        return web.json_response({"ready": True, "position": head})


def _nothing(_tables: Tables) -> None:
    """Ask for nothing but an answer."""
