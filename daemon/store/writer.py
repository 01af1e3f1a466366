"""The only hand that writes the log: group commits, checkpoints of both kinds.

Synchronous, and used by one thread. What `write` returned for an append is on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from daemon.clock import Clock
from daemon.ports.store import Appended, DiskFull, StoreFailed
from daemon.store import checkpoints, rows, schema
from daemon.store.checkpoints import BadCheckpoint, Checkpoint, Signer
from daemon.store.driver import BUSY_MS, code_of, number, open_writer, sqlite3
from daemon.store.placing import Head, Known, Placing
from daemon.store.prepare import Batch
from events.errors import SyncError
from events.merkle import HASH_BYTES, Frontier

NAMES_KEPT_MAX: Final = 100_000

# Signing waits until nothing comes for a moment; past a cap it does not.
# The WAL is emptied at the size that SQLite itself takes (1,000 pages): a sync that makes the file
# longer takes twice as long as one over what was emptied. It takes 1 to 20 ms, which the group at
# hand waits for, so where groups are large it is put off: no more than 1 of 150 events is to wait.
WAL_BYTES: Final = 4 * 2**20
WAL_GROUPS: Final = 150
WAL_BYTES_BUSY: Final = 16 * 2**20
WAL_BYTES_CAP: Final = 48 * 2**20  # here even readers are waited for
LEAVES_AT_ONCE: Final = 1_000  # hashed between two groups: 20,000 would make all wait for 20 ms
SIGN_EVENTS_IDLE: Final = 4_000
SIGN_EVENTS_CAP: Final = 20_000
SIGN_S: Final = 60.0  # so long a tail may stay unproven where few events come
FORCED_CHECKPOINT_WAIT_MS: Final = 200

# What a commit and an event add to the WAL besides the payload, about: whole pages
# of the table and its three indexes are written for each group.
_PAGE_BYTES: Final = 4096
_WAL_BYTES_PER_GROUP: Final = 6 * _PAGE_BYTES
_WAL_BYTES_PER_EVENT: Final = 400

_SQLITE_FULL: Final = 13


class LogDamaged(SyncError):
    """The log does not fit its last checkpoint, so nothing may be added to it."""


class LogWriter:
    """The writing connection of a log, and what must be known to write the next row."""

    def __init__(self, path: Path, clock: Clock, *, keys: Path, publish: Path | None) -> None:
        """Open or make the log. Raises NotALog, LogTooNew, LogDamaged, BadKey, StoreFailed."""
        self._path = path
        self._clock = clock
        self._publish = publish
        self._wal_bytes = 0  # written since it was emptied, as far as readers let us
        self._wal_left_bytes = 0  # what it held even so
        self._wal_events = self._group_events = 0  # since it was emptied, and of the last group
        self._signed_at_s = clock.monotonic_s()
        self.last_checkpoint: Checkpoint | None = None
        self._leaves: list[bytes] = []  # committed, not in the frontier yet
        try:
            self._conn = open_writer(path)
        except sqlite3.Error as exc:
            raise translated(exc, path) from exc
        try:
            self.meta = schema.prepare_log(self._conn, path)
            self._signer = Signer(keys)
            self._load()
            self._frontier, self._signed = self._last_frontier()
            self._check_published()
        except sqlite3.Error as exc:
            self._conn.close()
            raise translated(exc, path) from exc
        except BaseException:
            self._conn.close()
            raise

    def write(self, group: Sequence[Batch]) -> list[Appended | SyncError]:
        """Write appends in one transaction; each is refused or written by itself.

        An I/O error refuses them all, and leaves the log as it was.
        """
        try:
            placing = Placing(self, self.head, self._clock.now_us())
            outcomes = [_placed(placing, batch) for batch in group]
            if placing.rows:
                self._commit(placing)
        except sqlite3.Error as exc:
            # Also what was refused was decided beside rows that are not in the log now.
            error = translated(exc, self._path)
            self._undo()
            return [error] * len(group)
        self._written(placing)
        return outcomes

    @property
    def unsigned(self) -> int:
        """How many events lie after the last checkpoint."""
        return self.head.position - self._signed

    def tidy(self, *, idle: bool) -> None:
        """Sign and empty the WAL where that is due. Whatever fails, no event is lost."""
        late = self._clock.monotonic_s() - self._signed_at_s >= SIGN_S
        due = 1 if late else SIGN_EVENTS_IDLE if idle else SIGN_EVENTS_CAP
        if self.unsigned >= due:
            self.sign()
        elif len(self._leaves) >= LEAVES_AT_ONCE:
            self._hash_leaves()
        seldom = self._wal_events >= WAL_GROUPS * self._group_events
        enough = WAL_BYTES if idle or seldom else WAL_BYTES_BUSY
        if self._wal_left_bytes + self._wal_bytes >= WAL_BYTES_CAP:
            self._empty_wal("RESTART")
        elif self._wal_bytes >= enough:
            self._empty_wal("PASSIVE")

    def sign(self) -> Checkpoint:
        """Write a signed checkpoint of the head, unless the last one is at the head.

        Raises DiskFull, StoreFailed.
        """
        self._hash_leaves()
        checkpoint = Checkpoint(
            log_id=self.meta.id,
            epoch=self.meta.epoch,
            position=self._frontier.size,
            root=self._frontier.root(),
            recorded_at=self.head.recorded_at,
        )
        if checkpoint.position > self._signed:
            note = self._signer.sign(checkpoint)
            self._add_checkpoint(checkpoint.position, note)
            self.last_checkpoint = checkpoint
            if self._publish is not None:
                self._write_published(note)
        return checkpoint

    def close(self) -> None:
        """Sign what is not signed yet, empty the WAL, close."""
        try:
            self.sign()
            self._empty_wal("TRUNCATE")
        finally:
            self._conn.close()

    def abandon(self) -> None:
        """Let go of the file without another write; nothing to do once it is closed."""
        self._conn.close()

    # What placing asks (placing.Ledger).

    def version(self, stream: str) -> int:
        """Return the version of a stream, 0 if it was never written."""
        kept = self._versions.get(stream)
        if kept is None:
            kept = self._versions[stream] = number(
                self._conn,
                "SELECT max(version) FROM events"
                " WHERE stream = (SELECT id FROM streams WHERE name = ?)",
                stream,
            )
        return kept

    def known(self, id: bytes) -> Known | None:
        """Return the event with this id."""
        found = self._conn.execute(
            "SELECT e.position, s.name, t.name FROM events e JOIN streams s ON s.id = e.stream"
            " JOIN types t ON t.id = e.type WHERE e.id = ?",
            (id,),
        ).fetchone()
        return Known(*found) if found else None

    # Writing.

    def _commit(self, placing: Placing) -> None:
        streams = {name: self._number("streams", name) for name in placing.versions}
        types = {name: self._number("types", name) for name in {row[4] for row in placing.rows}}
        if placing.blobs:
            self._begin()
            self._conn.executemany(
                "INSERT INTO blobs (name, codec, value) SELECT ?1, ?2, ?3"
                " WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE name = ?1)",
                [(name, *packed) for name, packed in placing.blobs.items()],
            )
        if len(placing.rows) > rows.ROWS_AT_ONCE_MAX:
            self._begin()
        rows.insert(self._conn, placing.rows, streams, types)
        if self._conn.in_transaction:
            self._conn.execute("COMMIT")

    def _begin(self) -> None:
        # One statement is a transaction by itself, and gives the interpreter away once only.
        if not self._conn.in_transaction:
            self._conn.execute("BEGIN IMMEDIATE")

    def _number(self, table: str, name: str) -> int:
        kept = self._streams if table == "streams" else self._types
        return kept.get(name) or self._interned(table, name)

    def _interned(self, table: str, name: str) -> int:
        kept = self._streams if table == "streams" else self._types
        id = number(self._conn, f"SELECT id FROM {table} WHERE name = ?", name)  # noqa: S608
        if not id:
            self._begin()
            id = number(self._conn, f"SELECT max(id) FROM {table}") + 1  # noqa: S608
            sql = f"INSERT INTO {table} (id, name) VALUES (?, ?)"  # noqa: S608
            self._conn.execute(sql, (id, name))
        kept[name] = id
        return id

    def _written(self, placing: Placing) -> None:
        self.head = placing.head
        if not placing.rows:
            return
        self._leaves += [row[-1] for row in placing.rows]
        self._versions |= placing.versions
        if len(self._versions) > NAMES_KEPT_MAX:
            self._versions.clear()
            self._streams.clear()
        self._group_events = len(placing.rows)
        self._wal_events += self._group_events
        self._wal_bytes += _WAL_BYTES_PER_GROUP
        self._wal_bytes += sum(len(row[-2]) + _WAL_BYTES_PER_EVENT for row in placing.rows)
        self._wal_bytes += sum(len(packed.stored) for packed in placing.blobs.values())

    def _undo(self) -> None:
        if self._conn.in_transaction:
            self._conn.execute("ROLLBACK")
        self._load()

    def _load(self) -> None:
        # Nothing remembered outlives a failed transaction: all is asked of the file again.
        self._streams: dict[str, int] = {}
        self._types: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        last = self._conn.execute(
            "SELECT position, recorded_at, (SELECT max(id) FROM events) FROM events"
            " ORDER BY position DESC LIMIT 1"
        ).fetchone()
        self.head = Head(*last) if last else Head()

    def _hash_leaves(self) -> None:
        self._frontier.extend(self._leaves)
        self._leaves.clear()

    # Signed checkpoints.

    def _last_frontier(self) -> tuple[Frontier, int]:
        found = self._conn.execute(
            "SELECT position, note, frontier FROM checkpoints ORDER BY position DESC LIMIT 1"
        ).fetchone()
        frontier, signed = Frontier(), 0
        if found:
            signed, note, hashes = found
            frontier = _frontier(signed, hashes)
            last = self.last_checkpoint = checkpoints.read_note(note, self._signer.public_key)
            if (last.position, last.root) != (signed, frontier.root()):
                raise _damaged("the last checkpoint does not fit its own frontier", self._path)
            if signed > self.head.position:
                raise _damaged("the log ends before its last checkpoint", self._path)
        leaves = self._conn.execute(
            "SELECT leaf FROM events WHERE position > ? ORDER BY position", (signed,)
        )
        frontier.extend(leaf for (leaf,) in leaves)
        return frontier, signed

    def _check_published(self) -> None:
        # Publishing over a further checkpoint would wipe out the only proof of a cut-off tail.
        note = checkpoints.read_published(self._publish) if self._publish else None
        if note is None:
            return
        try:
            published = checkpoints.read_note(note, self._signer.public_key)
        except BadCheckpoint as exc:
            raise BadCheckpoint(
                "the published checkpoint was not signed by this log",
                published=str(self._publish),
                reason=exc.message,
                hint="nothing was written; give each log a file of its own, or move this one away",
            ) from exc
        if published.log_id == self.meta.id:
            self.meta.check_seen(published.epoch, published.position)
        if published.log_id != self.meta.id or published.position > self.head.position:
            raise LogDamaged(
                "the published checkpoint lies further than the log, or is another log's",
                position=self.head.position,
                position_published=published.position,
                published=str(self._publish),
                hint="nothing was written; restore a later backup, or move the published"
                " checkpoint away to accept the loss",
            )

    def _add_checkpoint(self, position: int, note: str) -> None:
        try:
            self._conn.execute(
                "INSERT INTO checkpoints (position, note, frontier) VALUES (?, ?, ?)",
                (position, note, b"".join(self._frontier.hashes)),
            )
        except sqlite3.Error as exc:
            raise translated(exc, self._path) from exc
        self._signed = position
        self._signed_at_s = self._clock.monotonic_s()
        self._wal_bytes += _WAL_BYTES_PER_GROUP

    def _write_published(self, note: str) -> None:
        assert self._publish is not None
        try:
            self._publish.parent.mkdir(parents=True, exist_ok=True)
            checkpoints.write_durably(self._publish, note.encode(), mode=0o644)
        except OSError as exc:
            raise StoreFailed(
                "the checkpoint could not be published",
                path=str(self._publish),
                reason=str(exc),
                hint="the log itself is whole; the next checkpoint tries again",
            ) from exc

    # The WAL.

    def _empty_wal(self, how: str) -> None:
        # PASSIVE waits for nobody. The others wait for readers, but not as long as a
        # writer would: meanwhile appends stand still.
        self._conn.execute(f"PRAGMA busy_timeout = {FORCED_CHECKPOINT_WAIT_MS}")
        try:
            busy, pages, _ = self._conn.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        except sqlite3.Error as exc:
            raise translated(exc, self._path) from exc
        finally:
            self._conn.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        self._wal_bytes = self._wal_events = 0
        # SQLite goes on behind what is copied already as long as anybody reads there: PASSIVE says
        # how long the WAL is, not whether the next commit begins it anew. Where even waiting does
        # not help, it is tried again after another quarter of the cap.
        left = WAL_BYTES_CAP if busy else pages * _PAGE_BYTES if how == "PASSIVE" else 0
        self._wal_left_bytes = min(left, WAL_BYTES_CAP * 3 // 4)


def translated(exc: sqlite3.Error, path: Path) -> StoreFailed:
    """Turn an error of SQLite into one of ours."""
    if code_of(exc) == _SQLITE_FULL:
        return DiskFull(
            "there is no room left for the log",
            path=str(path),
            hint="nothing of this append was written; make room, then send it again",
        )
    return StoreFailed(
        "the log could not be written",
        path=str(path),
        reason=str(exc),
        code=getattr(exc, "sqlite_errorname", None),
        hint="nothing of this append was acknowledged; send it again with the same ids",
    )


def _placed(placing: Placing, batch: Batch) -> Appended | SyncError:
    try:
        return placing.place(batch)
    except SyncError as refusal:
        return refusal


def _frontier(size: int, hashes: bytes) -> Frontier:
    starts = range(0, len(hashes), HASH_BYTES)
    return Frontier(size, [hashes[start : start + HASH_BYTES] for start in starts])


def _damaged(what: str, path: Path) -> LogDamaged:
    return LogDamaged(
        what,
        path=str(path),
        hint="nothing was written; run `labeltrail verify`, then restore a backup",
    )
