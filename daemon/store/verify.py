"""Reading the whole log back, and holding it against what was signed.

Every row's leaf is computed anew from the stored bytes, every payload is unpacked and
decoded, every value that was stored aside is hashed again, and the Merkle roots must
be those of the signed checkpoints. What lies after the last checkpoint is whole as
far as anyone can see, but unproven: whoever can write the file could have cut it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import orjson

from daemon.store import checkpoints, rows, schema
from daemon.store.checkpoints import BadCheckpoint, Checkpoint
from daemon.store.driver import number, open_reader, reading, sqlite3
from daemon.store.packing import UnreadablePayload, unpack
from daemon.store.schema import SeenFurther
from events import canonical, registry
from events.blobs import blob_name
from events.envelope import Recorded, leaf_hash
from events.errors import SyncError
from events.merkle import HASH_BYTES, Frontier

PROBLEMS_MAX: Final = 1_000  # named one by one; the rest is only counted
BATCH_EVENTS_MAX: Final = 1_000
BLOBS_REMEMBERED_MAX: Final = 1_000_000

Kind = Literal[
    "missing",  # a position is not there
    "edited",  # a row does not fit its leaf
    "version",  # a stream has a gap or a repetition
    "time",  # a recorded time went back
    "unreadable",  # a payload cannot be decoded
    "blob",  # a value stored aside is missing or was changed
    "root",  # the rows up to here are not those that were signed
    "checkpoint",  # a checkpoint is damaged or its signature does not fit
    "cut off",  # a published checkpoint lies further than the log
    "trigger",  # a trigger that refuses changes is missing or was changed
    "database",  # SQLite itself finds the file damaged
]

Progress = Callable[[int, int], None]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, and the position where it shows (None: nowhere in particular)."""

    kind: Kind
    position: int | None
    what: str


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    head          the last position
    proven_upto   the last position under a root that was signed and fits
    unproven      how many events lie after it
    key           fingerprint of the key that the signatures were checked with
    unknown       event types that this release has no class for, and how often they occur
    problems      at most PROBLEMS_MAX of them; `problems_total` counts all
    """

    log_id: str
    epoch: int
    head: int
    checkpoints: int
    proven_upto: int
    unproven: int
    key: str
    unknown: dict[str, int]
    problems: tuple[Problem, ...]
    problems_total: int

    @property
    def ok(self) -> bool:
        """Tell whether nothing is wrong."""
        return self.problems_total == 0


def verify(
    path: Path,
    *,
    keys: Path | None = None,
    against: Path | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Verify a log, also while a daemon writes it: up to the head it has now.

    path      e.g. <data folder>/log.db
    keys      the folder of the public key; beside the log unless given
    against   a checkpoint that was published elsewhere
    progress  is called with (events read, events in all)

    Raises NotALog, LogTooNew, BadKey, and StoreFailed when the file cannot be opened.
    """
    conn = open_reader(path)
    try:
        with reading(path):
            verifier = _Verifier(conn, path, keys or path.parent / "keys", against)
        return verifier.run(progress)
    finally:
        conn.close()


class _BlobProblem(SyncError):
    """A value stored aside is not what its name says."""


class _Verifier:
    def __init__(
        self, conn: sqlite3.Connection, path: Path, keys: Path, against: Path | None
    ) -> None:
        self._conn = conn
        self._meta = schema.read_meta(conn, path)
        self._key = checkpoints.read_public_key(keys)
        self._head = 0
        self._problems: list[Problem] = []
        self._problems_total = 0
        self._unknown: dict[str, int] = {}
        self._frontier = Frontier()
        # Judged goes on past a root that does not fit; proven stays before the first one.
        self._proven_upto = self._judged_upto = 0
        self._signed: dict[int, list[Checkpoint]] = {}
        self._frontiers: dict[int, bytes] = {}
        self._checkpoints = 0
        self._blobs_seen: set[bytes] = set()
        self._versions: dict[str, int] = {}
        self._position = self._recorded_at = 0
        self._against = against

    def run(self, progress: Progress | None) -> VerifyReport:
        try:
            self._head = number(self._conn, "SELECT max(position) FROM events")
            self._check_triggers()
            self._read_checkpoints()
            self._read_published()
            for event in self._events():
                self._check(event)
                if progress and event.position % BATCH_EVENTS_MAX == 0:
                    progress(event.position, self._head)
            self._check_file()
        except sqlite3.DatabaseError as exc:
            self._found("database", self._position + 1, f"SQLite cannot read on: {exc}")
        return self._report()

    def _report(self) -> VerifyReport:
        return VerifyReport(
            log_id=self._meta.id.hex(),
            epoch=self._meta.epoch,
            head=self._head,
            checkpoints=self._checkpoints,
            proven_upto=self._proven_upto,
            unproven=self._head - self._proven_upto,
            key=checkpoints.fingerprint(self._key),
            unknown=self._unknown,
            problems=tuple(self._problems),
            problems_total=self._problems_total,
        )

    def _found(self, kind: Kind, position: int | None, what: str) -> None:
        self._problems_total += 1
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(Problem(kind=kind, position=position, what=what))

    # What is not rows.

    def _check_triggers(self) -> None:
        sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        there, wanted = dict(self._conn.execute(sql)), schema.triggers()
        for name in sorted(wanted.keys() | there.keys()):
            if name not in there:
                self._found("trigger", None, f"{name} is missing")
            elif there[name] != wanted.get(name):
                self._found("trigger", None, f"{name} is not ours")

    def _check_file(self) -> None:
        for (line,) in self._conn.execute("PRAGMA quick_check(100)"):
            if line != "ok":
                self._found("database", None, str(line))

    def _read_checkpoints(self) -> None:
        sql = "SELECT position, note, frontier FROM checkpoints ORDER BY position"
        for position, note, frontier in self._conn.execute(sql):
            self._checkpoints += 1
            try:
                checkpoint = self._ours(note)
                if checkpoint.position != position:
                    raise BadCheckpoint("stands at another position than it was signed for")
                if _frontier_root(position, frontier) != checkpoint.root:
                    raise BadCheckpoint("the frontier beside it does not lead to its root")
            except (BadCheckpoint, SeenFurther) as exc:
                self._found("checkpoint", position, str(exc))
                continue
            self._frontiers[position] = frontier
            self._expect(checkpoint, "cut off, a checkpoint in the log lies further")

    def _read_published(self) -> None:
        if self._against is None:
            return
        note = checkpoints.read_published(self._against)
        if note is None:
            self._found("checkpoint", None, f"there is no published checkpoint {self._against}")
            return
        try:
            published = self._ours(note)
        except SeenFurther as exc:
            self._found("cut off", self._head + 1, f"published: {exc}")
            return
        except BadCheckpoint as exc:
            self._found("checkpoint", None, f"published: {exc}")
            return
        self._expect(published, "cut off, the published checkpoint lies further")

    def _ours(self, note: str) -> Checkpoint:
        checkpoint = checkpoints.read_note(note, self._key)
        if checkpoint.log_id != self._meta.id:
            raise BadCheckpoint("signed for another log")
        self._meta.check_seen(checkpoint.epoch, checkpoint.position)
        return checkpoint

    def _expect(self, checkpoint: Checkpoint, cut_off: str) -> None:
        if checkpoint.position > self._head:
            # Written since this reading began, unless the rows are really not there.
            head_now = number(self._conn, "SELECT max(position) FROM events")
            if checkpoint.position > head_now:
                self._found("cut off", self._head + 1, f"{cut_off}: {checkpoint.position}")
            return
        self._signed.setdefault(checkpoint.position, []).append(checkpoint)

    # The rows.

    def _events(self) -> Iterator[Recorded]:
        streams, types = rows.Names(self._conn, "streams"), rows.Names(self._conn, "types")
        sql = (
            f"SELECT {rows.COLUMNS} FROM events"  # noqa: S608
            " WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
        )
        after = -(2**62)
        while batch := self._conn.execute(sql, (after, self._head, BATCH_EVENTS_MAX)).fetchall():
            for row in batch:
                try:
                    yield rows.recorded(row, streams, types)
                except (KeyError, TypeError):
                    self._found("edited", row[0], "its stream, type or evidence is no name")
            after = batch[-1][0]

    def _check(self, event: Recorded) -> None:
        self._check_order(event)
        leaf = _leaf(event)
        if leaf != event.leaf:
            self._found("edited", event.position, "the row does not fit its leaf")
        self._frontier.add(leaf or event.leaf)
        self._check_payload(event)
        if event.position in self._signed:
            self._check_root(event)

    def _check_order(self, event: Recorded) -> None:
        if event.position != self._position + 1:
            missing = f"{self._position + 1} to {event.position - 1} are missing"
            self._found("missing", self._position + 1, missing)
        if event.recorded_at < self._recorded_at:
            self._found("time", event.position, "recorded before the event before it")
        version = self._versions.get(event.stream, 0) + 1
        if event.version != version:
            what = f"{event.stream} has version {event.version} where {version} is due"
            self._found("version", event.position, what)
        self._versions[event.stream] = event.version
        self._position, self._recorded_at = event.position, event.recorded_at

    def _check_payload(self, event: Recorded) -> None:
        try:
            payload = unpack(event.codec, event.payload)
            if event.type in registry.names():
                registry.decode(event.type, event.schema, payload, blob=self._blob)
            else:
                self._unknown[event.type] = self._unknown.get(event.type, 0) + 1
                canonical.parse(payload, blob=self._blob)
        except _BlobProblem as exc:
            self._found("blob", event.position, str(exc))
        except SyncError as exc:
            self._found("unreadable", event.position, str(exc))

    def _blob(self, name: str) -> object:
        try:
            key = bytes.fromhex(name)
        except ValueError as exc:
            raise _BlobProblem("the name of a value stored aside is no name", blob=name) from exc
        sql = "SELECT codec, value FROM blobs WHERE name = ?"
        row: tuple[Any, ...] | None = self._conn.execute(sql, (key,)).fetchone()
        if row is None:
            raise _BlobProblem("a value stored aside is missing", blob=name)
        try:
            spelled = unpack(*row)
        except UnreadablePayload as exc:
            raise _BlobProblem("a value stored aside is damaged", blob=name) from exc
        self._check_blob(key, spelled)
        return orjson.loads(spelled)

    def _check_blob(self, name: bytes, spelled: bytes) -> None:
        if name in self._blobs_seen:
            return
        if blob_name(spelled, self._meta.salt) != name:
            raise _BlobProblem("a value stored aside was changed", blob=name.hex())
        if len(self._blobs_seen) < BLOBS_REMEMBERED_MAX:
            self._blobs_seen.add(name)

    def _check_root(self, event: Recorded) -> None:
        roots = {checkpoint.root for checkpoint in self._signed[event.position]}
        fits = roots == {self._frontier.root()} and self._frontier.size == event.position
        if fits and self._judged_upto == self._proven_upto:
            self._proven_upto = event.position
        if fits:
            self._judged_upto = event.position
            return
        span = f"{self._judged_upto + 1} to {event.position}"
        self._found("root", event.position, f"the rows {span} are not those that were signed")
        # From a frontier that leads to a signed root the rows that follow can still be judged.
        if event.position in self._frontiers:
            hashes = self._frontiers[event.position]
            self._frontier = Frontier(event.position, _cut(hashes))
            self._judged_upto = event.position


def _leaf(event: Recorded) -> bytes | None:
    try:
        return leaf_hash(*msgspec.structs.astuple(event)[:-1])
    except (TypeError, AttributeError, ValueError, struct.error):
        return None  # values of types or sizes that were never written


def _cut(hashes: bytes) -> list[bytes]:
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def _frontier_root(size: int, hashes: bytes) -> bytes:
    try:
        return Frontier(size, _cut(hashes)).root()
    except ValueError as exc:
        raise BadCheckpoint("the frontier beside it is damaged") from exc
