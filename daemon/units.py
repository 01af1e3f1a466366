"""systemd's units with the paths of this installation in them. Text in, text out.

Formats: systemd.unit(5), systemd.exec(5), systemd.socket(5), sysusers.d(5).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from events.errors import SyncError

MARK: Final = "# Written by `labeltrail service install`, which also replaces it.\n"
STATE: Final = Path("/var/lib")
BACKUPS_KEPT: Final = 14
SERVICES: Final = ("labeltrail.service", "labeltrail-backup.service")
UNITS: Final = (*SERVICES, "labeltrail.socket", "labeltrail-backup.timer")
# Where people's files and foreign disks are; hidden from the daemon but for what it was given.
HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
MOUNTS: Final = (Path("/media"), Path("/mnt"), Path("/srv"))

# Blanks and % can be spelled so that systemd understands them everywhere; these cannot.
_UNUSABLE = re.compile(r"""[\x00-\x1f\x7f"'\\:$]""")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


class UnusableInUnit(SyncError):
    """A path or an address cannot be written into a unit."""


@dataclass(frozen=True)
class Installation:
    """What the units are made for. Paths are absolute.

    user         the account that runs it, None for a service of one's own (`--user`)
    read         what the daemon reads: the program, its settings, manifests, media
    written      what it writes beside the data folder, such as the place of published checkpoints
    credentials  credential files, which systemd reads as root and hands over
    host, port   where it listens
    """

    python: Path
    config: Path
    data: Path
    backups: Path
    user: str | None
    host: str
    port: int
    read: tuple[Path, ...] = ()
    written: tuple[Path, ...] = ()
    credentials: tuple[Path, ...] = ()


def folder() -> Path:
    """Return the folder of the templates: in the wheel, or beside the packages in the source."""
    here = Path(__file__).resolve().parent
    packed = here / "systemd"
    return packed if packed.is_dir() else here.parent / "systemd"


def files(made_for: Installation, templates: Mapping[str, str]) -> dict[str, str]:
    """Return every file: its path below /etc, or below the user's configuration, and its text.

    templates  file name → text, as in `folder()`

    Raises UnusableInUnit.
    """
    values = _values(made_for)
    units = "systemd/system" if made_for.user else "systemd/user"
    found = {f"{units}/{name}": templates[name] for name in UNITS}
    if made_for.user:
        # A service of one's own has no rights to shut anything off, and is trusted anyway.
        for name in SERVICES:
            found[f"{units}/{name}.d/hardening.conf"] = templates["hardening.conf"]
        found["sysusers.d/labeltrail.conf"] = templates["sysusers.conf"]
    return {path: MARK + _filled(text, values) for path, text in found.items()}


def _filled(text: str, values: Mapping[str, str]) -> str:
    # A line that is nothing but an empty value goes.
    lines = text.splitlines()
    kept = [line for line in lines if not (line.startswith("${") and not values[line[2:-1]])]
    return Template("\n".join(kept) + "\n").substitute(values)


def _values(made_for: Installation) -> dict[str, str]:
    whole = {path for path in made_for.read if path in (*HOMES, *MOUNTS)}
    opened = [
        path for path in made_for.read if path not in whole and _below(path, (*HOMES, *MOUNTS))
    ]
    hidden = [path for path in MOUNTS if path not in whole]
    return {
        "python": _spelled(made_for.python),
        "config": _spelled(made_for.config),
        "data": _spelled(made_for.data),
        "backups": _spelled(made_for.backups),
        "keep": str(BACKUPS_KEPT),
        "listen": _listen(made_for.host, made_for.port),
        "target": "multi-user.target" if made_for.user else "default.target",
        "user": made_for.user or "",
        "account": _account(made_for),
        "credentials": "\n".join(map(_credential, made_for.credentials)),
        "protect_home": "read-only" if whole & set(HOMES) else "tmpfs",
        "hidden": "".join(f"TemporaryFileSystem={path}:ro\n" for path in hidden).rstrip(),
        "opened": _lines("BindReadOnlyPaths", opened),
        "daemon_writes": _writes(made_for, made_for.data, *made_for.written),
        "backup_writes": _writes(made_for, made_for.data, made_for.backups),
    }


def _account(made_for: Installation) -> str:
    if made_for.user is None:
        return ""
    if not _ACCOUNT.fullmatch(made_for.user):
        raise UnusableInUnit("this is no name of an account", account=made_for.user[:80])
    return f"User={made_for.user}\nGroup={made_for.user}"


def _writes(made_for: Installation, *paths: Path) -> str:
    if made_for.user is None:
        return ""
    # What is hidden must be opened first; what lies in its place systemd makes by itself.
    state = [path for path in paths if _below(path, (STATE,))]
    revealed = [path for path in paths if _below(path, (*HOMES, *MOUNTS))]
    lines = [f'StateDirectory="{_percent(_check(path)[len(str(STATE)) + 1 :])}"' for path in state]
    lines += [_lines("BindPaths", revealed), _lines("ReadWritePaths", paths)]
    return "\n".join(filter(None, lines))


def _credential(path: Path) -> str:
    _check(path)
    # Only this setting takes a path to the end of the line as it is.
    return f"LoadCredential={path.name}:{_percent(str(path))}"


def _lines(setting: str, paths: Iterable[Path]) -> str:
    # With the minus a folder that is gone keeps nothing from starting.
    spelled = (f'"-{_percent(_check(path))}"' for path in paths)
    return "\n".join(f"{setting}={text}" for text in dict.fromkeys(spelled))


def _spelled(path: Path) -> str:
    text = _percent(_check(path))
    return f'"{text}"' if " " in text else text


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _check(path: Path) -> str:
    text = str(path)
    if not path.is_absolute() or _UNUSABLE.search(text):
        raise UnusableInUnit(
            "the path cannot be written into a unit of systemd",
            path=text,
            hint="nothing was written; use a path without quotes, colons, $ and backslashes",
        )
    return text


def _below(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _listen(host: str, port: int) -> str:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as exc:
        raise UnusableInUnit(
            "systemd listens at an address, not at a name",
            host=host,
            hint="set `host` in [http] to an address such as 127.0.0.1 or 0.0.0.0",
        ) from exc
    if port == 0:
        raise UnusableInUnit(
            "a service needs a port that stays the same", hint="set `port` in [http]"
        )
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
