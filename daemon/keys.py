"""Secrets that Labeltrail makes itself, in `keys/` of the data folder, readable by its owner."""

from __future__ import annotations

import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Final

FOLDER: Final = "keys"
# CVAT takes webhook secrets of at most 64 characters.
SECRET_BYTES: Final = 32
SERVERS_KEPT_MAX: Final = 1_000


class _Changes:
    """Counts the changes to the files. What was read during one is not remembered after it."""

    count = 0


def webhook_secrets(folder: Path, server: str) -> tuple[str, ...]:
    """Return what this server's webhooks may be signed with, the newest first.

    Two while one replaces the other, none before there is one. Asked with every delivery, so the
    files are read once: only the owner of the data folder, this process, changes them.
    """
    return _read(folder, server, _Changes.count)


@lru_cache(maxsize=SERVERS_KEPT_MAX)
def _read(folder: Path, server: str, changes: int) -> tuple[str, ...]:
    files = (_next_path(folder, server), _path(folder, server))
    return tuple(path.read_text("ascii").strip() for path in files if path.exists())


def make_webhook_secret(folder: Path, server: str) -> str:
    """Return the server's newest secret, made and on disk if there was none."""
    return next(iter(webhook_secrets(folder, server)), "") or _made(_path(folder, server))


def make_next_webhook_secret(folder: Path, server: str) -> str:
    """Return the secret that replaces the one in force, made unless a change is under way."""
    path = _next_path(folder, server)
    return path.read_text("ascii").strip() if path.exists() else _made(path)


def retire_webhook_secret(folder: Path, server: str) -> None:
    """Put the newest secret in the place of the one before, which is worth nothing then."""
    _next_path(folder, server).replace(_path(folder, server))
    _Changes.count += 1
    _sync(folder / FOLDER)


def _made(path: Path) -> str:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    made = secrets.token_hex(SECRET_BYTES)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    _Changes.count += 1
    _sync(path.parent)
    return made


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _path(folder: Path, server: str) -> Path:
    return folder / FOLDER / f"webhook-{server}"


def _next_path(folder: Path, server: str) -> Path:
    # No name of a server holds a dot.
    return folder / FOLDER / f"webhook-{server}.next"
