"""One reading of a manifest on its way into the log, on disk instead of in memory.

What the dataset showed before goes in first; then every sample as it is read leaves its digest, and
its document only where the digest moved. The work of a scan grows with the change, its memory not
at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from daemon.manifests.errors import ScratchFailed
from daemon.store.driver import sqlite3
from events.canonical import canonical, parse
from events.dataset import Document

_SCHEMA: Final = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -8192;
    CREATE TABLE IF NOT EXISTS before
        (sample TEXT PRIMARY KEY, base BLOB, scanned BLOB) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS seen (sample TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS changed
        (nth INTEGER PRIMARY KEY, sample TEXT, document BLOB, plain INTEGER);
"""

_REMEMBER: Final = (
    "INSERT INTO before VALUES (?, ?, ?) ON CONFLICT (sample) DO UPDATE SET"
    " base = coalesce(excluded.base, base), scanned = coalesce(excluded.scanned, scanned)"
)


class Before(NamedTuple):
    """A sample as it was: digests of what the manifest is compared with, and of its last scan."""

    sample: str
    base: bytes | None
    scanned: bytes | None


class Changed(NamedTuple):
    """A sample that is not as it was."""

    sample: str
    document: Document


Span = tuple[int, int]
"""The first and the last of some samples, by their place in the manifest."""


class Spool:
    """The file; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _translated():
            # Each step of a scan runs on a thread of its own, one after the other.
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.executescript(_SCHEMA)

    def remember(self, before: Iterable[Before]) -> None:
        """Note samples as they were; a later call adds to what an earlier one said."""
        with _translated():
            self._db.execute("BEGIN")
            self._db.executemany(_REMEMBER, before)
            self._db.execute("COMMIT")

    def begin(self) -> None:
        """Begin to note a reading."""
        self._db.execute("BEGIN")

    def note(self, nth: int, sample: str, digest: bytes, document: Document) -> bool:
        """Note the nth sample of the reading; False when it was there before in this reading."""
        with _translated():
            if self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (sample,)).rowcount == 0:
                return False
            was = self._db.execute("SELECT base, scanned FROM before WHERE sample = ?", (sample,))
            if was.fetchone() != (digest, digest):
                row = (nth, sample, *_written(document))
                self._db.execute("INSERT INTO changed VALUES (?, ?, ?, ?)", row)
        return True

    def end(self) -> None:
        """End the reading."""
        with _translated():
            self._db.execute("COMMIT")

    def counts(self) -> tuple[int, int]:
        """Return how many samples there were in the base, and how many of them are gone."""
        (samples,) = self._db.execute(
            "SELECT count(*) FROM before WHERE base IS NOT NULL"
        ).fetchone()
        (gone,) = self._db.execute(
            "SELECT count(*) FROM before WHERE base IS NOT NULL"
            " AND sample NOT IN (SELECT sample FROM seen)"
        ).fetchone()
        return samples, gone

    def bytes(self) -> int:
        """Return how much the samples are together that are new or not as they were."""
        (size,) = self._db.execute("SELECT total(length(document)) FROM changed").fetchone()
        return int(size)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Yield (nth, bytes) of the samples that are new or not as they were, in their order."""
        rows = self._db.execute("SELECT nth, length(document) FROM changed ORDER BY nth")
        # `yield from` would close the cursor, too, perhaps after its file.
        for nth, size in rows:  # noqa: UP028
            yield nth, size

    def changed(self, span: Span) -> Iterator[Changed]:
        """Yield some of the samples that are new or not as they were, in the manifest's order."""
        rows = self._db.execute(
            "SELECT sample, document, plain FROM changed WHERE nth BETWEEN ? AND ? ORDER BY nth",
            span,
        )
        for sample, written, plain in rows:
            yield Changed(sample, orjson.loads(written) if plain else parse(written))

    def gone(self) -> Iterator[str]:
        """Yield the samples that were there and are not in the reading."""
        rows = self._db.execute(
            "SELECT sample FROM before WHERE sample NOT IN (SELECT sample FROM seen)"
        )
        for (sample,) in rows:
            yield sample

    def close(self) -> None:
        """Close the file; whoever made it deletes it."""
        self._db.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise ScratchFailed(
            "a scan's temporary file cannot be written",
            reason=str(exc),
            hint="nothing was changed; make room, the file may grow as large as the manifest",
        ) from exc


def _written(document: Document) -> tuple[bytes, bool]:
    """Return a document's bytes, and whether they are plain JSON; that is ten times as fast."""
    try:
        return orjson.dumps(document), True
    except TypeError:  # an integer beyond 64 bits
        return canonical(document), False
