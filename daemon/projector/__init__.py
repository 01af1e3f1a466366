"""The projector: keeps tables in step with the log, on a thread of its own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.projector.memory import MemoryProjections
    from daemon.projector.sqlite import SqliteProjections

__all__ = ["MemoryProjections", "SqliteProjections"]

_ROOMS = {"MemoryProjections": "memory", "SqliteProjections": "sqlite"}


def __getattr__(name: str) -> object:
    """Import on use: a process that folds uses neither, and starts a third sooner."""
    if name not in _ROOMS:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
