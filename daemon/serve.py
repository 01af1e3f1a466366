"""The supervisor: starts everything in order, watches it, stops it in order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from config import load
from daemon import logs
from daemon.app import App, load_settings, open_app
from daemon.control import server as control
from daemon.following import follow_manifests
from daemon.http import listener
from daemon.loops import loop_factory
from daemon.notify import notify, watchdog_s
from daemon.operations.exits import ERROR
from daemon.watching import watch_servers
from events.errors import SyncError

TASKS_STOP_S: Final = 10.0
ACTOR: Final = "daemon"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Task:
    """One thing that the daemon does until it is stopped.

    anew  it is stopped and started again when other settings come into force
    """

    name: str
    run: Callable[[App], Awaitable[None]]
    anew: bool = False


class TaskEnded(SyncError):
    """A task that should run until the end has ended; all the others stop with it."""


async def _follow(app: App) -> None:
    await app.projections.follow()


async def _watchdog(app: App) -> None:
    """Tell systemd that the event loop still turns."""
    every_s = watchdog_s()
    if every_s is None:
        await asyncio.Event().wait()
        return
    while True:
        notify("WATCHDOG=1")
        await app.clock.sleep(every_s)


# Everything that runs in the background, in the order in which it starts.
TASKS: Final[tuple[Task, ...]] = (
    Task("projector", _follow),
    Task("watchdog", _watchdog),
    Task("manifests", follow_manifests, anew=True),
    Task("jobs", watch_servers, anew=True),
)


def main(config_file: Path | None) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Raises the SyncError that kept it from starting, or that stopped it.
    """
    settings = load_settings(config_file)
    logs.configure(settings.logging.level, settings.secrets)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            if not runner.run(serve(config_file)):
                # All that was acknowledged is on disk, and the runner would wait for ever.
                os._exit(ERROR)
    except BaseExceptionGroup as group:
        raise _first(group) from group


async def serve(config_file: Path | None, tasks: Collection[Task] = TASKS) -> bool:
    """Serve until a signal comes; return False if a task did not stop.

    Raises what keeps it from starting, and what a task failed with.
    """
    stop = asyncio.Event()
    async with open_app(config_file, actor=ACTOR) as app:
        logs.configure(app.settings.logging.level, lambda: app.secrets)
        _on_signals(app, stop)
        socket_path = load.control_socket(app.settings)
        async with listener.listening(app) as app.address, control.listening(app, socket_path):
            log.info("serving", http=app.address, control=str(socket_path), folder=str(app.folder))
            notify("READY=1")
            clean = await _run(app, tasks, stop)
            notify("STOPPING=1")
            log.info("stopping")
    log.info("stopped")
    return clean


async def _run(app: App, tasks: Collection[Task], stop: asyncio.Event) -> bool:
    """Run the tasks until one fails, or until it is time to stop; tell whether all stopped."""
    group = asyncio.create_task(_run_all(app, tasks), name="tasks")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({group, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        group.cancel()
        _, late = await asyncio.wait({group}, timeout=TASKS_STOP_S)
    if late:
        log.error("tasks did not stop in time", seconds=TASKS_STOP_S)
    elif not group.cancelled():
        group.result()
    return not late


async def _run_all(app: App, tasks: Collection[Task]) -> None:
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(_run_one(app, task), name=task.name)


async def _run_one(app: App, task: Task) -> None:
    while True:
        running = asyncio.ensure_future(task.run(app))
        reloaded = asyncio.ensure_future(app.wait_reloaded())
        waiting: set[asyncio.Future[Any]] = {running, reloaded} if task.anew else {running}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                raise TaskEnded("a task of the daemon ended by itself", task=task.name)
        finally:
            reloaded.cancel()
            running.cancel()
            await asyncio.wait({running})
        log.info("starts anew with other settings", task=task.name)


def _on_signals(app: App, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        reloads.add(task := loop.create_task(_reload(app), name="reload"))
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)


async def _reload(app: App) -> None:
    try:
        await app.reload()
        log.info("settings reloaded")
    except SyncError as exc:
        log.error("settings not reloaded", error=exc.message, **exc.facts)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one exception that all the others followed from."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
