"""The composition root: the only place where real parts meet."""

from __future__ import annotations

import asyncio
import copy
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from config import load, places
from config.problems import SettingsUnusable
from config.settings import Dataset, Server, Settings
from daemon import file_systems, keys
from daemon.clock import Clock, SystemClock
from daemon.people import People
from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.pool import Pool
    from daemon.ports.cvat import CvatApi
    from daemon.ports.projections import Projections
    from daemon.ports.store import EventStore
    from events.server import DeliveryReceived

FOLDER_MODE: Final = 0o750
PROJECTIONS_NAME: Final = "projections.db"
SCRATCH_NAME: Final = "scratch"
STORE_STOP_S: Final = 30.0
PROJECTIONS_STOP_S: Final = 10.0
PEOPLE_STOP_S: Final = 5.0
CLIENTS_STOP_S: Final = 5.0
POOL_STOP_S: Final = 5.0

OnDelivery = Callable[[str, "DeliveryReceived"], None]
"""Told of a server's name and a new delivery that is on disk."""


class BadSettings(SyncError):
    """The settings cannot be used; the fact `problems` names everything that has to be mended."""


class NeedsRestart(SyncError):
    """Settings changed that cannot change while the daemon runs."""


class DataFolderUnusable(SyncError):
    """The data folder cannot be made, or not be written by this user."""


class DataFolderRemote(SyncError):
    """The data folder lies on a network file system, where a log cannot be kept safely."""


class UnknownServer(SyncError):
    """No server of this name is declared."""


class UnknownDataset(SyncError):
    """No dataset of this name is declared."""


def load_settings(
    given: Path | None, *, missing_is_fine: bool = False, secrets: bool = True
) -> Settings:
    """Read the settings. Raises BadSettings."""
    try:
        return load.load(given, missing_is_fine=missing_is_fine, secrets=secrets)
    except SettingsUnusable as exc:
        raise bad_settings(exc) from exc


def bad_settings(found: SettingsUnusable) -> BadSettings:
    """Return the problems of the settings as an error of ours."""
    problems = [str(problem) for problem in found.problems]
    return BadSettings("the settings cannot be used", problems=problems)


@dataclass
class _Shared:
    """What all views of one app have in common."""

    config_file: Path
    settings: Settings
    store: EventStore | None = None
    projections: Projections | None = None
    people: People | None = None
    pool: Pool | None = None
    clients: dict[str, CvatApi] = field(default_factory=dict)
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    reloaded: asyncio.Event = field(default_factory=asyncio.Event)
    listeners: list[OnDelivery] = field(default_factory=list)
    secrets: tuple[str, ...] = ()
    address: str | None = None


class App:
    """Everything an operation or a task of the daemon works with.

    actor   who acts through this view of the app, as the log names them
    """

    def __init__(self, config_file: Path, settings: Settings, clock: Clock, *, actor: str) -> None:
        self.clock = clock
        self.actor = actor
        self._shared = _Shared(config_file, settings, secrets=settings.secrets())

    def acting_as(self, actor: str) -> App:
        """Return the same app as somebody else uses it."""
        other = copy.copy(self)
        other.actor = actor
        return other

    @property
    def config_file(self) -> Path:
        return self._shared.config_file

    @property
    def settings(self) -> Settings:
        """The settings as last read; ask again rather than keep them."""
        return self._shared.settings

    @property
    def store(self) -> EventStore:
        assert self._shared.store is not None, "this operation declared that it needs no log"
        return self._shared.store

    @property
    def projections(self) -> Projections:
        """State that follows from the log."""
        assert self._shared.projections is not None, "this operation declared that it needs none"
        return self._shared.projections

    @property
    def people(self) -> People:
        """Names of people, and their texts, which may be erased."""
        assert self._shared.people is not None, "this operation declared that it needs no log"
        return self._shared.people

    @property
    def pool(self) -> Pool:
        """Processes for heavy work, made on first use."""
        from daemon.pool import Pool

        if self._shared.pool is None:
            self._shared.pool = Pool()
        return self._shared.pool

    @property
    def folder(self) -> Path:
        """The data folder."""
        return places.data_folder(self.settings.data.folder)

    @property
    def scratch(self) -> Path:
        """A folder for temporary files as large as a manifest; /tmp may be memory."""
        return self.folder / SCRATCH_NAME

    def server(self, name: str) -> Server:
        """Return the settings of a server. Raises UnknownServer."""
        if name not in self.settings.servers:
            raise UnknownServer(
                "no such server is declared",
                server=name,
                known=sorted(self.settings.servers),
                hint="declare it with `labeltrail server add NAME URL`",
            )
        return self.settings.servers[name]

    def webhook_secrets(self, name: str) -> list[str]:
        """Return what a server's webhooks may be signed with: secrets given, then our own.

        Raises UnknownServer.
        """
        given = [secret.get_secret_value() for secret in self.server(name).webhook_secrets]
        return [*given, *keys.webhook_secrets(self.folder, name)]

    def dataset(self, name: str) -> Dataset:
        """Return the settings of a dataset. Raises UnknownDataset."""
        if name not in self.settings.datasets:
            raise UnknownDataset(
                "no such dataset is declared",
                dataset=name,
                known=sorted(self.settings.datasets),
                hint="declare it with `labeltrail dataset add NAME MANIFEST`",
            )
        return self.settings.datasets[name]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret that is, or was, in force; no output may hold one."""
        return self._shared.secrets

    @property
    def address(self) -> str | None:
        """Where the daemon's port is, None in a command that runs without a daemon."""
        return self._shared.address

    @address.setter
    def address(self, address: str) -> None:
        self._shared.address = address

    @contextmanager
    def hearing_deliveries(self, listener: OnDelivery) -> Iterator[None]:
        """Let a plain function hear of every delivery that came to be on disk."""
        self._shared.listeners.append(listener)
        try:
            yield
        finally:
            self._shared.listeners.remove(listener)

    def delivered(self, server: str, delivery: DeliveryReceived) -> None:
        """Tell all who listen of a delivery that is on disk."""
        for listener in self._shared.listeners:
            listener(server, delivery)

    async def cvat(self, name: str) -> CvatApi:
        """Return the client of a server, made on first use. Raises UnknownServer."""
        from daemon.cvat.declared import connect_declared

        async with self._shared.connecting:
            if name not in self._shared.clients:
                client = await connect_declared(name, self.server(name), self.clock)
                self._shared.clients[name] = client
            return self._shared.clients[name]

    async def reload(self) -> None:
        """Read the settings again. Raises BadSettings or NeedsRestart; the old ones stay then."""
        new = await asyncio.to_thread(load_settings, self.config_file)
        fixed = [name for name in FIXED if getattr(new, name) != getattr(self.settings, name)]
        if fixed:
            raise NeedsRestart(
                "these sections do not change while the daemon runs",
                sections=fixed,
                hint="the old settings stay in force; restart the daemon",
            )
        self._shared.settings = new
        # Old secrets stay hidden: a line about what failed with them may come later.
        self._shared.secrets += new.secrets()
        await self._close_clients()
        self._shared.reloaded.set()
        self._shared.reloaded = asyncio.Event()

    async def wait_reloaded(self) -> None:
        """Wait until other settings are in force."""
        await self._shared.reloaded.wait()

    async def _close_pool(self) -> None:
        if self._shared.pool is not None:
            await self._shared.pool.close()

    async def _close_clients(self) -> None:
        async with self._shared.connecting:
            clients, self._shared.clients = self._shared.clients, {}
        for client in clients.values():
            await client.close()


# What is opened once, at start.
FIXED: Final = ("data", "http", "checkpoints", "deliveries", "logging")


@asynccontextmanager
async def open_app(
    config_file: Path | None,
    *,
    actor: str,
    log: bool = True,
    state: bool = True,
    editing: bool = False,
    clock: Clock | None = None,
) -> AsyncIterator[App]:
    """Open everything that a command or the daemon needs, and close it in order.

    log      with the log, under the lock of the data folder
    state    with the projections too
    editing  the settings file may be missing, as it is about to be written

    Raises BadSettings, DataFolderLocked, and what opening the log can raise.
    """
    settings = load_settings(config_file, missing_is_fine=editing)
    path = places.config_path(config_file)
    app = App(path, settings, clock or SystemClock(), actor=actor)
    async with AsyncExitStack() as stack:
        if log:
            app._shared.store = await _open_store(app)
            stack.push_async_callback(_within, STORE_STOP_S, app._shared.store.close)
            app._shared.people = People(app.folder)
            stack.push_async_callback(_within, PEOPLE_STOP_S, app._shared.people.close)
        stack.push_async_callback(_within, POOL_STOP_S, app._close_pool)
        if log and state:
            app._shared.projections = await _open_projections(app)
            stack.push_async_callback(_within, PROJECTIONS_STOP_S, app._shared.projections.close)
        stack.push_async_callback(_within, CLIENTS_STOP_S, app._close_clients)
        yield app


def know_all_events() -> tuple[ModuleType, ...]:
    """Import every event type: a log can be read then that holds any of them."""
    from events import dataset, job, log, run, server

    return dataset, job, log, run, server


async def _within(limit_s: float, close: Callable[[], Awaitable[None]]) -> None:
    """Close one part, and give it up after a while: what was acknowledged is on disk."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await close()


async def _open_store(app: App) -> EventStore:
    from daemon.store.sqlite import LOG_NAME, SqliteStore

    know_all_events()

    def made() -> Path:
        check_local(app.folder)
        app.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        return app.folder / LOG_NAME

    def cleared() -> None:
        # What a killed process left behind; the lock is ours, so nobody else is at work there.
        shutil.rmtree(app.scratch, ignore_errors=True)
        app.scratch.mkdir()

    try:
        path = await asyncio.to_thread(made)
        store = await SqliteStore.open(path, app.clock, publish=app.settings.checkpoints.publish)
        await asyncio.to_thread(cleared)
    except OSError as exc:
        raise DataFolderUnusable(
            "the data folder cannot be used",
            folder=str(app.folder),
            reason=exc.strerror or str(exc),
            hint="become a member of the group that owns it, or set another `folder` in [data]",
        ) from exc
    return store


def check_local(folder: Path) -> None:
    """Raise DataFolderRemote for a folder whose locks and memory other machines do not see."""
    if file_systems.is_remote(folder):
        raise DataFolderRemote(
            "the data folder lies on a network file system",
            folder=str(folder),
            hint="SQLite loses data there; set a `folder` on a local disk in [data]",
        )


async def _open_projections(app: App) -> Projections:
    from daemon.projector import SqliteProjections
    from daemon.store.sqlite import LOG_NAME
    from projections.folds import FOLDS

    return await SqliteProjections.open(
        app.folder / PROJECTIONS_NAME,
        app.store,
        FOLDS,
        pool=app.pool,
        log_file=app.folder / LOG_NAME,
    )
