"""Keeps the WAL of the projections' file small while two processes write by turns."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from daemon.store.driver import BUSY_MS, sqlite3

WAL_BYTES_MAX: Final = 128 * 2**20
READERS_WAIT_MS: Final = 200  # nobody writes meanwhile


class Wal:
    """Turns of processes that write large batches.

    SQLite begins the WAL anew if all of it is copied into the file when somebody writes next. With
    two that write by turns that moment never comes: a rebuild of 600,000 label changes left 1.2 GB
    beside tables of 0.26. So whoever finds it large lets nobody else begin, and cuts it off.
    """

    def __init__(self, conn: sqlite3.Connection, path: Path) -> None:
        self._conn = conn
        # It is there as long as the connection; SQLite itself locks the two other files.
        self._handle = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        self._bytes_max = WAL_BYTES_MAX

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Write one batch, as the only one where the WAL is large."""
        bytes_before = os.fstat(self._handle).st_size
        is_large = bytes_before >= self._bytes_max
        fcntl.flock(self._handle, fcntl.LOCK_EX if is_large else fcntl.LOCK_SH)
        try:
            yield
            if is_large:
                # Where somebody reads in it for long, it is left until it has grown as much again.
                self._bytes_max = WAL_BYTES_MAX + (0 if self._cut() else bytes_before)
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file back; its connection is its owner's."""
        os.close(self._handle)

    def _cut(self) -> bool:
        self._conn.execute(f"PRAGMA busy_timeout = {READERS_WAIT_MS}")
        try:
            busy, *_ = self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:
            return False  # The batch is in; a disk that is full the next one meets, too.
        finally:
            self._conn.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        return not busy
