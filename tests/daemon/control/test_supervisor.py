"""The supervisor: no task dies unheard, and everything stops in order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from daemon import serve
from daemon.app import App
from daemon.serve import Task, TaskEnded
from events.errors import SyncError


class Broken(SyncError):
    """What a task of a test fails with."""


async def until_cancelled(app: App) -> None:
    await asyncio.Event().wait()


def declare_pets(config: Path) -> None:
    config.write_text(config.read_text() + '[datasets.pets]\nmanifest = "pets"\n')


def spoil(config: Path) -> None:
    config.write_text("[nonsense]\n")


def at_once(number: signal.Signals) -> Callable[[App], Awaitable[None]]:
    """Return a task that sends the process a signal when the daemon serves."""

    async def send(app: App) -> None:
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()

    return send


async def test_one_task_that_fails_stops_all_and_is_named(config: Path):
    """systemd starts us again; half a daemon that looks alive would be worse."""
    stopped = asyncio.Event()

    async def other(app: App) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def failing(app: App) -> None:
        raise Broken("the task broke")

    with pytest.raises(ExceptionGroup) as caught:
        await serve.serve(config, [Task("other", other), Task("failing", failing)])

    assert stopped.is_set()
    assert isinstance(serve._first(caught.value), Broken)


async def test_a_task_that_ends_by_itself_is_a_failure(config: Path):
    """What should run until the end has no business to return."""

    async def returning(app: App) -> None:
        return

    with pytest.raises(ExceptionGroup) as caught:
        await serve.serve(config, [Task("returning", returning)])

    first = serve._first(caught.value)
    assert isinstance(first, TaskEnded)
    assert first.facts == {"task": "returning"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_in_order(config: Path, number: signal.Signals):
    """Tasks first, then the ports, then the log: nobody appends to what is closed."""
    ended: list[str] = []

    async def appends_at_the_end(app: App) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await app.store.head()
            await app.projections.ask(lambda tables: None)
            ended.append("task")

    clean = await serve.serve(
        config, [Task("t", appends_at_the_end), Task("signal", at_once(number))]
    )

    assert clean
    assert ended == ["task"]
    assert not (config.parent / "data/control.sock").exists()


async def test_a_task_that_does_not_stop_is_given_up(config: Path, monkeypatch: pytest.MonkeyPatch):
    """One stuck task must not keep the log from being closed."""
    monkeypatch.setattr(serve, "TASKS_STOP_S", 0.05)
    release = asyncio.Event()

    async def stuck(app: App) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    clean = await serve.serve(
        config, [Task("stuck", stuck), Task("signal", at_once(signal.SIGTERM))]
    )

    assert not clean
    release.set()
    await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name() == "tasks"])


async def test_other_settings_start_only_those_tasks_anew_that_ask_for_it(config: Path):
    """A watch of a dataset that is not declared any more must end, the projector must not."""
    started: list[str] = []
    again = asyncio.Event()

    def counting(name: str) -> Callable[[App], Awaitable[None]]:
        async def run(app: App) -> None:
            started.append(name)
            if started.count("anew") == 2:
                again.set()
            await asyncio.Event().wait()

        return run

    async def reloads(app: App) -> None:
        declare_pets(config)
        os.kill(os.getpid(), signal.SIGHUP)
        await again.wait()
        assert "pets" in app.settings.datasets
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    tasks = [
        Task("kept", counting("kept")),
        Task("anew", counting("anew"), anew=True),
        Task("reloads", reloads),
    ]
    await serve.serve(config, tasks)

    assert started == ["kept", "anew", "anew"]


async def test_settings_that_became_bad_leave_the_old_ones_in_force(config: Path):
    """A typo and a SIGHUP must not take the daemon down."""

    async def reloads(app: App) -> None:
        before = app.settings
        spoil(config)
        with pytest.raises(SyncError):
            await app.reload()
        assert app.settings is before
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    await serve.serve(config, [Task("reloads", reloads), Task("other", until_cancelled)])
