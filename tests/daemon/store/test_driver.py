"""How the log's file is opened for writing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from daemon.store.driver import bind_directly, open_writer, sqlite3

FULL = 2


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """What is acknowledged must outlive a power cut; a kill alone would not show the difference.

    SQLite itself is asked: it passes over a pragma that it cannot read without a word.
    """
    with closing(open_writer(tmp_path / "log.db")) as conn:
        synchronous = conn.execute("PRAGMA synchronous").fetchone()
        journal = conn.execute("PRAGMA journal_mode").fetchone()

    assert (synchronous, journal) == ((FULL,), ("wal",))


def test_bytes_and_none_are_written_without_being_asked_for_other_words() -> None:
    """Asking took the driver two thirds of its time for an event, of which six columns are such."""
    bind_directly()
    answered = {kind for kind, _ in sqlite3.adapters}

    with closing(sqlite3.connect(":memory:")) as conn:
        written = conn.execute("SELECT ?, ?", (b"\0a", None)).fetchone()

    assert {bytes, type(None)} <= answered
    assert written == (b"\0a", None)
