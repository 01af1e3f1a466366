"""The daemon's task that watches the jobs of every declared server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from daemon import wiring
from daemon.logs import trouble
from daemon.observer import BACKOFF_FIRST_S, BACKOFF_MAX_S, Observer
from daemon.ports.cvat import CvatError

if TYPE_CHECKING:
    from daemon.app import App
    from events.server import DeliveryReceived

log = structlog.get_logger(__name__)


async def watch_servers(app: App) -> None:
    """Watch the jobs of all servers until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name in app.settings.servers:
            group.create_task(_watch(app, name), name=f"watch {name}")
        await asyncio.Event().wait()


async def _watch(app: App, name: str) -> None:
    observer = await _connected(app, name)
    rounds = await wiring.rounds(app, name)

    def heard(server: str, delivery: DeliveryReceived) -> None:
        if server != name:
            return
        rounds.heard(delivery)
        in_scope = not observer.projects or delivery.project in observer.projects
        if delivery.job is not None and in_scope:
            observer.hint(delivery.job)
        elif delivery.job is None:
            # A new hook, task or project: there may be jobs that nobody told of.
            observer.look()

    with app.hearing_deliveries(heard):
        async with asyncio.TaskGroup() as group:
            group.create_task(rounds.run(), name=f"rounds {name}")
            await observer.run()


async def _connected(app: App, name: str) -> Observer:
    """Wait for the server to answer once: whose credentials are ours must be known first."""
    backoff_s = BACKOFF_FIRST_S
    while True:
        try:
            watch = await wiring.watch(app, name, by_command=False)
        except CvatError as exc:
            log.warning("server_unreachable", server=name, **trouble(exc))
            await app.clock.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
            continue
        server = app.server(name)
        return Observer(
            watch,
            clock=app.clock,
            projects=server.projects,
            debounce_s=server.debounce_s,
            settle_s=server.settle_s,
            poll_s=server.poll_s,
            sweep_s=server.sweep_s,
        )
