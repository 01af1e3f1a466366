"""The tables of the log, and the triggers that refuse to change what was written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from daemon.store.driver import number, sqlite3
from events.errors import SyncError

APPLICATION_ID: Final = int.from_bytes(b"LbTr", "big")  # shown by `file log.db`
FORMAT: Final = 1  # user_version; raised when an older release must not touch the file
LOG_ID_BYTES: Final = 16
SALT_BYTES: Final = 16
EPOCH_FIRST: Final = 1
_EPOCH: Final = "epoch "  # and its number: a name in `meta`

# Column → type, all NOT NULL but for those in _NULLABLE. The tables are STRICT.
TABLES: Final[dict[str, dict[str, type]]] = {
    "meta": {"name": str, "value": bytes},
    "streams": {"id": int, "name": str},
    "types": {"id": int, "name": str},
    "blobs": {"name": bytes, "codec": str, "value": bytes},
    "events": {
        "position": int,
        "stream": int,
        "version": int,
        "id": bytes,
        "type": int,
        "schema": int,
        "recorded_at": int,
        "occurred_at": int,
        "actor": str,
        "evidence": str,
        "correlation": bytes,
        "causation": bytes,
        "codec": str,
        "payload": bytes,
        "leaf": bytes,
    },
    "checkpoints": {"position": int, "note": str, "frontier": bytes},
}
_NULLABLE: Final = {"occurred_at", "actor", "correlation", "causation"}
_UNIQUE: Final[dict[str, list[tuple[str, ...]]]] = {
    "streams": [("name",)],
    "types": [("name",)],
    "events": [("id",), ("stream", "version")],
}

# `INSERT OR REPLACE` deletes rows without firing a delete trigger unless the connection
# asked for it, so the insert itself is refused where anything would have to give way.
_TAKEN: Final = {
    "meta": "EXISTS (SELECT 1 FROM meta WHERE name = NEW.name)",
    "streams": "EXISTS (SELECT 1 FROM streams WHERE id = NEW.id OR name = NEW.name)",
    "types": "EXISTS (SELECT 1 FROM types WHERE id = NEW.id OR name = NEW.name)",
    "blobs": "EXISTS (SELECT 1 FROM blobs WHERE name = NEW.name)",
    "events": (
        "NEW.position <> (SELECT coalesce(max(position), 0) + 1 FROM events)"
        " OR NEW.version <>"
        " (SELECT coalesce(max(version), 0) + 1 FROM events WHERE stream = NEW.stream)"
        " OR EXISTS (SELECT 1 FROM events WHERE id = NEW.id)"
    ),
    "checkpoints": "NEW.position <= (SELECT coalesce(max(position), 0) FROM checkpoints)",
}


class LogMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a log knows of itself.

    id      16 random bytes: tells this log from every other
    salt    goes into the names of blobs; see `events.blobs`
    epochs  its histories: number → the last position that it had when that one began. The first
            has number 1; one that went on from a restored copy has the time of that, in seconds
            since 1970, since the same copy can be restored twice
    """

    id: bytes
    salt: bytes
    epochs: dict[int, int]

    @property
    def epoch(self) -> int:
        """The number of the history that is being written."""
        return max(self.epochs)

    def check_seen(self, epoch: int, position: int) -> None:
        """Raise SeenFurther where somebody saw, in an epoch, what is not in this log."""
        if epoch not in self.epochs:
            raise SeenFurther(
                "another copy of the log was restored, and what was seen belongs to that one",
                epoch=self.epoch,
                epoch_seen=epoch,
                position_seen=position,
                hint="use the other log, or begin anew with this one",
            )
        later = [began for number, began in self.epochs.items() if number > epoch]
        if later and position > min(later):
            raise SeenFurther(
                "the log was restored from a copy that ends before what was seen",
                position=min(later),
                position_seen=position,
                epoch=self.epoch,
                epoch_seen=epoch,
                hint="what lies between is not in this log; begin anew, or restore a later backup",
            )


class NotALog(SyncError):
    """The file is a database, but not a log of ours."""


class SeenFurther(SyncError):
    """A checkpoint or a client knows of events that are lost to this log since it was restored."""


class LogTooNew(SyncError):
    """The log was written by a newer release, in a format that this one does not know."""


def triggers() -> dict[str, str]:
    """Return name → SQL of every trigger that a whole log has."""
    made = {}
    for table, taken in _TAKEN.items():
        for verb, when in (("UPDATE", ""), ("DELETE", ""), ("INSERT", f" WHEN {taken}")):
            name = f"{table}_refuse_{verb.lower()}"
            made[name] = (
                f"CREATE TRIGGER {name} BEFORE {verb} ON {table}{when}"
                f" BEGIN SELECT RAISE(ABORT, 'the log is append-only: {table}'); END"
            )
    return made


def prepare_log(conn: sqlite3.Connection, path: Path) -> LogMeta:
    """Make the tables in an empty database, or check those of a log; return its meta.

    Raises NotALog, LogTooNew.
    """
    if number(conn, "PRAGMA application_id") == 0 and not _has_tables(conn):
        _create(conn)
        _sync_folder(path.parent)
    return read_meta(conn, path)


def read_meta(conn: sqlite3.Connection, path: Path) -> LogMeta:
    """Return what the log knows of itself, once it was checked to be one of ours."""
    if number(conn, "PRAGMA application_id") != APPLICATION_ID:
        raise NotALog("the file is not a log of ours", path=str(path), hint="nothing was written")
    if (found := number(conn, "PRAGMA user_version")) > FORMAT:
        raise LogTooNew(
            "the log was written by a newer release",
            path=str(path),
            format_found=found,
            format_known=FORMAT,
            hint="nothing was written; use that release, or a newer one",
        )
    meta = {name: bytes(value) for name, value in conn.execute("SELECT name, value FROM meta")}
    epochs = {
        int(name.removeprefix(_EPOCH)): int.from_bytes(value, "big")
        for name, value in meta.items()
        if name.startswith(_EPOCH)
    }
    return LogMeta(id=meta["id"], salt=meta["salt"], epochs={EPOCH_FIRST: 0} | epochs)


def begin_epoch(conn: sqlite3.Connection, meta: LogMeta, now_us: int) -> int:
    """Declare that what follows the last event is another history; return its number."""
    # Later than all before it, also where the clock of this machine is behind.
    epoch = max(now_us // 1_000_000, meta.epoch + 1)
    head = number(conn, "SELECT max(position) FROM events")
    values = f"{_EPOCH}{epoch}", head.to_bytes(8, "big")
    conn.execute("INSERT INTO meta (name, value) VALUES (?, ?)", values)
    return epoch


def _create(conn: sqlite3.Connection) -> None:
    # Imported on use: it costs 0.17 s, and a log is made once.
    import sqlite_utils

    db = sqlite_utils.Database(conn)
    with db.atomic():
        for table, columns in TABLES.items():
            key = next(iter(columns))
            required = set(columns) - _NULLABLE - {key}
            db.table(table).create(columns, pk=key, not_null=required, strict=True)
            for unique in _UNIQUE.get(table, ()):
                db.table(table).create_index(unique, unique=True)
        for sql in triggers().values():
            conn.execute(sql)
        conn.executemany(
            "INSERT INTO meta (name, value) VALUES (?, ?)",
            [
                ("id", os.urandom(LOG_ID_BYTES)),
                ("epoch", (1).to_bytes(8, "big")),
                ("salt", os.urandom(SALT_BYTES)),
            ],
        )
        conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        conn.execute(f"PRAGMA user_version = {FORMAT}")


def _has_tables(conn: sqlite3.Connection) -> bool:
    return conn.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def _sync_folder(folder: Path) -> None:
    # The file's name must survive a power cut as well as its content.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
