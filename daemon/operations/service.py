"""Run as a service of systemd: write its units with the paths of this installation."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from config import credentials, load
from daemon import units
from daemon.operations.registry import Json, operation
from daemon.units import Installation
from events.errors import SyncError

if TYPE_CHECKING:
    from daemon.app import App

ETC: Final = Path("/etc")
STATE: Final = units.STATE / "labeltrail"
FILE_MODE: Final = 0o644


class NotWritten(SyncError):
    """A unit cannot be written or removed."""


class NoFixedFolder(SyncError):
    """The settings leave the place of the data folder to whoever starts the daemon."""


class InstallService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """user: for whoever asks, not for the machine. root: write below this folder, for packages."""

    user: bool = False
    account: str = "labeltrail"
    backups: str | None = None
    root: str = "/"
    dry_run: bool = False


class UninstallService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As it was installed."""

    user: bool = False
    root: str = "/"
    dry_run: bool = False


@operation("service.install", args=InstallService, writes="folder")
async def install(app: App, args: InstallService) -> AsyncGenerator[Json, None]:
    """Write the units; say what is left to do."""
    made_for = await asyncio.to_thread(_installation, app, args)
    top = _top(args.user, args.root)
    for path, text in units.files(made_for, await asyncio.to_thread(_templates)).items():
        if not args.dry_run:
            await asyncio.to_thread(_write, top / path, text)
        yield {"kind": "unit", "path": str(top / path), "text": text}
    for command in _commands(made_for):
        yield {"kind": "next", "run": command}


@operation("service.uninstall", args=UninstallService, writes="folder")
async def uninstall(app: App, args: UninstallService) -> AsyncGenerator[Json, None]:
    """Remove what was installed, and nothing else; log, keys and settings stay."""
    top = _top(args.user, args.root)
    of = "user" if args.user else "system"
    names = [*units.UNITS, *(f"{name}.d/hardening.conf" for name in units.SERVICES)]
    for path in [top / f"systemd/{of}/{name}" for name in names] + [
        top / "sysusers.d/labeltrail.conf"
    ]:
        if await asyncio.to_thread(_remove, path, dry_run=args.dry_run):
            yield {"kind": "removed", "path": str(path)}
    systemctl = "systemctl --user" if args.user else "systemctl"
    running = "labeltrail.socket labeltrail.service labeltrail-backup.timer"
    yield {"kind": "next", "run": f"{systemctl} disable --now {running}"}
    yield {"kind": "next", "run": f"{systemctl} daemon-reload"}
    # A timer that was stopped when its file was gone stays in the list as failed.
    yield {"kind": "next", "run": f"{systemctl} reset-failed 'labeltrail*'"}


def _installation(app: App, args: InstallService) -> Installation:
    settings = app.settings
    if settings.data.folder is None and not args.user:
        raise NoFixedFolder(
            "the settings do not say where the data folder is",
            settings=str(app.config_file),
            hint=f'add `folder = "{STATE}"` to [data]: commands look for the daemon there',
        )
    data = app.folder
    publish = settings.checkpoints.publish
    socket_folder = load.control_socket(settings).parent
    declared = settings.datasets.values()
    # A folder's parent is opened: an export removes the folder and makes another one.
    manifests = [
        place for dataset in declared for place in (dataset.manifest.parent, *dataset.media_roots)
    ]
    authorities = [server.ca_file for server in settings.servers.values() if server.ca_file]
    program = [Path(sys.prefix), Path(sys.base_prefix), units.folder().parent]
    written = [socket_folder, *([publish.parent] if publish else [])]
    own = credentials.folder_for(app.config_file)
    backups = (
        Path(args.backups).absolute() if args.backups else data.with_name(f"{data.name}-backups")
    )
    return Installation(
        python=Path(sys.executable),
        config=app.config_file,
        data=data,
        backups=backups,
        user=None if args.user else args.account,
        host=settings.http.host,
        port=settings.http.port,
        read=tuple(dict.fromkeys([*program, app.config_file.parent, *manifests, *authorities])),
        written=tuple(path for path in dict.fromkeys(written) if path != data),
        # A service of one's own reads them beside the settings by itself.
        credentials=() if args.user else tuple(credentials.files(own)),
    )


def _commands(made_for: Installation) -> list[str]:
    enabled = "labeltrail.socket labeltrail.service labeltrail-backup.timer"
    if made_for.user is None:
        return ["systemctl --user daemon-reload", f"systemctl --user enable --now {enabled}"]
    outside = [
        f"install -d -o {made_for.user} -g {made_for.user} -m 0750 '{path}'"
        for path in (made_for.data, made_for.backups)
        if not path.is_relative_to(units.STATE)
    ]
    return [
        "systemd-sysusers",
        *outside,
        f"chgrp {made_for.user} '{made_for.config}'",
        "systemctl daemon-reload",
        f"systemctl enable --now {enabled}",
    ]


def _templates() -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in units.folder().iterdir()}


def _top(user: bool, root: str) -> Path:
    """Return the folder that unit folders lie in."""
    if user:
        home = os.environ.get("XDG_CONFIG_HOME")
        etc = Path(home) if home else Path.home() / ".config"
    else:
        etc = ETC
    return Path(root).absolute() / etc.relative_to("/")


def _write(path: Path, text: str) -> None:
    try:
        if path.exists() and not path.read_text("utf-8").startswith(units.MARK):
            raise NotWritten(
                "a file of somebody else's is in the way",
                path=str(path),
                hint="move it away; what you want to add belongs in a drop-in beside it",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(text, "utf-8")
        draft.chmod(FILE_MODE)
        draft.replace(path)
    except OSError as exc:
        raise NotWritten(
            "the unit cannot be written",
            path=str(path),
            reason=exc.strerror or str(exc),
            hint="run it as root, or with --user for a service of your own",
        ) from exc


def _remove(path: Path, *, dry_run: bool) -> bool:
    try:
        ours = path.is_file() and path.read_text("utf-8").startswith(units.MARK)
        if ours and not dry_run:
            path.unlink()
            if path.parent.name.endswith(".service.d") and not any(path.parent.iterdir()):
                path.parent.rmdir()
    except OSError as exc:
        raise NotWritten(
            "the unit cannot be removed", path=str(path), reason=exc.strerror or str(exc)
        ) from exc
    return ours
