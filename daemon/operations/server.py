"""CVAT servers: declared in the settings file, tried from here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec

from config import credentials, edit
from config.problems import SettingsUnusable
from config.settings import Server
from daemon.app import bad_settings
from daemon.operations.registry import Json, NoArgs, operation
from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.app import App

T = TypeVar("T")


class SettingsNotWritten(SyncError):
    """The settings file, its folder or a credential file cannot be written by this user."""


class AddServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server to declare. Secrets go into credential files, not into the settings file."""

    name: str
    url: str
    user: str | None = None
    password: str | None = None
    token: str | None = None
    personal_token: str | None = None
    organization: str | None = None
    ca_file: str | None = None
    projects: tuple[int, ...] = ()
    dry_run: bool = False


class NamedServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declared server."""

    name: str


class RemoveServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server to forget; its events stay in the log."""

    name: str
    dry_run: bool = False


SECRETS = ("password", "token", "personal_token")


@operation("server.add", args=AddServer, writes="settings", reloads=True)
async def add(app: App, args: AddServer) -> AsyncGenerator[Json, None]:
    """Declare a server."""
    values = msgspec.structs.asdict(args)
    secrets = {name: values[name] for name in SECRETS if values[name]}
    plain = {
        name: value
        for name, value in values.items()
        if value and name not in (*SECRETS, "name", "dry_run")
    }
    await in_thread(
        lambda: edit.add(
            app.config_file, "servers", args.name, plain, secrets=secrets, dry_run=args.dry_run
        )
    )
    yield {"kind": "server", "name": args.name, **plain, "settings": str(app.config_file)}


@operation("server.rm", args=RemoveServer, writes="settings", reloads=True)
async def remove(app: App, args: RemoveServer) -> AsyncGenerator[Json, None]:
    """Forget a server and its credential files."""
    app.server(args.name)
    await in_thread(
        lambda: edit.remove(app.config_file, "servers", args.name, dry_run=args.dry_run)
    )
    folder = credentials.folder_for(app.config_file)
    forgotten = await in_thread(
        lambda: [] if args.dry_run else credentials.forget(folder, args.name)
    )
    yield {"kind": "removed", "name": args.name, "credentials": [str(path) for path in forgotten]}


@operation("server.ls")
async def ls(app: App, args: NoArgs) -> AsyncGenerator[Json, None]:
    """List the declared servers."""
    for name, server in sorted(app.settings.servers.items()):
        yield {
            "kind": "server",
            "name": name,
            "url": server.url,
            "organization": server.organization,
            "login": _login(server),
            "projects": list(server.projects),
            "webhook_secrets": len(server.webhook_secrets),
        }


@operation("server.test", args=NamedServer)
async def test(app: App, args: NamedServer) -> AsyncGenerator[Json, None]:
    """Ask a server who it is, and who we are there."""
    client = await app.cvat(args.name)
    about = await client.about()
    user = await client.self_user()
    yield {
        "kind": "reached",
        "name": args.name,
        "url": app.server(args.name).url,
        "version": about.get("version"),
        "user": user.get("username"),
        "user_id": user.get("id"),
        "groups": user.get("groups"),
    }


async def in_thread(work: Callable[[], T]) -> T:
    """Do blocking work on the settings file. Raises BadSettings, SettingsNotWritten."""
    try:
        return await asyncio.to_thread(work)
    except SettingsUnusable as exc:
        raise bad_settings(exc) from exc
    except OSError as exc:
        raise SettingsNotWritten(
            "the settings cannot be written",
            path=exc.filename,
            reason=exc.strerror,
            hint="edit them as a user who may, or name another file with --config",
        ) from exc


def _login(server: Server) -> str:
    ways: Mapping[str, object] = {
        "personal token": server.personal_token,
        "token": server.token,
        "basic" if server.basic else "password": server.password,
    }
    return next((name for name, secret in ways.items() if secret is not None), "none")
