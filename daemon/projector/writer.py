"""Writes batches on a thread and a connection of its own, while the next ones are folded.

SQLite works without Python's interpreter, so both get on: a rebuild uses two processors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from daemon.projector.file import disk_errors, open_file, transaction
from daemon.projector.tables import Statement, run
from daemon.projector.wal import Wal
from daemon.store.driver import sqlite3

Then = Callable[[sqlite3.Connection], None]
"""What else belongs into the transaction of a batch."""


class Writer:
    """One batch at a time. Neither thread nor connection is made before there is one."""

    def __init__(self, path: Path, *, by_turns: bool = False) -> None:
        """Write into a file.

        by_turns  another process does so, too, for as long
        """
        self._path = path
        self._by_turns = by_turns
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="projections-writer")
        self._conn: sqlite3.Connection | None = None
        self._wal: Wal | None = None

    def write(self, statements: Sequence[Statement], then: Then) -> Future[None]:
        """Write a batch in one transaction. The future raises as `file.transaction` does."""
        return self._thread.submit(self._write, statements, then)

    def close(self) -> None:
        """Wait for what was handed in, and give everything back."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    def _write(self, statements: Sequence[Statement], then: Then) -> None:
        if self._conn is None:
            with disk_errors():
                self._conn = open_file(self._path)
                self._wal = Wal(self._conn, self._path) if self._by_turns else None
        turn = self._wal.turn() if self._wal else nullcontext()
        with disk_errors(), turn, transaction(self._conn):
            run(self._conn, statements)
            then(self._conn)

    def _close(self) -> None:
        if self._wal is not None:
            self._wal.close()
        if self._conn is not None:
            self._conn.close()
