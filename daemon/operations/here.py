"""Which operations run in the caller's process and with its rights, also beside a daemon.

They need the settings alone, or read the log's file themselves. A command must know before it
imports any operation, so this list is apart from them.
"""

from __future__ import annotations

from typing import Final

HERE: Final = frozenset(
    {
        "backup.make",
        "backup.restore",
        "dataset.add",
        "dataset.ls",
        "dataset.rm",
        "server.add",
        "server.ls",
        "server.rm",
        "server.test",
        "service.install",
        "service.uninstall",
        "verify",
    }
)
