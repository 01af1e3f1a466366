"""Raw bodies of deliveries, beside the log, for a while: for people who look things up.

Nothing depends on them, so they are written behind, and dropped rather than waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

import structlog

from daemon.clock import Clock
from daemon.store.driver import code_of, sqlite3

FILE_NAME: Final = "deliveries.db"
FILE_MODE: Final = 0o600  # bodies hold names and mail addresses
WAITING_MAX: Final = 2_000
# So long others are waited for: a thread that wakes up for each body takes turns from the loop, and
# one that writes for long takes a processor from whoever waits for an acknowledgement.
GATHER_S: Final = 0.02
PRUNE_EVERY_S: Final = 3_600.0
PRUNE_ROWS: Final = 1_000  # at once, a few ms: what comes meanwhile waits
DAY_US: Final = 86_400 * 1_000_000
STOP_S: Final = 5.0
_SQLITE_CORRUPT: Final = 11

# A body is found by when it came, which its event tells too; an index of hashes took half the time.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS bodies (
    received_at INTEGER NOT NULL,
    server TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS bodies_received_at ON bodies (received_at);
DROP INDEX IF EXISTS bodies_hash;
"""
_SIZE: Final = "SELECT coalesce(sum(length(body)), 0) FROM bodies"
_OLDEST: Final = (
    "SELECT rowid, received_at, length(body) FROM bodies ORDER BY received_at, rowid LIMIT ?"
)

log = structlog.get_logger(__name__)


class Body(NamedTuple):
    """One body as it came. received_at: µs since 1970-01-01 UTC."""

    received_at: int
    server: str
    body_hash: str
    body: bytes


class Bodies:
    """A file of bodies and the one thread that writes it."""

    def __init__(self, folder: Path, clock: Clock, *, keep_days: int, bytes_max: int) -> None:
        self._path = folder / FILE_NAME
        self._clock = clock
        self._keep_us = keep_days * DAY_US
        self._bytes_max = bytes_max
        self._bytes = 0  # of all bodies in the file
        self._version = 0  # of the file, as far as others changed it
        self._prune_at_s = 0.0
        self._orders: SimpleQueue[tuple[Body, ...] | None] = SimpleQueue()
        self._waiting = 0  # bodies
        self._lock = threading.Lock()  # for their number
        self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)
        self._thread.start()

    def keep(self, *bodies: Body) -> None:
        """Keep bodies; those that are too many to wait are dropped. Does not block."""
        if not self._thread.is_alive():
            return  # It said why when it ended.
        with self._lock:
            kept = bodies[: WAITING_MAX - self._waiting]
            self._waiting += len(kept)
        self._orders.put(kept)
        if len(kept) < len(bodies):
            log.warning("delivery bodies not kept", count=len(bodies) - len(kept))

    def close(self) -> None:
        """Write what waits. Blocks, for a limited time."""
        self._orders.put(None)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            self._conn = self._open()
            stopping = False
            while not stopping:
                if self._is_prune_due():
                    self._prune()
                batch, stopping = self._take()
                if batch:
                    self._write(batch)
            self._conn.close()
        except (OSError, sqlite3.Error) as exc:
            log.warning("delivery bodies are not kept", path=str(self._path), error=str(exc))

    def _open(self) -> Any:
        try:
            return self._connect()
        except sqlite3.Error as exc:
            if not _is_damage(exc):
                raise
            return self._begin_anew()

    def _begin_anew(self) -> Any:
        log.warning("delivery bodies begun anew", path=str(self._path))
        for side in ("", "-wal", "-shm"):
            Path(f"{self._path}{side}").unlink(missing_ok=True)
        return self._connect()

    def _connect(self) -> Any:
        self._path.touch(mode=FILE_MODE)
        # Hardly two batches are of one size, so their statements are not worth keeping.
        conn = sqlite3.connect(self._path, isolation_level=None, cached_statements=1)
        conn.execute("PRAGMA journal_mode = WAL")
        # The log would wait for each sync. What a power cut damages is begun anew.
        conn.execute("PRAGMA synchronous = OFF")
        conn.executescript(_SCHEMA)
        self._weigh(conn)
        return conn

    def _weigh(self, conn: Any) -> None:
        """Count the bytes of all bodies, which reads the whole file, unless we know."""
        (version,) = conn.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            (self._bytes,) = conn.execute(_SIZE).fetchone()
            self._version = version

    def _take(self) -> tuple[list[Body], bool]:
        """Return what waits, nothing when nothing came for long; and whether it is the end."""
        found: list[Body] = []
        try:
            order = self._orders.get(timeout=PRUNE_EVERY_S)
            time.sleep(GATHER_S)
            while order is not None:
                found += order
                order = self._orders.get_nowait()
        except Empty:
            return found, False
        finally:
            with self._lock:
                self._waiting -= len(found)
        return found, True

    def _write(self, batch: list[Body]) -> None:
        # One statement, which is a transaction too: each one gives the interpreter away.
        rows = ", ".join(["(?, ?, ?, ?)"] * len(batch))
        sql = f"INSERT INTO bodies VALUES {rows}"  # noqa: S608
        with self._trouble("delivery bodies not kept", count=len(batch)):
            self._conn.execute(sql, [value for body in batch for value in body])
            self._bytes += sum(len(body.body) for body in batch)

    def _is_prune_due(self) -> bool:
        return self._bytes > self._bytes_max or self._clock.monotonic_s() >= self._prune_at_s

    def _prune(self) -> None:
        """Delete what is too old or too much, the oldest first; let writing go first."""
        self._prune_at_s = self._clock.monotonic_s() + PRUNE_EVERY_S
        with self._trouble("delivery bodies not pruned"):
            self._weigh(self._conn)  # Bodies of somebody who is forgotten go without us.
            while self._prune_some() == PRUNE_ROWS:
                if not self._orders.empty():
                    self._prune_at_s = 0.0
                    return

    def _prune_some(self) -> int:
        """Delete at most PRUNE_ROWS; return how many were."""
        oldest = self._clock.now_us() - self._keep_us
        left = self._bytes
        gone: list[tuple[int]] = []
        rows = self._conn.execute(_OLDEST, (PRUNE_ROWS,))
        for rowid, received_at, size in rows:
            if received_at >= oldest and left <= self._bytes_max:
                break
            gone.append((rowid,))
            left -= size
        rows.close()  # Mostly few are too much, and no more are read.
        with self._conn:
            self._conn.execute("BEGIN")
            self._conn.executemany("DELETE FROM bodies WHERE rowid = ?", gone)
        self._bytes = left
        return len(gone)

    @contextmanager
    def _trouble(self, what: str, **told: object) -> Iterator[None]:
        """Tell of an error, and begin the file anew where that says that it is damaged."""
        try:
            yield
        except sqlite3.Error as exc:
            log.warning(what, **told, error=str(exc))
            if _is_damage(exc):
                self._conn.close()
                self._conn = self._begin_anew()


def _is_damage(exc: sqlite3.Error) -> bool:
    """Tell whether a database of ours is damaged; what is no database is somebody else's."""
    return code_of(exc) == _SQLITE_CORRUPT
