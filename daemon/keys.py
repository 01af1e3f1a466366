"""Secrets that Labeltrail makes itself, in `keys/` of the data folder, readable by its owner."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

FOLDER: Final = "keys"
# CVAT takes webhook secrets of at most 64 characters.
SECRET_BYTES: Final = 32


def webhook_secret(folder: Path, server: str) -> str | None:
    """Return the secret that this server's webhooks are signed with, None before there is one."""
    path = _path(folder, server)
    return path.read_text("ascii").strip() if path.exists() else None


def make_webhook_secret(folder: Path, server: str) -> str:
    """Return the server's secret, made and on disk if there was none."""
    if known := webhook_secret(folder, server):
        return known
    path = _path(folder, server)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    made = secrets.token_hex(SECRET_BYTES)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    return made


def _path(folder: Path, server: str) -> Path:
    return folder / FOLDER / f"webhook-{server}"
