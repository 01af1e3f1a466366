"""The projector: keeps tables in step with the log, on a thread of its own."""

from daemon.projector.memory import MemoryProjections
from daemon.projector.sqlite import SqliteProjections

__all__ = ["MemoryProjections", "SqliteProjections"]
