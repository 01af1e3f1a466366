"""The one door to SQLite: the same copy that sqlite-utils picks, and what its version means.

`pysqlite3` brings a current SQLite where it is installed; else Python's own is used.
Two copies of SQLite on one file in one process drop each other's locks
(sqlite.org/howtocorrupt.html, 2.2.1), so nothing else of ours imports `sqlite3`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from daemon.ports.store import StoreFailed

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        import pysqlite3 as sqlite3
    except ImportError:
        import sqlite3

__all__ = [
    "BUSY_MS",
    "bind_directly",
    "code_of",
    "has_wal_reset_bug",
    "number",
    "open_reader",
    "open_writer",
    "reading",
    "sqlite3",
]


# Group commits of a busy second fit the cache; a reader in another process waits this long.
_CACHE_KIB: Final = 16_384
BUSY_MS: Final = 5_000
_WAL_BYTES_KEPT: Final = 64 * 2**20

_FIXED_FROM: Final = (3, 51, 3)
_FIXED_IN_BRANCH: Final = {(3, 50): 7, (3, 44): 6}
_SINCE: Final = (3, 7, 0)


def has_wal_reset_bug(version: str = sqlite3.sqlite_version) -> bool:
    """Tell whether a SQLite version may lose pages in the WAL-reset race.

    It is in 3.7.0 to 3.51.2 and was fixed in 3.51.3, 3.50.7 and 3.44.6
    (sqlite.org/wal.html, section 11). Two connections must write or checkpoint at once
    to meet it; the log has one that does, so even an affected version is unlikely to.
    """
    numbers = tuple(int(part) for part in version.split("."))
    if not _SINCE <= numbers < _FIXED_FROM:
        return False
    patch_fixed = _FIXED_IN_BRANCH.get((numbers[0], numbers[1]))
    return patch_fixed is None or numbers[2] < patch_fixed


def bind_directly() -> None:
    """Have the whole process bind bytes and None as they are: a setting for one that writes much.

    The driver asks each value that is no number and no text whether it can be told in other words,
    in vain and about 1.3 µs each: two thirds of its own time for an event, and the interpreter is
    kept meanwhile. Here it finds an answer at once.
    """
    for kind in (bytes, type(None)):
        sqlite3.register_adapter(kind, _itself)


def _itself(value: Any) -> Any:
    return value


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the only writing connection of a database; its owner checkpoints the WAL itself."""
    # Transactions are ours (isolation_level None); opened in one thread, used in another.
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "fullfsync = ON",  # macOS: fsync alone does not reach the disk there
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {_WAL_BYTES_KEPT}",
        f"cache_size = -{_CACHE_KIB}",
        "temp_store = MEMORY",
        "foreign_keys = ON",
        "recursive_triggers = ON",
        "trusted_schema = OFF",
    ):
        conn.execute(f"PRAGMA {pragma}")
    return conn


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write. It may move between threads, one at a time.

    Never `immutable=1`: it shows stale rows while somebody writes.
    """
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with reading(path):
        conn = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        for pragma in (f"busy_timeout = {BUSY_MS}", "query_only = ON", "trusted_schema = OFF"):
            conn.execute(f"PRAGMA {pragma}")
    return conn


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an error of SQLite inside the block into StoreFailed."""
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreFailed(
            "the log cannot be read",
            path=str(path),
            reason=str(exc),
            hint="nothing was changed; check that the file is there and that its folder may be"
            " written (readers need the -shm file beside it), then run `labeltrail verify`",
        ) from exc


def code_of(exc: sqlite3.Error) -> int:
    """Return SQLite's primary result code, 0 where there is none: an extended one tells more."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF


def number(conn: sqlite3.Connection, sql: str, *values: object) -> int:
    """Return the one number that a question has for its answer, 0 if there is none."""
    row = conn.execute(sql, values).fetchone()
    return int(row[0] or 0) if row else 0
