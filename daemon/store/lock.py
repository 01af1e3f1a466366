"""One owner of a data folder at a time, held by the kernel: it ends with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final
from weakref import WeakSet

from events.errors import SyncError

LOCK_NAME: Final = "lock"


class DataFolderLocked(SyncError):
    """Another process, or another part of this one, owns the data folder."""


class FolderLock:
    """An exclusive flock on `<folder>/lock`; the file says whose it is."""

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises DataFolderLocked, which names the holder's process id."""
        path = folder / LOCK_NAME
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(self._handle, 20, 0).decode("ascii", "replace").strip()
            os.close(self._handle)
            raise DataFolderLocked(
                "another process owns the data folder",
                folder=str(folder),
                pid=int(holder) if holder.isdigit() else None,
                hint="nothing was written; use the running daemon, or stop it first",
            ) from exc
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Give the lock back. The file stays: removing it could split the next two takers."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


_held: Final[WeakSet[FolderLock]] = WeakSet()


def _leave_to_parent() -> None:
    # A forked worker shares the open file and with it the lock: a daemon that was killed
    # would stay the owner for as long as one of its workers lives.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_leave_to_parent)
