"""Copies of the data folder: made beside a running daemon, verified, and gone on from.

A copy holds what cannot be made again: the log, the keys, and the names of people. SQLite copies
inside one read transaction, so the writer goes on and the copy is of one moment.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from daemon.clock import Clock
from daemon.store import schema
from daemon.store.driver import open_reader, open_writer, reading, sqlite3
from daemon.store.lock import DataFolderLocked, FolderLock
from daemon.store.sqlite import KEYS_NAME, LOG_NAME, SqliteStore
from daemon.store.verify import VerifyReport, verify
from events.envelope import NewEvent
from events.errors import SyncError
from events.log import STREAM, LogRestored

PEOPLE_NAME: Final = "people.db"
PROJECTIONS_NAME: Final = "projections.db"
PARTIAL_NAME: Final = ".partial"
STAGE_NAME: Final = "restoring"
FOLDER_MODE: Final = 0o700
DATA_MODE: Final = 0o750
FILE_MODE: Final = 0o600
DATED: Final = re.compile(r"labeltrail-\d{8}T\d{6}Z")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


class BackupFailed(SyncError):
    """A copy could not be made, or read; what was there before is untouched."""


class BackupUnsound(SyncError):
    """A copy, or the log that it was made from, does not verify."""

    exit_code = 4


class NotEmpty(SyncError):
    """A log is restored into an empty data folder only."""


def dated(now_us: int) -> str:
    """Return the name of a backup made at a time (µs UTC)."""
    return f"labeltrail-{datetime.fromtimestamp(now_us // 1_000_000, UTC):%Y%m%dT%H%M%SZ}"


def make(data: Path, folder: Path, name: str) -> VerifyReport:
    """Copy the data folder to `<folder>/<name>` and verify the copy. Blocks for long.

    Whole or not at all, also through a power cut. Raises BackupFailed, BackupUnsound.
    """
    if not NAME.fullmatch(name):
        raise BackupFailed("this is no name for a backup", name=name[:80])
    if not (data / LOG_NAME).exists():
        raise BackupFailed("there is no log to copy", folder=str(data))
    with _translated(folder), _alone(folder):
        target = folder / name
        if target.exists():
            raise BackupFailed("there is a backup of this name", path=str(target))
        partial = folder / PARTIAL_NAME
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _copy(data, partial)
            report = _verified(partial)
            _sync_folder(partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _sync_folder(folder)
    return report


def prune(folder: Path, keep: int) -> list[Path]:
    """Remove all but the newest backups with a date for a name; return those removed."""
    found = sorted(path for path in folder.iterdir() if DATED.fullmatch(path.name))
    old = found[: max(0, len(found) - keep)]
    with _translated(folder):
        for path in old:
            shutil.rmtree(path)
    return old


async def restore(backup: Path, data: Path, clock: Clock, actor: str) -> LogRestored:
    """Go on from a backup in an empty data folder. Interrupted, it can be asked for again.

    The copy is verified first. What is recorded from now on is a new epoch of the log.
    Raises BackupFailed, BackupUnsound, NotEmpty.
    """
    stage = data / STAGE_NAME
    with _translated(data):
        lock = await asyncio.to_thread(_locked, data)
        try:
            fact = await asyncio.to_thread(_stage, backup, data, stage, clock.now_us())
            await _record(stage, fact, clock, actor, lock)
            await asyncio.to_thread(_put_in_place, stage, data)
        finally:
            lock.release()
    return fact


def _locked(data: Path) -> FolderLock:
    data.mkdir(mode=DATA_MODE, parents=True, exist_ok=True)
    try:
        return FolderLock(data)
    except DataFolderLocked as exc:
        raise BackupFailed(
            "the data folder is in use",
            folder=str(data),
            pid=exc.facts["pid"],
            hint="nothing was written; stop the daemon first",
        ) from exc


def _stage(backup: Path, data: Path, stage: Path, now_us: int) -> LogRestored:
    """Make ready in a folder aside what is to be put in place."""
    _check_empty(data, stage)
    shutil.rmtree(stage, ignore_errors=True)
    if not (backup / LOG_NAME).exists():
        raise BackupFailed("there is no backup here", path=str(backup))
    _copy(backup, stage)
    return _begin_epoch(stage / LOG_NAME, _verified(stage), now_us)


def _check_empty(data: Path, stage: Path) -> None:
    # What an interrupted restore has put in place already lies beside its stage.
    # Projections beside it would be those of another log.
    whole = (LOG_NAME, KEYS_NAME, PEOPLE_NAME, PROJECTIONS_NAME)
    ours = (LOG_NAME,) if stage.exists() else whole
    there = [name for name in ours if (data / name).exists()]
    if there:
        raise NotEmpty(
            "the data folder holds a log already, or parts of one",
            folder=str(data),
            there=there,
            hint="nothing was written; move them away, or set another `folder` in [data]",
        )


def _copy(source: Path, target: Path) -> None:
    target.mkdir(mode=FOLDER_MODE)
    with closing(open_reader(source / LOG_NAME)) as conn, reading(source / LOG_NAME):
        schema.read_meta(conn, source / LOG_NAME)
        _copy_database(conn, target / LOG_NAME)
    if (source / PEOPLE_NAME).exists():
        with closing(open_reader(source / PEOPLE_NAME)) as conn:
            _copy_database(conn, target / PEOPLE_NAME)
    (target / KEYS_NAME).mkdir(mode=FOLDER_MODE)
    for path in sorted((source / KEYS_NAME).iterdir()):
        # What begins with a dot, or ends so, is a draft of a file that is being written.
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".new":
            _copy_file(path, target / KEYS_NAME / path.name)
    _sync_folder(target / KEYS_NAME)


def _copy_database(source: sqlite3.Connection, target: Path) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    with closing(sqlite3.connect(target, isolation_level=None)) as conn:
        # All pages in one step: in several, each write of the daemon would start it anew.
        source.backup(conn)
        # One file, complete by itself; a log that is opened for writing has a WAL again.
        conn.execute("PRAGMA journal_mode = DELETE")
    _sync(target)


def _copy_file(source: Path, target: Path) -> None:
    handle = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())


def _verified(folder: Path) -> VerifyReport:
    report = verify(folder / LOG_NAME)
    if not report.ok:
        raise BackupUnsound(
            "the copy does not verify",
            problems_total=report.problems_total,
            problems=[f"{found.kind}: {found.what}" for found in report.problems[:10]],
            hint="it was not kept; run `labeltrail verify` on the log that it was made from",
        )
    return report


def _begin_epoch(path: Path, report: VerifyReport, now_us: int) -> LogRestored:
    with closing(open_writer(path)) as conn:
        epoch = schema.begin_epoch(conn, schema.read_meta(conn, path), now_us)
    return LogRestored(epoch=epoch, position=report.head)


async def _record(
    stage: Path, fact: LogRestored, clock: Clock, actor: str, lock: FolderLock
) -> None:
    store = await SqliteStore.open(stage / LOG_NAME, clock, lock=lock)
    try:
        event = NewEvent(
            id=clock.new_id(), stream=STREAM, fact=fact, actor=actor, evidence="command"
        )
        await store.append([event])
    finally:
        await store.close()


def _put_in_place(stage: Path, data: Path) -> None:
    """Move everything; the log comes last, and with it the folder is restored."""
    if (data / KEYS_NAME).exists():
        shutil.rmtree(data / KEYS_NAME)
    for name in (PEOPLE_NAME, KEYS_NAME, LOG_NAME):
        if (stage / name).exists():
            (stage / name).replace(data / name)
            _sync_folder(data)
    shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder of backups, so that what lies unfinished there is nobody's."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    try:
        lock = FolderLock(folder)
    except DataFolderLocked as exc:
        raise BackupFailed("another backup is being made there", folder=str(folder)) from exc
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as exc:
        raise BackupFailed(
            "the files cannot be copied",
            folder=str(folder),
            reason=str(exc),
            hint="nothing was changed; the user who owns the data folder can read its keys",
        ) from exc


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_sync_folder = _sync
