"""Raw bodies of deliveries, beside the log, for a while: for people who look things up.

Nothing depends on them, so they are written behind, and dropped rather than waited for.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from daemon.store.driver import sqlite3

FILE_NAME: Final = "deliveries.db"
FILE_MODE: Final = 0o600  # bodies hold names and mail addresses
WAITING_MAX: Final = 1_000
BATCH_MAX: Final = 200
PRUNE_EVERY: Final = 500  # bodies
DAY_US: Final = 86_400 * 1_000_000
STOP_S: Final = 5.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS bodies (
    received_at INTEGER NOT NULL,
    server TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS bodies_received_at ON bodies (received_at);
CREATE INDEX IF NOT EXISTS bodies_hash ON bodies (body_hash);
"""
# Deletes the oldest until the rest fits: the running total goes from the newest backwards.
_FIT: Final = """
DELETE FROM bodies WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, sum(length(body)) OVER (ORDER BY received_at DESC, rowid DESC) AS total
        FROM bodies
    ) WHERE total > ?
)
"""

log = structlog.get_logger(__name__)


class Body(NamedTuple):
    """One body as it came. received_at: µs since 1970-01-01 UTC."""

    received_at: int
    server: str
    body_hash: str
    body: bytes


class Bodies:
    """A file of bodies and the one thread that writes it."""

    def __init__(self, folder: Path, *, keep_days: int, bytes_max: int) -> None:
        self._path = folder / FILE_NAME
        self._keep_us = keep_days * DAY_US
        self._bytes_max = bytes_max
        self._waiting: queue.Queue[Body | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)
        self._thread.start()

    def keep(self, body: Body) -> None:
        """Keep a body; dropped when too many wait. Does not block."""
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            log.warning("delivery body not kept", server=body.server, body_hash=body.body_hash)

    def close(self) -> None:
        """Write what waits. Blocks, for a limited time."""
        try:
            self._waiting.put(None, timeout=STOP_S)
        except queue.Full:
            return
        self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            conn = self._open()
        except (OSError, sqlite3.Error) as exc:
            log.warning("delivery bodies are not kept", path=str(self._path), error=str(exc))
            return
        written = 0
        while batch := self._take():
            written += self._write(conn, batch)
            if written >= PRUNE_EVERY:
                self._prune(conn, batch[-1].received_at)
                written = 0
        conn.close()

    def _open(self) -> Any:
        self._path.touch(mode=FILE_MODE)
        conn = sqlite3.connect(self._path, isolation_level=None)
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = NORMAL")
        conn.executescript(_SCHEMA)
        return conn

    def _take(self) -> list[Body]:
        """Return what waits, at least one; nothing when it is time to stop."""
        batch: list[Body] = []
        while len(batch) < BATCH_MAX:
            body = self._waiting.get() if not batch else self._next()
            if body is None:
                break
            batch.append(body)
        return batch

    def _next(self) -> Body | None:
        try:
            body = self._waiting.get_nowait()
        except queue.Empty:
            return None
        if body is None:
            self._waiting.put(None)  # The next turn shall see it too, and stop.
        return body

    def _write(self, conn: Any, batch: list[Body]) -> int:
        try:
            conn.execute("BEGIN")
            conn.executemany("INSERT INTO bodies VALUES (?, ?, ?, ?)", batch)
            conn.execute("COMMIT")
        except sqlite3.Error as exc:
            log.warning("delivery bodies not kept", count=len(batch), error=str(exc))
            if conn.in_transaction:
                conn.execute("ROLLBACK")
        return len(batch)

    def _prune(self, conn: Any, now_us: int) -> None:
        try:
            conn.execute("DELETE FROM bodies WHERE received_at < ?", (now_us - self._keep_us,))
            conn.execute(_FIT, (self._bytes_max,))
        except sqlite3.Error as exc:
            log.warning("delivery bodies not pruned", error=str(exc))
