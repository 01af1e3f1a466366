"""Credential files: one secret a file, named by the dotted key of the setting it fills.

`servers.main.password` holds the password of the server `main`. The folder is systemd's
($CREDENTIALS_DIRECTORY, see `LoadCredential=`), or else `credentials/` beside the TOML file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from config.problems import Problem

FOLDER: Final = "credentials"
BYTES_MAX: Final = 64 * 1024
FILES_MAX: Final = 1_000
FILE_MODE: Final = 0o600  # its owner alone reads a secret

Nested = dict[str, Any]


def folder_for(config_file: Path | None) -> Path | None:
    """Return the folder of the credential files, None where there can be none."""
    if given := os.environ.get("CREDENTIALS_DIRECTORY"):
        return Path(given)
    return config_file.parent / FOLDER if config_file else None


def read(folder: Path | None) -> tuple[Nested, list[Problem]]:
    """Read every file of the folder that is named like a setting of a server."""
    found: Nested = {}
    problems: list[Problem] = []
    for path in _files(folder, problems):
        try:
            secret = path.read_bytes()
            if len(secret) > BYTES_MAX:
                raise ValueError(f"it is larger than {BYTES_MAX} bytes")
            # A file made with `echo` ends in a line break that is not part of the secret.
            text = secret.decode().rstrip("\r\n")
        except (OSError, ValueError) as exc:
            what = f"the credential file cannot be read: {exc}"
            problems.append(Problem(str(path), path.name, what, "check its rights and content"))
            continue
        _, server, key = path.name.split(".")
        found.setdefault("servers", {}).setdefault(server, {})[key] = text
    return found, problems


def write(folder: Path, server: str, secrets: Mapping[str, str]) -> list[Path]:
    """Write secrets of a server, readable for their owner alone; return the files."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for key, secret in secrets.items():
        path = folder / f"servers.{server}.{key}"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        written.append(path)
    return written


def forget(folder: Path | None, server: str) -> list[Path]:
    """Delete the credential files of a server; return those that were there."""
    mine = [path for path in _files(folder, []) if path.name.split(".")[1] == server]
    for path in mine:
        path.unlink(missing_ok=True)
    return mine


def files(folder: Path | None) -> list[Path]:
    """Return the credential files of a folder."""
    return _files(folder, [])


def _files(folder: Path | None, problems: list[Problem]) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    try:
        paths = sorted(path for path in folder.iterdir() if _names_a_setting(path.name))
    except OSError as exc:
        what = f"the credentials folder cannot be read: {exc.strerror}"
        problems.append(Problem(str(folder), "", what, "check its rights"))
        return []
    if len(paths) > FILES_MAX:
        what = f"more than {FILES_MAX} credential files"
        problems.append(Problem(str(folder), "", what, "remove those of former servers"))
    return paths[:FILES_MAX]


def _names_a_setting(name: str) -> bool:
    # systemd's folder may hold credentials of other units; those are none of our business.
    return name.startswith("servers.") and name.count(".") == 2
