"""The file of the projections: opened, set aside when it is damaged, written in transactions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from daemon.ports.projections import ProjectionsStuck
from daemon.projector.rows import DamagedRow
from daemon.store.driver import BUSY_MS, code_of, sqlite3
from events.errors import SyncError

APPLICATION_ID: Final = int.from_bytes(b"LbPr", "big")  # shown by `file projections.db`
FORMAT: Final = 1  # user_version; a file with another one is not ours to go on with

_CACHE_KIB: Final = 16_384
_PAGES_PER_CHECKPOINT: Final = 4_000
_LOOK_AGAIN_S: Final = 0.002
_SQLITE_BUSY: Final = 5
_SIDE_FILES: Final = ("", "-wal", "-shm")


class NotProjections(Exception):
    """The file is a database, but does not hold our projections."""


class TablesDamaged(SyncError):
    """Another process found the file unusable, as `is_damage` tells."""


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file, or make it. Raises NotProjections and what `is_damage` tells of."""
    conn = sqlite3.connect(path, isolation_level=None)
    try:
        conn.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        _check_ours(conn)
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",  # A power cut may cost the last batches; the log has them.
            f"wal_autocheckpoint = {_PAGES_PER_CHECKPOINT}",
            f"cache_size = -{_CACHE_KIB}",
            "trusted_schema = OFF",
        ):
            conn.execute(f"PRAGMA {pragma}")
    except BaseException:
        conn.close()
        raise
    return conn


def open_temporary() -> sqlite3.Connection:
    """Open a private database on disk, which SQLite deletes by itself, also after a crash."""
    conn = sqlite3.connect("", isolation_level=None)
    conn.execute("PRAGMA synchronous = OFF")
    conn.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return conn


def is_new(conn: sqlite3.Connection) -> bool:
    """Tell whether the file has no tables yet."""
    return conn.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def sign(conn: sqlite3.Connection) -> None:
    """Mark a new file as ours."""
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    conn.execute(f"PRAGMA user_version = {FORMAT}")


def is_damage(exc: BaseException) -> bool:
    """Tell whether an error means that the file is unusable, and not that the disk is full.

    SQLITE_CORRUPT and SQLITE_NOTADB come as DatabaseError itself, all else as its subclasses.
    """
    return (
        isinstance(exc, NotProjections | DamagedRow | TablesDamaged)
        or type(exc) is sqlite3.DatabaseError
    )


def set_aside(path: Path) -> Path:
    """Move a file and its WAL out of the way, over what was set aside before."""
    aside = path.with_name(f"{path.name}.aside")
    for side in _SIDE_FILES:
        there, here = Path(f"{aside}{side}"), Path(f"{path}{side}")
        there.unlink(missing_ok=True)
        if here.exists():
            here.replace(there)
    return aside


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end, or roll everything back. Raises ProjectionsStuck as `disk_errors`."""
    with disk_errors():
        begin(conn)
        try:
            yield
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise


def begin(conn: sqlite3.Connection) -> None:
    """Begin to write, as soon as nobody else does.

    SQLite waits too, but looks again after up to 100 ms: longer than most batches take to write.
    """
    until_s = time.monotonic() + BUSY_MS / 1000
    conn.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                conn.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError as exc:
                if code_of(exc) != _SQLITE_BUSY or time.monotonic() > until_s:
                    raise
            time.sleep(_LOOK_AGAIN_S)
    finally:
        conn.execute(f"PRAGMA busy_timeout = {BUSY_MS}")


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn SQLite's complaints about disk, rights and locks into ProjectionsStuck."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as exc:
        raise ProjectionsStuck(
            "the projections cannot be read or written",
            reason=str(exc),
            hint="the log is not affected; see to the disk and its rights",
        ) from exc


def _check_ours(conn: sqlite3.Connection) -> None:
    found = tuple(
        conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if not is_new(conn) and found != (APPLICATION_ID, FORMAT):
        raise NotProjections(f"application id and format are {found}")
